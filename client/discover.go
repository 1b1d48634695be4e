package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

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
	u, err := discover(ctx, url, nil)
	if err != nil {
		return wtproto.GatewayURL{}, fmt.Errorf("client: discover: %w", err)
	}
	return u, nil
}

// discover is Discover with the authorities roots.
func discover(ctx context.Context, from string, roots *x509.CertPool) (u wtproto.GatewayURL, err error) {
	where, err := url.Parse(from)
	if err != nil {
		return u, err
	}
	if err := believable(where); err != nil {
		return u, err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	document := url.URL{Scheme: where.Scheme, Host: where.Host, Path: wtproto.InfoPath}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, document.String(), nil)
	if err != nil {
		return u, err
	}
	resp, err := (&http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			Proxy:             http.ProxyFromEnvironment, // never for this machine
			TLSClientConfig:   &tls.Config{RootCAs: roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).Do(req)
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return u, fmt.Errorf("%v: %s", req.URL, resp.Status)
	}
	var info wtproto.Info
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxInfo)).Decode(&info); err != nil {
		return u, fmt.Errorf("%v: %w", req.URL, err)
	}
	if u, err = gatewayURL(info); err != nil {
		return u, fmt.Errorf("%v: %w", req.URL, err)
	}
	return u, nil
}

// discoverAll returns addresses with the gateway URL in place of each http:// URL on this machine.
// One that does not answer is left out, unless none is left. If pinned is set, the hashes are
// known.
func discoverAll(ctx context.Context, addresses []string, pinned bool) (all []string, err error) {
	var errs []error
	for _, a := range addresses {
		where, err := url.Parse(a)
		if err != nil || where.Scheme != "http" || believable(where) != nil {
			all = append(all, a) // which is an address of another form, or a mistake
			continue
		}
		u, err := discover(ctx, a, nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if pinned {
			u.Hashes = nil
		}
		all = append(all, u.String())
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
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
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%v: plain HTTP is believed from this machine only; use https://, "+
			"or the certificate's hash if it is pinned", u)
	}
	return nil
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
