package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	dialTimeout = 10 * time.Second
	maxInfo     = 64 << 10 // bytes of an info document
)

// gatewayFlags say which gateways to use.
type gatewayFlags struct {
	Gateway   []string   `required:"" placeholder:"URL" help:"The gateway, such as https://gateway.example:4433. http://127.0.0.1:PORT, its listener for development, tells the certificate's hash as well. Of several, one is used that answers."`
	CertHash  []certHash `name:"cert-hash" placeholder:"HEX" help:"SHA-256 of the gateway's certificate. Without it an authority must have signed the certificate."`
	Token     string     `env:"SWARMGATE_TOKEN" placeholder:"TOKEN" help:"Token to show to the gateway. Others on this computer can read it in the list of processes."`
	TokenFile string     `type:"path" placeholder:"FILE" help:"File with the token, read before each attempt to connect. Instead of --token."`
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

// hostPort is an address of a TCP service.
type hostPort string

// UnmarshalText reads HOST:PORT.
func (a *hostPort) UnmarshalText(b []byte) error {
	_, port, err := net.SplitHostPort(string(b))
	if err != nil {
		return fmt.Errorf("%q: want HOST:PORT", b)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: port %q is not a number from 1 to 65535", b, port)
	}
	*a = hostPort(b)
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
	for _, address := range g.Gateway {
		if strings.HasPrefix(address, "http://") {
			info, err := fetchInfo(p.ctx, address)
			if err != nil {
				return nil, err
			}
			hashes, err := hashesOf(info.Certificate)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", address, err)
			}
			address = info.QUIC
			if len(g.CertHash) == 0 {
				cfg.CertHashes = append(cfg.CertHashes, hashes...)
			}
		}
		cfg.Gateways = append(cfg.Gateways, address)
	}
	first := cfg.Gateways[0]
	cfg.Gateways = cfg.Gateways[1:]
	return client.Dial(p.ctx, first, cfg)
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

// fetchInfo asks the gateway at address, plain HTTP, for its info document. Nobody but this machine is believed.
func fetchInfo(ctx context.Context, address string) (wtproto.Info, error) {
	var info wtproto.Info
	u, err := url.Parse(address)
	if err != nil {
		return info, err
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return info, fmt.Errorf("%s: plain HTTP is believed from this machine only; use https://, and --cert-hash where the certificate is pinned", address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(wtproto.InfoPath).String(), nil)
	if err != nil {
		return info, err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := (&http.Client{Transport: transport, CheckRedirect: noRedirects}).Do(req)
	if err != nil {
		return info, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return info, fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxInfo)).Decode(&info); err != nil {
		return info, fmt.Errorf("%s: %w", req.URL, err)
	}
	return info, nil
}

// hashesOf returns the hashes to trust, none where authorities are.
func hashesOf(c wtproto.CertificateInfo) ([][32]byte, error) {
	if c.Kind != wtproto.CertificatePinned {
		return nil, nil
	}
	var hashes [][32]byte
	for _, text := range c.Hashes {
		var h certHash
		if err := h.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	if len(hashes) == 0 {
		return nil, errors.New("a pinned certificate without a hash")
	}
	return hashes, nil
}
