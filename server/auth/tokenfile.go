package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/internal/follow"
	"github.com/swarmgate/swarmgate/wtproto"
)

// TokenFile lets in clients with a token that a file lists. A line is the name of a grant, the
// SHA-256 of the token in hexadecimal digits, and, unless everything is allowed, the rest of the
// grant as JSON (see [Grant.UnmarshalJSON]), with spaces or tabs between them:
//
//	alice 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae {"announce": false}
//
// Empty lines, and those that begin with "#", say nothing. Several tokens may have one name.
//
// The file holds no secret: a token is made of 256 random bits ([NewToken]), so no number of
// guesses finds it from its hash, and the hash needs neither salt nor many rounds as that of a
// password does. A token is looked up by its hash, so the time of the look-up reveals nothing
// about the listed tokens.
//
// Any number of goroutines may use it.
type TokenFile struct{ files *follow.Files[tokenTable] }

// tokenTable is the content of a token file: grants by the hashes of their tokens.
type tokenTable map[[sha256.Size]byte]Grant

// NewTokenFile reads the file at path. Its error names every bad line. Later the file is looked at
// when a client comes, at most once a second: a bad one is then logged once, and what it said
// before holds. Sessions that there are go on whatever the file says. A nil logger is silent.
func NewTokenFile(path string, logger *slog.Logger) (*TokenFile, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	logger = logger.With("token_file", path)
	files, err := follow.New([]string{path},
		func(contents [][]byte) (*tokenTable, error) {
			table, err := parseTokens(contents[0])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			return &table, nil
		},
		func(table *tokenTable, err error) {
			if err != nil {
				logger.Error("new token file is bad, keeping the old one", "error", err)
				return
			}
			logger.Info("new token file", "tokens", len(*table))
		})
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return &TokenFile{files}, nil
}

// Check looks at the file now, without waiting for a client.
func (f *TokenFile) Check() { f.files.Check() }

// Authorize returns the grant of the request's token, CodeUnauthorized without one, or
// CodeTokenExpired.
func (f *TokenFile) Authorize(_ context.Context, r Request) (Grant, error) {
	if len(r.Token) == 0 {
		return Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "this gateway asks for a token")
	}
	g, ok := (*f.files.Value())[sha256.Sum256(r.Token)]
	if !ok {
		return Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "the token is not known here")
	}
	return g, g.current()
}

// current returns CodeTokenExpired if g is over.
func (g *Grant) current() error {
	if g.Expired(time.Now()) {
		return wtproto.Errorf(wtproto.CodeTokenExpired, "the token has expired at %s", g.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// parseTokens reads a token file. Its error names every bad line.
func parseTokens(b []byte) (tokenTable, error) {
	table := make(tokenTable)
	lines := make(map[[sha256.Size]byte]int)
	var errs []error
	for i, line := range bytes.Split(b, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		hash, grant, err := ParseTokenLine(text)
		if err == nil && lines[hash] > 0 {
			err = fmt.Errorf("the same token as line %d", lines[hash])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", i+1, err))
			continue
		}
		table[hash], lines[hash] = grant, i+1
	}
	return table, errors.Join(errs...)
}

// TokenNames returns the names that the content of a token file has. Its error names every bad
// line.
func TokenNames(b []byte) (map[string]bool, error) {
	table, err := parseTokens(b)
	names := make(map[string]bool)
	for _, g := range table {
		names[g.Name] = true
	}
	return names, err
}

// ParseTokenLine reads a line of a token file that says something.
func ParseTokenLine(line string) (hash [sha256.Size]byte, g Grant, err error) {
	name, rest := cutField(line)
	digits, grant := cutField(rest)
	if n, err := hex.Decode(hash[:], []byte(digits[:min(len(digits), 2*len(hash))])); err != nil || n != len(hash) || len(digits) != 2*len(hash) {
		return hash, g, fmt.Errorf("want a name, then a SHA-256 of %d hexadecimal digits", 2*len(hash))
	}
	if grant != "" {
		if err := json.Unmarshal([]byte(grant), &g); err != nil {
			return hash, g, fmt.Errorf("grant: %w", err)
		}
		if g.Name != "" {
			return hash, g, errors.New("grant: the name stands at the beginning of the line")
		}
	}
	g.Name = name
	return hash, g, g.Validate()
}

// FormatTokenLine returns the line, without its end, that gives the token with this hash to g. It
// fails if g has no name, or one that a line cannot hold.
func FormatTokenLine(hash [sha256.Size]byte, g Grant) (string, error) {
	name := g.Name
	if name == "" || strings.HasPrefix(name, "#") || len(strings.Fields(name)) != 1 || strings.TrimSpace(name) != name {
		return "", fmt.Errorf("auth: name %q: want one word that does not begin with #", name)
	}
	if err := g.Validate(); err != nil {
		return "", err
	}
	g.Name = ""
	b, err := json.Marshal(g)
	if err != nil {
		return "", err
	}
	line := name + " " + hex.EncodeToString(hash[:])
	if string(b) != "{}" {
		line += " " + string(b)
	}
	return line, nil
}

// cutField returns the first word of s, and what follows it.
func cutField(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}
