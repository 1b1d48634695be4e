package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

// facts are what swarm doctor has seen of a gateway.
type facts struct {
	gateway wtproto.GatewayURL // with all hashes that are trusted; zero if locateErr is set
	http    string             // URL of the info document that it is found by; empty for none
	now     time.Time

	locateErr error // of that document

	addresses []string // of the name
	nameErr   error

	info    wtproto.Info
	infoErr error

	proxy  string // that WebSocket goes through; empty for none
	tcpErr error

	tls, quic handshake
	page      pageFact
	sessions  []tried // in the order in which transports are preferred

	timed bool          // ahead is known
	ahead time.Duration // of the clock here, compared with the gateway's
	token bool          // one was shown

	topic *topicFact // nil if it was not asked for, or there was no session
	asked string     // name of the topic; empty if it was not asked for
}

// handshake is one over TCP or QUIC.
type handshake struct {
	client.Handshake
	err error
}

// tried is a session that was tried over a transport.
type tried struct {
	transport string
	took      time.Duration
	err       error // nil if there was one
}

// topicFact is what was seen of a topic.
type topicFact struct {
	err    error // why it was not joined
	status client.Status
	after  time.Duration // how long it was looked at
}

// States of a finding.
const (
	findingOK      = "ok"
	findingWrong   = "wrong"
	findingUnknown = "unknown" // it cannot be said, or does not matter
)

// finding is what one check says.
type finding struct {
	Check  string `json:"check"` // address, name, document, tcp, tls, quic, webtransport, session-quic, session-websocket, clock, token or topic
	State  string `json:"state"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"` // what to do
	Code   string `json:"code,omitempty"`   // with which the gateway refused
}

// diagnosis is all that swarm doctor says of a gateway.
type diagnosis struct {
	Event     string    `json:"event"` // doctor
	Gateway   string    `json:"gateway"`
	Checks    []finding `json:"checks"`
	Usable    []string  `json:"usable"`              // transports over which a session was possible
	Transport string    `json:"transport,omitempty"` // the one that is used by default
}

// diagnose says what the facts mean.
func diagnose(f facts) diagnosis {
	d := diagnosis{Event: "doctor", Gateway: f.gateway.String(), Usable: []string{}}
	if f.http != "" {
		d.Gateway = f.http
	} else if f.locateErr != nil {
		d.Gateway = "the gateway" // whose address may hold a secret
	}
	if f.locateErr != nil {
		v := finding{"address", findingWrong, words(f.locateErr), "correct it", ""}
		if f.http != "" {
			v.Check = "document"
			v.Advice = "start the gateway, or correct the address; its ready line has a swarmgate:// URL, which needs no document"
		}
		d.Checks = []finding{v}
		return d
	}
	d.Checks = append(d.Checks, f.checkName(), f.checkDocument(), f.checkTCP(), f.checkTLS(), f.checkQUIC(), f.checkPage())
	for _, s := range f.sessions {
		d.Checks = append(d.Checks, f.checkSession(s))
		if s.err == nil {
			d.Usable = append(d.Usable, s.transport)
		}
	}
	d.Transport = f.preferred()
	d.Checks = append(d.Checks, f.checkClock(), f.checkToken())
	if f.asked != "" {
		d.Checks = append(d.Checks, f.checkTopic())
	}
	return d
}

// preferred returns the transport that clients use if they are not told which.
func (f *facts) preferred() string {
	best, least := "", time.Duration(0)
	for i, s := range f.sessions {
		after := time.Duration(i)*client.TransportStart + s.took
		if s.err == nil && (best == "" || after < least) {
			best, least = s.transport, after
		}
	}
	return best
}

func (f *facts) checkName() finding {
	switch {
	case f.nameErr != nil:
		return finding{"name", findingWrong, words(f.nameErr), "correct the name, or see the resolver of this machine (DNS)", ""}
	case len(f.addresses) == 1 && f.addresses[0] == f.gateway.Host:
		return finding{"name", findingOK, f.gateway.Host + " is an address", "", ""}
	}
	return finding{"name", findingOK, f.gateway.Host + " is " + strings.Join(f.addresses, ", "), "", ""}
}

func (f *facts) checkDocument() finding {
	v := finding{Check: "document", State: findingUnknown}
	switch {
	case f.infoErr == nil:
	case f.nameErr != nil || f.tcpErr != nil || f.tls.err != nil:
		v.Text = "not read, for the reasons that the other checks give"
		return v
	default:
		v.Text = "there is none, which clients that know the address do without: " + words(f.infoErr)
		return v
	}
	v.State = findingOK
	v.Text = fmt.Sprintf("%s, version %d of the protocol", f.info.Agent, f.info.Version)
	for _, t := range []struct{ name, is string }{{"QUIC", f.info.QUIC}, {"WebTransport", f.info.WebTransport}, {"WebSocket", f.info.WebSocket}} {
		if t.is != "" {
			v.Text += ", " + t.name
		}
	}
	if f.info.Version < wtproto.Version {
		v.State, v.Advice = findingWrong, "update the gateway, which is older than this program"
	} else if at := f.info.QUIC; at != f.gateway.Address() && f.preferred() != client.TransportQUIC {
		v.Advice = "it says that the gateway is at " + at + ", and not at " + f.gateway.Address() + ": if so, use that address"
	}
	return v
}

func (f *facts) checkTCP() finding {
	v := finding{Check: "tcp", State: findingOK, Text: f.gateway.Address() + " takes connections"}
	if f.tcpErr != nil {
		v = f.unreachable("tcp", f.tcpErr)
		if v.State == findingWrong {
			v.Advice = fmt.Sprintf("see that the gateway runs there, and let TCP port %s through firewalls, and through the router; browsers need it too", f.port())
		}
	}
	if f.tcpErr != nil && f.proxied() {
		v.State, v.Advice = findingUnknown, "" // it does not matter
	}
	if f.proxy != "" {
		v.Text += " (directly; sessions over WebSocket go through the proxy " + f.proxy + ")"
	}
	return v
}

func (f *facts) checkTLS() finding {
	if f.tcpErr != nil {
		return finding{"tls", findingUnknown, "not tried: there is no TCP", "", ""}
	}
	v := f.checkCertificate("tls", f.tls)
	if _, is := errors.AsType[tls.RecordHeaderError](f.tls.err); is {
		v.Advice = "another program answers at " + f.gateway.Address() + ": correct the address"
	}
	return v
}

// proxied reports whether there was a session through the proxy.
func (f *facts) proxied() bool {
	return f.proxy != "" && slices.ContainsFunc(f.sessions, func(s tried) bool { return s.transport == client.TransportWebSocket && s.err == nil })
}

// packetSize is [wtproto.PacketSize] as people read it.
var packetSize = fmt.Sprintf("%d,%03d", wtproto.PacketSize/1000, wtproto.PacketSize%1000)

func (f *facts) checkQUIC() finding {
	v := f.checkCertificate("quic", f.quic)
	if v.State == findingWrong && f.quic.Certificate == nil && isTimeout(f.quic.err) {
		if f.tcpErr != nil && f.proxied() {
			v.Advice = "nothing, if the proxy is the only way out of this network: clients use WebSocket then"
		} else if f.tcpErr != nil {
			v.Advice = "nothing answers at " + f.gateway.Address() + ", over TCP neither: see that the gateway runs there, and which port it has"
		} else {
			v.Text += fmt.Sprintf(", to payloads of %s bytes", packetSize)
			v.Advice = fmt.Sprintf("let UDP port %s through firewalls, and through the router in front of the gateway, with payloads of %s bytes; "+
				"in a network without UDP clients use WebSocket", f.port(), packetSize)
		}
	}
	if v.State == findingOK { // both sides pad the first packets of a handshake
		v.Text += fmt.Sprintf("; UDP payloads of %s bytes pass", packetSize)
	}
	return v
}

// checkCertificate says how a handshake went.
func (f *facts) checkCertificate(check string, h handshake) finding {
	v := finding{Check: check, State: findingOK}
	cert := h.Certificate
	if h.err == nil && cert != nil {
		kind := "of an authority, " + cert.Issuer.String()
		if len(f.gateway.Hashes) > 0 {
			kind = fmt.Sprintf("pinned, hash %x", sha256.Sum256(cert.Raw))
		}
		alpn := ""
		if h.ALPN != "" {
			alpn = ", ALPN " + h.ALPN
		}
		v.Text = fmt.Sprintf("handshake in %d ms%s; certificate %s, until %s", h.Took.Milliseconds(), alpn, kind, day(cert.NotAfter))
		if left := cert.NotAfter.Sub(f.now); len(f.gateway.Hashes) == 0 && left < 7*24*time.Hour {
			v.Advice = "it ends soon: see that the gateway's certificate is renewed"
		}
		return v
	}
	if h.err == nil {
		v.Text = fmt.Sprintf("handshake in %d ms", h.Took.Milliseconds())
		return v
	}
	if cert == nil {
		return f.unreachable(check, h.err)
	}
	v.State = findingWrong
	hash := sha256.Sum256(cert.Raw)
	pinned := len(f.gateway.Hashes) > 0
	switch {
	case pinned && !slices.Contains(f.gateway.Hashes, hash):
		v.Text = fmt.Sprintf("the certificate has the hash %x, which is not trusted", hash)
		v.Advice = "get the gateway's address anew, from its ready line or whoever runs it (without --state-dir each start has another hash); " +
			"if nothing changed there, somebody else answers"
	case f.now.After(cert.NotAfter):
		v.Text = "the certificate has ended, on " + day(cert.NotAfter)
		v.Advice = "renew it on the gateway, unless the clock here is wrong"
	case f.now.Before(cert.NotBefore):
		v.Text = "the certificate begins later, on " + day(cert.NotBefore)
		v.Advice = "set the clock here, or that of the gateway"
	case cert.VerifyHostname(f.gateway.Host) != nil && !pinned:
		v.Text = words(h.err)
		v.Advice = "use a name that is in the certificate, or get one for this name"
		if cert.Issuer.String() == cert.Subject.String() {
			v.Advice = pinAdvice(hash)
		}
	default:
		v.Text, v.Advice = words(h.err), "see that the gateway has a certificate as docs/OPERATING.md wants it"
		if _, is := errors.AsType[x509.UnknownAuthorityError](h.err); is {
			v.Advice = pinAdvice(hash)
			if cert.Issuer.String() != cert.Subject.String() {
				v.Advice = "if it is to be trusted, let SSL_CERT_FILE name the certificate of its authority (" + cert.Issuer.String() + "), or install that here; " +
					"if others trust that, see that the gateway's file has the whole chain"
			}
		}
	}
	return v
}

// pinAdvice says what to do if no authority has signed a certificate.
func pinAdvice(hash [32]byte) string {
	return fmt.Sprintf("use the swarmgate:// URL with ?h= that the gateway prints; if whoever runs it says that it has this hash, --cert-hash %x", hash)
}

// unreachable is the finding that there was no connection.
func (f *facts) unreachable(check string, err error) finding {
	if _, is := errors.AsType[*net.DNSError](err); is {
		return finding{check, findingUnknown, "not tried: the name does not resolve", "", ""}
	}
	return finding{check, findingWrong, words(err), "see that the gateway runs at " + f.gateway.Address(), ""}
}

func (f *facts) checkSession(s tried) finding {
	v := finding{Check: "session-" + s.transport, State: findingOK, Text: fmt.Sprintf("connected in %d ms", s.took.Milliseconds())}
	if s.err == nil {
		return v
	}
	v = f.unreachable(v.Check, s.err)
	if v.State == findingUnknown {
		return v
	}
	e, refused := errors.AsType[*wtproto.Error](s.err)
	if !refused || !e.Remote {
		v.Advice = f.sessionAdvice(s.transport)
		return v
	}
	v.Advice = "see the gateway's log"
	v.Code = e.Code.String()
	switch e.Code {
	case wtproto.CodeUnauthorized, wtproto.CodeTokenExpired, wtproto.CodeForbidden:
		v.Advice = "see the token below"
	case wtproto.CodeBusy, wtproto.CodeRateLimited:
		v.Advice = "come back later"
		if len(f.sessions) > 1 && f.preferred() != "" {
			v.Advice = "if one session at a time is allowed, this is right: ask with --transport " + s.transport + " alone"
		}
	case wtproto.CodeVersion:
		v.Advice = "update the older one of the gateway and this program"
	case wtproto.CodeShutdown:
		v.Advice = "the gateway is going away: try again, or another gateway"
	}
	return v
}

// sessionAdvice says what to do if there is no session over a transport, and nobody has refused it.
func (f *facts) sessionAdvice(transport string) string {
	switch {
	case transport == client.TransportQUIC && f.quic.err != nil:
		return "see quic above"
	case transport == client.TransportQUIC:
		return "see the gateway's log"
	case f.tcpErr != nil && f.proxy == "":
		return "see tcp above"
	case f.tcpErr == nil && f.tls.err != nil:
		return "see tls above"
	}
	return "see that what stands before the gateway, and the HTTP proxy here, let WebSocket through to " + wtproto.Path
}

func (f *facts) checkClock() finding {
	const most = time.Minute
	v := finding{Check: "clock", State: findingOK}
	if f.timed {
		off := f.ahead.Round(time.Second)
		switch {
		case off > most:
			v.State, v.Text = findingWrong, fmt.Sprintf("%v ahead of the gateway's", off)
		case off < -most:
			v.State, v.Text = findingWrong, fmt.Sprintf("%v behind the gateway's", -off)
		default:
			v.Text = "that of the gateway, within a minute"
			return v
		}
		v.Advice = "set the one that is wrong: certificates and tokens are valid for a time"
		return v
	}
	for _, h := range []handshake{f.tls, f.quic} {
		if c := h.Certificate; c != nil && !f.now.Before(c.NotBefore) && !f.now.After(c.NotAfter) {
			v.Text = "within the validity of the gateway's certificate"
			return v
		} else if c != nil {
			return finding{"clock", findingWrong, "it is " + day(f.now) + " here, outside the validity of the gateway's certificate", "set it, if that is wrong", ""}
		}
	}
	return finding{"clock", findingUnknown, "the gateway did not tell its time", "", ""}
}

func (f *facts) checkToken() finding {
	v := finding{Check: "token", State: findingOK, Text: "accepted"}
	if !f.token {
		v.Text = "none is needed"
	}
	for _, s := range f.sessions {
		if s.err == nil {
			return v
		}
	}
	for _, s := range f.sessions {
		e, ok := errors.AsType[*wtproto.Error](s.err)
		if !ok || !e.Remote {
			continue
		}
		v = finding{"token", findingWrong, e.Error(), "", e.Code.String()}
		switch e.Code {
		case wtproto.CodeUnauthorized:
			v.Advice = "whoever runs the gateway can say which tokens it takes (swarm token check)"
			if !f.token {
				v.Advice = "the gateway wants one: --token, --token-file or SWARMGATE_TOKEN"
			}
			return v
		case wtproto.CodeTokenExpired:
			v.Advice = "get a new one"
			return v
		case wtproto.CodeForbidden:
			v.Advice = "it is known, and may not do this: whoever runs the gateway can change its grant"
			return v
		}
	}
	return finding{"token", findingUnknown, "nobody has looked at it", "", ""}
}

func (f *facts) checkTopic() finding {
	v := finding{Check: "topic", State: findingOK}
	if f.topic == nil {
		v.State, v.Text = findingUnknown, "not joined: there is no session"
		return v
	}
	if f.topic.err != nil {
		v.State, v.Text, v.Advice = findingWrong, words(f.topic.err), "see the grant of the token, and the gateway's limits"
		if e, ok := errors.AsType[*wtproto.Error](f.topic.err); ok && e.Remote {
			v.Code = e.Code.String()
		}
		return v
	}
	s := f.topic.status
	v.Text = fmt.Sprintf("joined %s; after %v %v", f.asked, f.topic.after.Round(100*time.Millisecond), s)
	if s.Known == 0 {
		v.State, v.Advice = findingUnknown, "if others should be there: compare what swarm topic NAME prints on both sides, and see docs/OPERATING.md, Nobody is found"
	}
	return v
}

// words returns err in one line, without the name of the package and the step.
func words(err error) string {
	if isTimeout(err) {
		return "no answer in time"
	}
	text := oneline.Text(err)
	for _, step := range []string{"client: dial: ", "client: handshake: ", "client: info: ", "client: "} {
		if rest, cut := strings.CutPrefix(text, step); cut {
			return rest
		}
	}
	return text
}

// isTimeout reports whether err says only that there was no answer.
func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && e.Timeout()
}

// day is a time as people read it.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func (f *facts) port() string {
	_, port, _ := net.SplitHostPort(f.gateway.Address()) // which always has one
	return port
}
