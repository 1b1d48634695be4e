package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/oneline"
)

const dialTimeout = 10 * time.Second

// gatewayFlags say which gateways to use.
type gatewayFlags struct {
	Gateway   []string   `env:"SWARMGATE_GATEWAY" predictor:"word" placeholder:"URL" help:"The gateway: https://gateway.example:4433, or swarmgate://gateway.example:4433/?h=HASH if the certificate is pinned. http://127.0.0.1:PORT, its listener for development, tells the hash. Of several, one is used that answers."`
	CertHash  []certHash `name:"cert-hash" placeholder:"HEX" help:"SHA-256 of the gateway's certificate. Without it an authority must have signed the certificate."`
	Token     string     `env:"SWARMGATE_TOKEN" placeholder:"TOKEN" help:"Token to show to the gateway. Others on this computer can read it in the list of processes."`
	TokenFile string     `type:"path" predictor:"file" placeholder:"FILE" help:"File with the token, read before each attempt to connect. Instead of --token."`
	Reconnect bool       `negatable:"" default:"true" help:"Come back when the session was lost."`
}

// certHash is the SHA-256 of a certificate.
type certHash [32]byte

// UnmarshalText reads 64 hexadecimal digits, which may have colons between them.
func (h *certHash) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(strings.ReplaceAll(string(b), ":", ""))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("%q: want %d hexadecimal digits", b, 2*len(h))
	}
	copy(h[:], raw)
	return nil
}

// requireGateway returns an error if no gateway was given. If the topic came with one, it replaces
// those of the flags and the environment, because the others on the topic use that one.
func (g *gatewayFlags) requireGateway(topic topicArg) error {
	if topic.gateway != "" {
		g.Gateway = []string{topic.gateway}
	}
	if len(g.Gateway) == 0 {
		return errors.New("want a gateway: --gateway URL, SWARMGATE_GATEWAY, or swarmgate://… as the topic")
	}
	return nil
}

// dial opens a session. The caller closes it.
func (g *gatewayFlags) dial(p *program) (*client.Client, error) {
	cfg := client.Config{Token: []byte(g.Token), Agent: "swarm " + version(), NoReconnect: !g.Reconnect, Logger: p.log}
	if g.TokenFile != "" {
		if g.Token != "" {
			return nil, errors.New("both --token, or SWARMGATE_TOKEN, and --token-file")
		}
		cfg.TokenSource = func(context.Context) ([]byte, error) { return readToken(g.TokenFile) }
	}
	for _, h := range g.CertHash {
		cfg.CertHashes = append(cfg.CertHashes, h)
	}
	var failures []oneline.Failure
	for _, address := range g.Gateway {
		if strings.HasPrefix(address, "http://") {
			u, err := client.Discover(p.ctx, address)
			if err != nil {
				failures = append(failures, oneline.Failure{Of: address, Err: cause(err)})
				continue
			}
			if len(g.CertHash) > 0 {
				u.Hashes = nil
			}
			address = u.String()
		}
		cfg.Gateways = append(cfg.Gateways, address)
	}
	if len(cfg.Gateways) == 0 {
		return nil, oneline.Join(failures...)
	}
	first := cfg.Gateways[0]
	cfg.Gateways = cfg.Gateways[1:]
	return client.Dial(p.ctx, first, cfg)
}

// cause returns what the system said, if err has that, and err otherwise.
func cause(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}

// readToken returns what the file at path holds, without the white space around it.
func readToken(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return b, nil
}
