package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxTokenInput is how much of standard input may be a token.
const maxTokenInput = wtproto.MaxToken + 2 // and the end of its line

// tokenCmd makes tokens that let clients in, and looks at them.
type tokenCmd struct {
	New   newTokenCmd   `cmd:"" help:"Make a token, add its hash to a file for --token-file of the gateway, and print the token."`
	Hash  hashTokenCmd  `cmd:"" help:"Print the hash of a token that is read from standard input."`
	Sign  signTokenCmd  `cmd:"" help:"Print a JSON Web Token for --jwt-key of the gateway."`
	Check checkTokenCmd `cmd:"" help:"Print what a token that is read from standard input grants, as a gateway sees it."`
}

// grantFlags say what a token grants.
type grantFlags struct {
	Name           string   `required:"" placeholder:"NAME" help:"The name of the principal whose limits the token's sessions share."`
	Topic          []string `placeholder:"TOPIC" help:"A topic that may be joined: a name, 64 hexadecimal digits, or fewer of them and * for all topics that begin so. Without it, all."`
	Announce       bool     `negatable:"" default:"true" help:"Be found by others."`
	LookUp         bool     `negatable:"" default:"true" help:"Find others."`
	Network        []string `predictor:"network" placeholder:"NAME" help:"A network on which peers may be found: dht, lan, static or client. Without it, all."`
	Expires        expiry   `placeholder:"WHEN" help:"When the token ends: a duration such as 720h, or a time such as 2030-01-31T00:00:00Z."`
	MaxSessions    int      `placeholder:"N" help:"Sessions of the name at once. Negative for no limit, here and below; without it, the gateway's."`
	MaxTopics      int      `placeholder:"N" help:"Topics of its sessions at once."`
	NewTopics      int      `placeholder:"N" help:"New topics a minute: those that nobody is on yet."`
	MaxCircuits    int      `placeholder:"N" help:"Circuits of its sessions at once."`
	BytesPerSecond int64    `placeholder:"N" help:"Bytes a second of all its circuits, both ways."`
	MaxBytes       int64    `placeholder:"N" help:"Bytes of all its circuits, both ways, while the gateway runs."`
}

// expiry is a time to come.
type expiry struct{ time.Time }

// UnmarshalText reads a duration from now or a time.
func (e *expiry) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339, string(b))
	if d, isDuration := time.ParseDuration(string(b)); isDuration == nil {
		t, err = time.Now().Add(d).UTC().Truncate(time.Second), nil
	}
	if err != nil {
		return fmt.Errorf("%q is neither a duration such as 720h nor a time such as 2030-01-31T00:00:00Z", b)
	}
	if !t.After(time.Now()) {
		return fmt.Errorf("%q is in the past", b)
	}
	e.Time = t
	return nil
}

// grant returns what the flags say.
func (f *grantFlags) grant() (auth.Grant, error) {
	g := auth.Grant{
		Name: f.Name, DenyAnnounce: !f.Announce, DenyLookUp: !f.LookUp, Networks: f.Network, Expires: f.Expires.Time,
		Limits: auth.Limits{
			Sessions: f.MaxSessions, Topics: f.MaxTopics, NewTopics: f.NewTopics, Circuits: f.MaxCircuits,
			BytesPerSecond: f.BytesPerSecond, Bytes: f.MaxBytes,
		},
	}
	for _, text := range f.Topic {
		p, err := auth.ParseTopicPrefix(text)
		switch {
		case err != nil && strings.HasSuffix(text, "*"):
			return g, err
		case err != nil: // it is a name
			topic := wtproto.TopicFromText(text)
			p = topic[:]
		}
		g.Topics = append(g.Topics, p)
	}
	return g, g.Validate()
}

type newTokenCmd struct {
	grantFlags
	File  string `required:"" type:"path" predictor:"file" placeholder:"FILE" help:"The file. The command makes it if it does not exist."`
	Force bool   `help:"Add the token even if the file has one of this name already. Both are valid then."`
}

// Help is printed below the options.
func (newTokenCmd) Help() string {
	return examples(
		"swarm token new --name alice --topic wowcool --max-sessions 4 --file tokens",
		"swarm token new --name bob --expires 720h --no-announce --file tokens",
	)
}

// Run makes a token.
func (c *newTokenCmd) Run(p *program) error {
	g, err := c.grant()
	if err != nil {
		return err
	}
	token := auth.NewToken()
	line, err := auth.FormatTokenLine(sha256.Sum256([]byte(token)), g)
	if err != nil {
		return err
	}
	if err := addToken(c.File, c.Name, line, c.Force); err != nil {
		return err
	}
	return p.events.write([]byte(token + "\n"))
}

type hashTokenCmd struct{}

// Help is printed below the options.
func (hashTokenCmd) Help() string {
	return examples("swarm token hash < token")
}

// Run prints the hash that a token file has for a token.
func (hashTokenCmd) Run(p *program) error {
	token, err := p.readToken()
	if err != nil {
		return err
	}
	hash := sha256.Sum256(token)
	return p.events.write([]byte(hex.EncodeToString(hash[:]) + "\n"))
}

// readToken reads a token from standard input, without the white space around it.
func (p *program) readToken() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(p.stdin, maxTokenInput+1))
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); len(b) == 0 || len(b) > wtproto.MaxToken {
		return nil, fmt.Errorf("a token of %d bytes, want 1 to %d", len(b), wtproto.MaxToken)
	}
	return b, nil
}

type signTokenCmd struct {
	grantFlags
	Key      string `required:"" type:"path" predictor:"file" placeholder:"FILE" help:"Private key of Ed25519 or P-256, in PEM."`
	KeyID    string `placeholder:"ID" help:"Id of the key, if the gateway has several."`
	Audience string `placeholder:"NAME" help:"The --jwt-audience of the gateway."`
}

// Help is printed below the options.
func (signTokenCmd) Help() string {
	return examples("swarm token sign --key private.pem --audience gate --name alice --topic wowcool --expires 1h")
}

// Run prints a token.
func (c *signTokenCmd) Run(p *program) error {
	g, err := c.grant()
	if err != nil {
		return err
	}
	b, err := os.ReadFile(c.Key)
	if err != nil {
		return err
	}
	key, err := auth.ParseSigner(b)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Key, err)
	}
	if g.Expires.IsZero() {
		return errors.New("--expires: a JSON Web Token must end")
	}
	token, err := auth.SignJWT(g, key, c.KeyID, c.Audience)
	if err != nil {
		return err
	}
	return p.events.write([]byte(token + "\n"))
}

type checkTokenCmd struct {
	File     string `xor:"by" required:"" type:"path" predictor:"file" placeholder:"FILE" help:"The gateway's --token-file."`
	JWTKey   string `name:"jwt-key" xor:"by" required:"" type:"path" predictor:"file" placeholder:"FILE" help:"The gateway's --jwt-key."`
	Audience string `placeholder:"NAME" help:"The gateway's --jwt-audience."`
}

// Help is printed below the options.
func (checkTokenCmd) Help() string {
	return examples(
		"swarm token check --file tokens < token",
		"swarm token check --jwt-key public.pem --audience gate < token",
	)
}

// Run prints the grant of a token, or fails with the code and the words that a client would be
// told.
func (c *checkTokenCmd) Run(p *program) error {
	token, err := p.readToken()
	if err != nil {
		return err
	}
	var tokens interface {
		Authorize(context.Context, auth.Request) (auth.Grant, error)
	}
	if c.File != "" {
		tokens, err = auth.NewTokenFile(c.File, p.log)
	} else {
		tokens, err = auth.NewJWT(auth.JWTConfig{KeyFile: c.JWTKey, Audience: c.Audience, Logger: p.log})
	}
	if err != nil {
		return err
	}
	g, err := tokens.Authorize(p.ctx, auth.Request{Token: token})
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	return p.events.write(append(b, '\n'))
}
