package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// What was seen means this, whatever else was seen.
func TestDiagnose(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	cert := &x509.Certificate{Raw: []byte("der"), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(5 * 24 * time.Hour)}
	hash := sha256.Sum256(cert.Raw)
	lost := context.DeadlineExceeded
	refusal := func(code wtproto.Code) error { return &wtproto.Error{Code: code, Remote: true, Reason: "no"} }
	over := func(quic, websocket error) []tried {
		return []tried{{client.TransportQUIC, 20 * time.Millisecond, quic}, {client.TransportWebSocket, 30 * time.Millisecond, websocket}}
	}
	shown := handshake{Handshake: client.Handshake{Certificate: cert}}
	for _, c := range []struct {
		name   string
		change func(f *facts)
		want   map[string]string
		by     string // the transport that is used
	}{
		{"all is well", func(*facts) {}, map[string]string{
			"tls ok": "pinned", "quic ok": "until 2026-05-09 12:00 UTC", "session-quic ok": "connected in 20 ms", "token ok": "none is needed", "document ok": "",
		}, "quic"},
		{"a token", func(f *facts) { f.token = true }, map[string]string{"token ok": "accepted"}, "quic"},
		{"UDP is lost", func(f *facts) { f.quic, f.sessions = handshake{err: lost}, over(lost, nil) }, map[string]string{
			"quic wrong": "let UDP port 4433", "session-quic wrong": "no answer in time", "session-websocket ok": "", "tls ok": "",
		}, "websocket"},
		{"all is lost", func(f *facts) {
			f.tcpErr, f.infoErr, f.tls, f.quic, f.sessions = lost, lost, handshake{err: lost}, handshake{err: lost}, over(lost, lost)
			f.timed = false
		}, map[string]string{
			"tcp wrong": "let TCP port 4433", "tls unknown": "", "document unknown": "", "quic wrong": "over TCP neither", "clock unknown": "", "token unknown": "",
		}, ""},
		{"QUIC is slow", func(f *facts) { f.sessions[0].took = 600 * time.Millisecond }, nil, "websocket"},
		{"QUIC is not so slow", func(f *facts) { f.sessions[0].took = 400 * time.Millisecond }, nil, "quic"},
		{"the name", func(f *facts) { f.nameErr, f.tcpErr = &net.DNSError{Err: "no such host"}, &net.DNSError{} }, map[string]string{
			"name wrong": "no such host", "tcp unknown": "does not resolve", "tls unknown": "",
		}, "quic"},
		{"a proxy", func(f *facts) { f.tcpErr, f.proxy, f.sessions = lost, "proxy:3128", over(lost, lost) }, map[string]string{
			"tcp wrong": "go through the proxy proxy:3128",
		}, ""},
		{"only a proxy", func(f *facts) {
			f.tcpErr, f.proxy, f.quic, f.sessions = lost, "proxy:3128", handshake{err: lost}, over(lost, nil)
		}, map[string]string{
			"tcp unknown": "go through the proxy proxy:3128", "quic wrong": "clients use WebSocket then", "session-websocket ok": "",
		}, "websocket"},
		{"an authority, soon over", func(f *facts) { f.gateway.Hashes = nil }, map[string]string{"tls ok": "renewed", "quic ok": "of an authority"}, "quic"},
		{"another hash", func(f *facts) { f.gateway.Hashes, f.tls.err = [][32]byte{{}}, errors.New("x") }, map[string]string{"tls wrong": "address anew"}, "quic"},
		{"too early", func(f *facts) { f.now, f.tls.err = now.Add(-2*time.Hour), errors.New("x") }, map[string]string{"tls wrong": "begins later"}, "quic"},
		{"too late", func(f *facts) { f.now, f.tls.err, f.timed = now.Add(200*time.Hour), errors.New("x"), false }, map[string]string{
			"tls wrong": "has ended", "clock wrong": "2026-05-12 20:00 UTC",
		}, "quic"},
		{"ahead", func(f *facts) { f.ahead = 3 * time.Hour }, map[string]string{"clock wrong": "3h0m0s ahead"}, "quic"},
		{"behind", func(f *facts) { f.ahead = -61 * time.Second }, map[string]string{"clock wrong": "1m1s behind"}, "quic"},
		{"nearly right", func(f *facts) { f.ahead = time.Minute }, map[string]string{"clock ok": "within a minute"}, "quic"},
		{"no time is told", func(f *facts) { f.timed = false }, map[string]string{"clock ok": "validity"}, "quic"},
		{"one session at a time", func(f *facts) { f.sessions = over(nil, refusal(wtproto.CodeRateLimited)) }, map[string]string{
			"session-websocket wrong": "ask with --transport websocket alone", "token ok": "",
		}, "quic"},
		{"a token that was valid", func(f *facts) {
			f.sessions = over(refusal(wtproto.CodeTokenExpired), refusal(wtproto.CodeTokenExpired))
		}, map[string]string{
			"token wrong": "TOKEN_EXPIRED", "session-quic wrong": "TOKEN_EXPIRED",
		}, ""},
		{"it may not", func(f *facts) { f.sessions = over(lost, refusal(wtproto.CodeForbidden)) }, map[string]string{"token wrong": "change its grant"}, ""},
		{"no page may", func(f *facts) { f.page.err = refusal(wtproto.CodeForbidden) }, map[string]string{"webtransport wrong": "--name a"}, "quic"},
		{"nobody may", func(f *facts) {
			f.page.err, f.sessions = refusal(wtproto.CodeForbidden), over(refusal(wtproto.CodeForbidden), lost)
		}, map[string]string{"webtransport wrong": "see the token below"}, ""},
		{"a page too many", func(f *facts) { f.page.err = refusal(wtproto.CodeRateLimited) }, map[string]string{"webtransport ok": "RATE_LIMITED"}, "quic"},
		{"no endpoint", func(f *facts) { f.page = pageFact{status: 404, err: errors.New("x")} }, map[string]string{
			"webtransport wrong": "status 404 for CONNECT /swarm",
		}, "quic"},
		{"HTTP/3 is silent", func(f *facts) { f.page.err = lost }, map[string]string{"webtransport wrong": "no answer in time"}, "quic"},
		{"an old gateway", func(f *facts) { f.info.Version = 0 }, map[string]string{"document wrong": "update the gateway"}, "quic"},
		{"it is elsewhere", func(f *facts) { f.info.QUIC, f.sessions = "b:1", over(lost, lost) }, map[string]string{"document ok": "the gateway is at b:1"}, ""},
		{"no document", func(f *facts) { f.infoErr = errors.New("404") }, map[string]string{"document unknown": "do without: 404"}, "quic"},
		{"a topic with nobody", func(f *facts) {
			f.asked, f.topic = "a", &topicFact{status: client.Status{Networks: []client.NetworkStatus{{Name: "lan", State: wtproto.NetworkFailing, Reason: "no interface"}}}}
		}, map[string]string{"topic unknown": "lan failing: no interface"}, "quic"},
		{"a topic that may not be joined", func(f *facts) { f.asked, f.topic = "a", &topicFact{err: refusal(wtproto.CodeForbidden)} }, map[string]string{
			"topic wrong": "FORBIDDEN",
		}, "quic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts{
				gateway: wtproto.GatewayURL{Host: "a", Port: 4433, Hashes: [][32]byte{hash}}, now: now, addresses: []string{"192.0.2.1"},
				info: wtproto.Info{Agent: "x", Version: wtproto.Version, QUIC: "a:4433"}, tls: shown, quic: shown, sessions: over(nil, nil), timed: true,
			}
			c.change(&f)
			d := diagnose(f)
			if d.Transport != c.by {
				t.Errorf("it says that %q is used, want %q", d.Transport, c.by)
			}
			wantFindings(t, d, c.want)
		})
	}
}
