//go:build !race

package test

import (
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// inBrowsers runs a test with a page that has the module of web/, in each browser.
func inBrowsers(t *testing.T, test func(*testing.T, *browser)) {
	withPage(t, "client.html", test)
}

// withPage runs a test with a page of test/browser, in each browser.
func withPage(t *testing.T, page string, test func(*testing.T, *browser)) {
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) { test(t, startBrowser(t, name, page)) })
	}
}

// target is g as connect takes it.
func target(g *gateway.Gateway) map[string]any {
	return map[string]any{"url": g.URL, "hashes": []string{hex.EncodeToString(g.Hash[:])}}
}

// open connects the page to target, which is what connect takes.
func (b *browser) open(t *testing.T, target any) {
	t.Helper()
	if got := b.tryOpen(t, target); got.Gateway == "" {
		t.Fatalf("connect: %+v", got)
	}
}

// opened is what the page's open returns: where it is connected to, or why not.
type opened struct {
	Gateway string
	outcome
}

func (b *browser) tryOpen(t *testing.T, target any) (got opened) {
	t.Helper()
	b.call(t, "open", map[string]any{"target": target}, &got)
	return got
}

// outcome is what the page was told of an end.
type outcome struct {
	Code   wtproto.Code
	Reason string
	Error  string
}

// report is what the page says of its swarm.
type report struct {
	Met     int // different peers, by echoAll
	Events  []string
	Losses  []outcome
	State   string
	Gateway string
}

func (b *browser) report(t *testing.T) (r report) {
	t.Helper()
	b.call(t, "report", nil, &r)
	return r
}

// The end of a session by the gateway reaches the page with its code and its reason.
func TestCloseInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}})
		page.open(t, target(g))
		g.Close()
		gateway.Eventually(t, "the page is told", func() bool { return len(page.report(t).Losses) > 0 })
		if got := page.report(t).Losses[0]; got.Code != wtproto.CodeShutdown || got.Reason != "the gateway is closed" {
			t.Errorf("the page was told %+v, want SHUTDOWN and the gateway's reason", got)
		}
	})
}

// A page lives on after the end of its session, also where the circuits that it has with other clients end at the same time. Chromium's
// pages crashed there, most of them in the first rounds: a stream was reset while the session was being closed.
func TestCloseWithCircuitsInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		for range 5 {
			tab, met := page.another(t), make(chan error, 1)
			g := others["client"](t, page.origin, wtproto.TopicFromName("closing"), func(c circuit) {
				c.Write([]byte("x"))
				_, err := io.ReadFull(c, make([]byte, 1))
				met <- err
			})
			tab.open(t, target(g))
			tab.call(t, "echoAll", map[string]any{"topic": "closing"}, nil)
			if err := <-met; err != nil {
				t.Fatalf("the circuit: %v", err)
			}
			g.Close()
			gateway.Eventually(t, "the page is told", func() bool { return len(tab.report(t).Losses) > 0 })
			if got := tab.report(t).Losses[0]; got.Code != wtproto.CodeShutdown {
				t.Errorf("the page was told %+v, want SHUTDOWN", got)
			}
			tab.call(t, "close", nil, nil)
		}
	})
}

// A page of another origin is refused with FORBIDDEN, which it can tell from a gateway that is not there.
func TestOriginInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{"https://other.example"}})
		if got := page.tryOpen(t, target(g)); got.Code != wtproto.CodeForbidden {
			t.Errorf("another origin was told %+v, want FORBIDDEN", got)
		}
		dead := target(g)
		dead["url"] = "https://127.0.0.1:1"
		if got := page.tryOpen(t, dead); got.Code != wtproto.CodePeerUnreachable {
			t.Errorf("a dead gateway is %+v, want PEER_UNREACHABLE", got)
		}
	})
}

// The same where the page asks the info document for the way: who must not read it is FORBIDDEN, who may is connected.
func TestOriginByInfoInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		for origin, want := range map[string]opened{
			"https://other.example": {outcome: outcome{Code: wtproto.CodeForbidden}},
			page.origin:             {},
		} {
			p := startServer(t, "--dht", "off", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--allow-origin", origin)
			url := strings.TrimSuffix(p.Info, wtproto.InfoPath)
			if want.Code == wtproto.CodeNone {
				want.Gateway = url
			}
			if got := page.tryOpen(t, url); got.Code != want.Code || got.Gateway != want.Gateway || got.Error != "" {
				t.Errorf("a gateway for %s told %s %+v, want %+v", origin, page.origin, got, want)
			}
		}
		if got := page.tryOpen(t, "http://"+deadAddr(t)); got.Code != wtproto.CodePeerUnreachable {
			t.Errorf("where nobody listens the page was told %+v, want PEER_UNREACHABLE", got)
		}
	})
}

// deadAddr returns an address on loopback where nobody listens.
func deadAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
