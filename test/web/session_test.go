//go:build !race

package web

import (
	"io"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The end of a session by the gateway reaches the page with its code and its reason.
func TestCloseInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}})
		page.Open(t, browser.Target(g))
		g.Close()
		gateway.Eventually(t, "the page is told", func() bool { return len(page.Report(t).Losses) > 0 })
		if got := page.Report(t).Losses[0]; got.Code != wtproto.CodeShutdown || got.Reason != "the gateway is closed" {
			t.Errorf("the page was told %+v, want SHUTDOWN and the gateway's reason", got)
		}
	})
}

// A page lives on after the end of its session, also where the circuits that it has with other
// clients end at the same time. Chromium's pages crashed there, most of them in the first rounds:
// a stream was reset while the session was being closed.
func TestCloseWithCircuitsInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		for range 5 {
			tab, met := page.Another(t), make(chan error, 1)
			g := others["client"](t, page.Origin, wtproto.TopicFromName("closing"), func(c circuit) {
				c.Write([]byte("x"))
				_, err := io.ReadFull(c, make([]byte, 1))
				met <- err
			})
			tab.Open(t, browser.Target(g))
			tab.Call(t, "echoAll", map[string]any{"topic": "closing"}, nil)
			if err := <-met; err != nil {
				t.Fatalf("the circuit: %v", err)
			}
			g.Close()
			gateway.Eventually(t, "the page is told", func() bool { return len(tab.Report(t).Losses) > 0 })
			if got := tab.Report(t).Losses[0]; got.Code != wtproto.CodeShutdown {
				t.Errorf("the page was told %+v, want SHUTDOWN", got)
			}
			tab.Call(t, "close", nil, nil)
		}
	})
}

// A page of another origin is refused with FORBIDDEN, which it can tell from a gateway that is not
// there.
func TestOriginInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		g := gateway.Start(t, server.Config{Origins: []string{"https://other.example"}})
		if got := page.TryOpen(t, browser.Target(g)); got.Code != wtproto.CodeForbidden {
			t.Errorf("another origin was told %+v, want FORBIDDEN", got)
		}
		dead := browser.Target(g)
		dead["url"] = "https://127.0.0.1:1"
		if got := page.TryOpen(t, dead); got.Code != wtproto.CodePeerUnreachable {
			t.Errorf("a dead gateway is %+v, want PEER_UNREACHABLE", got)
		}
	})
}

// The same where the page asks the info document for the way: who must not read it is FORBIDDEN,
// who may is connected.
func TestOriginByInfoInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		for origin, want := range map[string]browser.Opened{
			"https://other.example": {Outcome: browser.Outcome{Code: wtproto.CodeForbidden}},
			page.Origin:             {},
		} {
			p := program.Start(t, "--dht", "off", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--allow-origin", origin)
			url := strings.TrimSuffix(p.Info, wtproto.InfoPath)
			if want.Code == wtproto.CodeNone {
				want.Gateway = url
			}
			if got := page.TryOpen(t, url); got.Code != want.Code || got.Gateway != want.Gateway || got.Error != "" {
				t.Errorf("a gateway for %s told %s %+v, want %+v", origin, page.Origin, got, want)
			}
		}
		if got := page.TryOpen(t, "http://"+freeport.Address(t)); got.Code != wtproto.CodePeerUnreachable {
			t.Errorf("where nobody listens the page was told %+v, want PEER_UNREACHABLE", got)
		}
	})
}
