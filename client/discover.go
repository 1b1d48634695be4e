package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	discoverTimeout = 10 * time.Second
	maxInfo         = 64 << 10 // bytes of an info document
)

// Discover asks a gateway for its info document, and returns its address and the hashes of its
// certificates, none if an authority has signed it. [wtproto.GatewayURL.String] of the result is
// an address for [Dial], and, after [wtproto.GatewayURL.WithTopic], what somebody else can paste.
//
// url is where the gateway serves the document: "https://gateway.example", or
// "http://127.0.0.1:8080", its listener for development. It is believed only over https with a
// certificate of an authority that the system trusts, or from this machine (docs/PROTOCOL.md,
// Info document). Discover follows no redirect and takes 10 s at most.
func Discover(ctx context.Context, url string) (wtproto.GatewayURL, error) {
	u, _, err := discover(ctx, url, nil)
	if err != nil {
		return wtproto.GatewayURL{}, fmt.Errorf("client: discover: %w", err)
	}
	return u, nil
}

// discover is Discover with the authorities roots. It returns the URL of WebSockets too, if the
// document has one.
func discover(ctx context.Context, from string, roots *x509.CertPool) (u wtproto.GatewayURL, websocket string, err error) {
	info, u, document, err := readInfo(ctx, from, &tls.Config{RootCAs: roots})
	if err != nil {
		return u, "", err
	}
	if websocket, err = websocketURL(document, info.WebSocket); err != nil {
		return wtproto.GatewayURL{}, "", fmt.Errorf("%v: %w", document, err)
	}
	return u, websocket, nil
}

// readInfo returns the document at from, what it says of where the gateway is, and its whole URL.
// The certificate of its server is trusted as trust says.
func readInfo(ctx context.Context, from string, trust *tls.Config) (info wtproto.Info, u wtproto.GatewayURL, document *url.URL, err error) {
	where, err := url.Parse(from)
	if err != nil {
		return info, u, nil, err
	}
	if err := believable(where); err != nil {
		return info, u, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	document = &url.URL{Scheme: where.Scheme, Host: where.Host, Path: wtproto.InfoPath}
	if info, err = fetchInfo(ctx, document, trust); err != nil {
		return info, u, document, err
	}
	if u, err = gatewayURL(info); err != nil {
		err = fmt.Errorf("%v: %w", document, err)
	}
	return info, u, document, err
}

// fetchInfo asks for a document.
func fetchInfo(ctx context.Context, document *url.URL, trust *tls.Config) (info wtproto.Info, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, document.String(), nil)
	if err != nil {
		return info, err
	}
	resp, err := (&http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       dialTCP,
			Proxy: func(r *http.Request) (*url.URL, error) {
				if onThisMachine(r.URL) {
					return nil, nil
				}
				return http.ProxyFromEnvironment(r)
			},
			TLSClientConfig: trust,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).Do(req)
	if err != nil {
		return info, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return info, fmt.Errorf("%v: %s", document, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxInfo)).Decode(&info); err != nil {
		return info, fmt.Errorf("%v: %w", document, err)
	}
	return info, nil
}

// ReadInfo returns the info document of a gateway and what that says of where the gateway is. from
// is a URL that [Discover] takes. If there are hashes, the certificate of its server is trusted for
// one of them, and for no other reason. ReadInfo takes 10 s at most.
func ReadInfo(ctx context.Context, from string, hashes [][32]byte) (wtproto.Info, wtproto.GatewayURL, error) {
	trust := &tls.Config{}
	if len(hashes) > 0 {
		trust = tlsConfig(&Config{}, "", hashes)
		trust.NextProtos, trust.MinVersion = nil, 0 // HTTP, and maybe a proxy
	}
	info, u, _, err := readInfo(ctx, from, trust)
	if err != nil {
		return wtproto.Info{}, wtproto.GatewayURL{}, fmt.Errorf("client: info: %w", err)
	}
	return info, u, nil
}

// websocketURL returns what the member websocket of a document says, or "" if it is empty.
func websocketURL(document *url.URL, member string) (string, error) {
	if member == "" {
		return "", nil
	}
	u, err := document.Parse(member)
	if err != nil {
		return "", err
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	}
	if u.Host == "" || u.User != nil || u.Scheme != "wss" && (u.Scheme != "ws" || !onThisMachine(u)) {
		return "", fmt.Errorf("invalid WebSocket %q, want wss, or ws on this machine", member)
	}
	return u.String(), nil
}

// document is what an info document says of a gateway, beside its gateway URL.
type document struct {
	url       string // where it is
	websocket string // empty if it does not say
}

// discoverAll returns addresses with the gateway URL in place of each http:// URL on this machine.
// One that does not answer is left out, unless none is left. If pinned is set, the hashes are
// known. The documents are by host and port of their gateways.
func discoverAll(ctx context.Context, addresses []string, pinned bool) (all []string, documents map[string]document, err error) {
	documents = make(map[string]document)
	var failures []oneline.Failure
	for _, a := range addresses {
		where, err := url.Parse(a)
		if err != nil || where.Scheme != "http" || believable(where) != nil {
			all = append(all, a) // which is an address of another form, or a mistake
			continue
		}
		u, websocket, err := discover(ctx, a, nil)
		if err != nil {
			if e, ok := errors.AsType[*net.OpError](err); ok {
				err = e.Err // what the system said
			}
			failures = append(failures, oneline.Failure{Of: a, Err: err})
			continue
		}
		if pinned {
			u.Hashes = nil
		}
		all = append(all, u.String())
		if g, err := parseGateway(u.String()); err == nil {
			documents[net.JoinHostPort(g.host, g.port)] = document{a, websocket}
		}
	}
	if len(all) == 0 {
		return nil, nil, oneline.Join(failures...)
	}
	return all, documents, nil
}

// rereadTimeout is how long the document of a gateway that has failed may take. The gateway is
// tried where it was after that.
const rereadTimeout = 2 * time.Second

// reread asks for the document of an attempt's gateway again, if that has failed since: a gateway
// that was restarted may have another certificate, and another port.
func (c *Client) reread(a *attempt) {
	c.mu.Lock()
	old := *c.gateways[a.gateway]
	c.mu.Unlock()
	if !old.failed || old.document == "" {
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, rereadTimeout)
	defer cancel()
	u, websocket, err := discover(ctx, old.document, nil)
	if err != nil {
		c.cfg.Logger.Debug("the info document was not read again", "error", err)
		return
	}
	if len(c.cfg.CertHashes) > 0 {
		u.Hashes = c.cfg.CertHashes
	}
	fresh, err := parseGateway(u.String())
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g := *c.gateways[a.gateway]
	g.name, g.host, g.port, g.pinned = fresh.name, fresh.host, fresh.port, fresh.pinned
	g.websocket = cmp.Or(websocket, fresh.websocket)
	c.gateways[a.gateway] = &g
}

// believable reports why a document from u would not be believed, if so.
func believable(u *url.URL) error {
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" ||
		u.Path != "" && u.Path != "/" && u.Path != wtproto.Path && u.Path != wtproto.InfoPath:
		return fmt.Errorf("%q: want https://host[:port]", u.Redacted())
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("%q: want https://, or http:// on this machine", u)
	}
	if !onThisMachine(u) {
		return fmt.Errorf("%v: plain HTTP is believed from this machine only; use https://, "+
			"or the certificate's hash if it is pinned", u)
	}
	return nil
}

// onThisMachine reports whether the host of u is loopback.
func onThisMachine(u *url.URL) bool {
	host, err := hostname.Parse(u.Hostname())
	return err == nil && hostname.IsLoopback(host)
}

// gatewayURL returns what a document says.
func gatewayURL(info wtproto.Info) (u wtproto.GatewayURL, err error) {
	if strings.ContainsAny(info.QUIC, "/?#") {
		return u, fmt.Errorf("invalid address %q", info.QUIC)
	}
	if u, err = wtproto.ParseGatewayURL(wtproto.URLScheme + info.QUIC); err != nil {
		return u, fmt.Errorf("invalid address %q", info.QUIC)
	}
	switch info.Certificate.Kind {
	case wtproto.CertificateCA:
		return u, nil
	case wtproto.CertificatePinned:
	default:
		return u, fmt.Errorf("unknown kind of certificate %q", info.Certificate.Kind)
	}
	for _, text := range info.Certificate.Hashes {
		h, err := wtproto.ParseTopic(text) // of the same form
		if err != nil {
			return u, fmt.Errorf("the hash %q is not 64 hexadecimal digits", text)
		}
		u.Hashes = append(u.Hashes, h)
	}
	if len(u.Hashes) == 0 || len(u.Hashes) > wtproto.MaxHashes {
		return u, errors.New("a pinned certificate without hashes, or with too many")
	}
	return u, nil
}
