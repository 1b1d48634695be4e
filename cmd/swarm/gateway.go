package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
)

const dialTimeout = 10 * time.Second

// gatewayFlags say which gateways to use.
type gatewayFlags struct {
	Gateway   []string   `env:"SWARMGATE_GATEWAY" predictor:"word" placeholder:"URL" help:"The gateway: https://gateway.example:4433, or swarmgate://gateway.example:4433/?h=HASH if the certificate is pinned. http://127.0.0.1:PORT, its listener for development, tells the hash. If you name several, the first that answers is used."`
	CertHash  []certHash `name:"cert-hash" placeholder:"HEX" help:"SHA-256 of the gateway's certificate. Without it an authority must have signed the certificate."`
	Token     string     `env:"SWARMGATE_TOKEN" placeholder:"TOKEN" help:"Token to show to the gateway. Others on this computer can read it in the list of processes."`
	TokenFile string     `type:"path" predictor:"file" placeholder:"FILE" help:"File with the token, read before each attempt to connect. Instead of --token."`
	Transport transport  `env:"SWARMGATE_TRANSPORT" enum:"auto,quic,websocket" predictor:"transport" default:"auto" placeholder:"auto" help:"How to connect: quic, websocket (for networks without UDP; it goes through the HTTP proxy that HTTPS_PROXY names), or auto, which tries QUIC first."`
	Reconnect bool       `negatable:"" default:"true" help:"Connect again when the session is lost."`

	patience time.Duration // of a dial; 0 for the client's own
}

// transport is how to connect.
type transport string

// names returns what [client.Config.Transports] takes.
func (t transport) names() []string {
	if t == "auto" || t == "" {
		return nil
	}
	return []string{string(t)}
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

// AfterApply takes the spaces around gateways away, which lists of the environment have after their
// commas, and elements of which nothing is there.
func (g *gatewayFlags) AfterApply() error {
	var urls []string
	for _, u := range g.Gateway {
		if u = strings.TrimSpace(u); u != "" {
			urls = append(urls, u)
		}
	}
	g.Gateway = urls
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
	cfg := client.Config{Token: []byte(g.Token), Agent: "swarm " + version(), Transports: g.Transport.names(), NoReconnect: !g.Reconnect, DialTimeout: g.patience, Logger: p.log}
	if g.TokenFile != "" {
		if g.Token != "" {
			return nil, errors.New("both --token, or SWARMGATE_TOKEN, and --token-file")
		}
		cfg.TokenSource = func(context.Context) ([]byte, error) { return readToken(g.TokenFile) }
	}
	for _, h := range g.CertHash {
		cfg.CertHashes = append(cfg.CertHashes, h)
	}
	cfg.Gateways = g.Gateway[1:]
	return client.Dial(p.ctx, g.Gateway[0], cfg)
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
