package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/wtproto"
)

// pageFact is how a session over WebTransport went, as a page opens one in a browser.
type pageFact struct {
	origin string // of the page, which is one of the gateway itself
	took   time.Duration
	status int // of HTTP, to CONNECT; 0 for no answer
	err    error
}

// errNotTried is why there was no session for a page: there is no QUIC that is trusted.
var errNotTried = errors.New("not tried: see quic")

// openPage opens a session over WebTransport, and closes it. It needs the facts about QUIC.
func (x *examination) openPage(ctx context.Context) {
	f := &x.facts
	if f.quic.err != nil && (f.quic.Certificate != nil || isTimeout(f.quic.err)) {
		f.page.err = errNotTried
		return
	}
	host, _, _ := strings.Cut(f.gateway.Host, "%") // no page has a zone
	own := hostname.Origin{Scheme: "https", At: hostname.HostPort{Host: host, Port: f.gateway.Port}}
	if own.At.Port == 443 {
		own.At.Port = 0
	}
	f.page.origin = own.String()
	at := f.quic.Address
	if at == "" {
		at = wtproto.GatewayURL{Host: hostname.ToResolve(f.gateway.Host), Port: f.gateway.Port}.Address()
	}
	began := time.Now()
	f.page.status, f.page.err = x.greetAsPage(ctx, at, own)
	f.page.took = time.Since(began)
}

// greetAsPage opens a session at an address for a page, and waits for WELCOME. The error is a
// [*wtproto.Error] if the gateway refused it.
func (x *examination) greetAsPage(ctx context.Context, at string, own hostname.Origin) (status int, err error) {
	token := []byte(x.flags.Token)
	if x.flags.TokenFile != "" {
		if token, err = readToken(x.flags.TokenFile); err != nil {
			return 0, err
		}
	}
	var secret wtproto.Secret
	rand.Read(secret[:])
	tr := &webtransport.Transport{
		TLSClientConfig: x.trustPage(own.At.Host),
		QUICConfig: &quic.Config{
			HandshakeIdleTimeout:             2 * x.patience, // so that ctx ends first
			InitialPacketSize:                wtproto.PacketSize,
			DisablePathMTUDiscovery:          true,
			EnableDatagrams:                  true,
			EnableStreamResetPartialDelivery: true,
		},
		DialAddr: func(ctx context.Context, _ string, trust *tls.Config, conf *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, at, trust, conf)
		},
	}
	defer tr.Close()
	endpoint := url.URL{Scheme: own.Scheme, Host: own.At.String(), Path: wtproto.Path}
	resp, session, err := tr.Dial(ctx, endpoint.String(), http.Header{"Origin": {own.String()}})
	if resp != nil {
		status = resp.StatusCode
	}
	if err != nil {
		return status, err
	}
	defer session.CloseWithError(0, "")
	control, err := session.OpenStreamSync(ctx)
	if err == nil {
		defer context.AfterFunc(ctx, func() { session.CloseWithError(0, "") })() // unblocks both
		hello := wtproto.Hello{Version: wtproto.Version, Credit: wtproto.MinCredit, Secret: secret, Token: token, Agent: "swarm " + version()}
		if _, err = control.Write(hello.Append(nil)); err == nil {
			if _, _, err = wtproto.NewReader(control).Next(); err == nil {
				return status, nil
			}
		}
		_, err = session.AcceptUniStream(ctx) // there is none: it says why the session ended
	}
	if ctx.Err() != nil {
		return status, ctx.Err()
	}
	if e, ok := errors.AsType[*webtransport.SessionError](err); ok && e.Remote {
		return status, &wtproto.Error{Code: wtproto.Code(e.ErrorCode), Remote: true, Reason: e.Message}
	}
	return status, err
}

// trustPage returns how the gateway's certificate is trusted here. The handshake of its own has
// said already whether one that is trusted for its hash is fit for that.
func (x *examination) trustPage(host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{http3.NextProtoH3}, ServerName: host}
	if hashes := x.facts.gateway.Hashes; len(hashes) > 0 {
		c.InsecureSkipVerify = true // VerifyConnection does it
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if hash := sha256.Sum256(state.PeerCertificates[0].Raw); !slices.Contains(hashes, hash) {
				return fmt.Errorf("the certificate has the hash %x, which is not trusted", hash)
			}
			return nil
		}
	}
	return c
}

// noApplicationProtocol is the error of QUIC that TLS's alert of that name makes.
const noApplicationProtocol = 0x100 + 120

func (f *facts) checkPage() finding {
	const check = "webtransport"
	p := f.page
	if p.err == nil {
		return finding{check, findingOK, fmt.Sprintf("a page of %s connected in %d ms", p.origin, p.took.Milliseconds()), "", ""}
	}
	if p.err == errNotTried {
		return finding{check, findingUnknown, "not tried: see quic above", "", ""}
	}
	if e, ok := errors.AsType[*wtproto.Error](p.err); ok && e.Remote {
		return f.checkRefusedPage(finding{check, findingOK, "", "", e.Code.String()}, e)
	}
	v := f.unreachable(check, p.err)
	if v.State == findingUnknown {
		return v
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](p.err)
	_, lacking := errors.AsType[*webtransport.RequirementsNotMetError](p.err)
	failed, _ := errors.AsType[*quic.TransportError](p.err)
	switch {
	case failed != nil && failed.ErrorCode == noApplicationProtocol:
		v.Text, v.Advice = "no HTTP/3 there", "see which program answers at UDP port "+f.port()+"; browsers use WebSocket meanwhile"
	case lacking:
		v.Text, v.Advice = "HTTP/3, but no WebTransport: "+v.Text, "see which program answers at UDP port "+f.port()+"; browsers use WebSocket meanwhile"
	case p.status != 0 && p.status != http.StatusOK:
		v.Text = fmt.Sprintf("HTTP/3, but status %d for CONNECT %s", p.status, wtproto.Path)
		v.Advice = "see the gateway's log, and which program answers at UDP port " + f.port()
	case untrusted:
		v.Advice = "see quic above"
	default:
		v.Advice = "see the gateway's log"
	}
	return v
}

// checkRefusedPage completes v for a session that the gateway refused. All but a refusal of the
// page says that WebTransport works.
func (f *facts) checkRefusedPage(v finding, e *wtproto.Error) finding {
	if e.Code != wtproto.CodeForbidden {
		v.Text = fmt.Sprintf("it works; the session of a page of %s was refused: %v", f.page.origin, e)
		return v
	}
	v.State, v.Text = findingWrong, fmt.Sprintf("refused: %v", e)
	for _, s := range f.sessions {
		if other, ok := errors.AsType[*wtproto.Error](s.err); ok && other.Remote && other.Code == e.Code {
			v.Advice = "see the token below"
			return v
		}
	}
	v.Advice = "for pages at this address start the gateway with --name " + f.gateway.Host + "; for pages elsewhere, with --allow-origin"
	return v
}
