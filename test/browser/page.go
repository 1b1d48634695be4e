package browser

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Each runs a test with a page that has the module of web/, in each browser.
func Each(t *testing.T, test func(*testing.T, *Page)) {
	EachPage(t, "client.html", test)
}

// EachPage runs a test with a page of this folder, in each browser.
func EachPage(t *testing.T, page string, test func(*testing.T, *Page)) {
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) { test(t, Start(t, name, page)) })
	}
}

// Target returns g as the page's connect takes it.
func Target(g *gateway.Gateway) map[string]any {
	return map[string]any{"url": g.URL, "hashes": []string{hex.EncodeToString(g.Hash[:])}}
}

// Opened is what the page's open returns: where it is connected to, or why not.
type Opened struct {
	Gateway string
	Outcome
	Cause string // of what failed, as the browser says it
}

// Open connects the page to target, for example [Target] of a gateway or a URL.
func (b *Page) Open(t *testing.T, target any) {
	t.Helper()
	if got := b.OpenAtLast(t, target); got.Gateway == "" {
		t.Fatalf("connect: %+v", got)
	}
}

// OpenAtLast is [Page.TryOpen], again and again for as long as nobody answers. The module gives a
// gateway 10 s, and a busy machine may need more.
func (b *Page) OpenAtLast(t *testing.T, target any) (got Opened) {
	t.Helper()
	for began := time.Now(); ; {
		got = b.TryOpen(t, target)
		late := got.Code == wtproto.CodePeerUnreachable && strings.HasPrefix(got.Reason, "no answer")
		if !late || time.Since(began) > gateway.Patience {
			return got
		}
		t.Logf("nobody has answered in time: %+v", got)
	}
}

// TryOpen is [Page.Open] for a connection that may fail.
func (b *Page) TryOpen(t *testing.T, target any) (got Opened) {
	t.Helper()
	b.Call(t, "open", map[string]any{"target": target}, &got)
	return got
}

// Outcome is what the page learned of the end of a session or a circuit.
type Outcome struct {
	Code   wtproto.Code
	Reason string
	Error  string
}

// Report is what the page says of its swarm.
type Report struct {
	Met     int // different peers, by echoAll
	Events  []string
	Losses  []Outcome
	State   string
	Gateway string
}

// Report returns what the page says of its swarm.
func (b *Page) Report(t *testing.T) (r Report) {
	t.Helper()
	b.Call(t, "report", nil, &r)
	return r
}

// Traffic is what spy.js saw a page do on the wire.
type Traffic struct {
	Opened, Offered, Accepted int // circuits whose stream the gateway opened; offers; offers that were accepted
	Credits                   int // CREDIT frames
	Read                      int // bytes of circuits
	Most                      int // bytes that were granted and not read at once, over all circuits
	Received                  int // bytes over WebSocket, of which nothing else is seen
}

// Watched returns the traffic since the page's watch was called.
func (b *Page) Watched(t *testing.T) (got Traffic) {
	t.Helper()
	b.Call(t, "watched", nil, &got)
	return got
}
