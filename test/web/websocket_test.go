//go:build !race

package web

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	webTransport = "webtransport"
	webSocket    = "websocket"
)

// webSite gives the pages of g its info document, which names WebSocket beside WebTransport, and
// returns what a page's connect takes.
func webSite(t *testing.T, g *gateway.Gateway, transports ...string) map[string]any {
	t.Helper()
	site := g.InfoServer()
	t.Cleanup(site.Close)
	return siteTarget(site, transports...)
}

func siteTarget(site *httptest.Server, transports ...string) map[string]any {
	target := map[string]any{"url": site.URL}
	if len(transports) > 0 {
		target["transports"] = transports
	}
	return target
}

// transport returns how the page is connected.
func transport(t *testing.T, page *browser.Page) (name string) {
	t.Helper()
	page.Call(t, "transport", nil, &name)
	return name
}

// echoed is a peer that sends data and the end, and reports the hash of what comes back before the
// end.
func echoed(data []byte, sums chan<- [32]byte) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		go func() {
			c.Write(data)
			c.CloseWrite()
		}()
		var got bytes.Buffer
		io.Copy(&got, c)
		sums <- sha256.Sum256(got.Bytes())
	}
}

// A page whose browser has no WebTransport, or is told not to use it, uses WebSocket: 8 MiB of a
// peer are echoed, and a half-close passes both ways.
func TestWebSocketInBrowsers(t *testing.T) {
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		data := random(8<<20, 4)
		sums := make(chan [32]byte, 2)
		topic := wtproto.TopicFromName("websocket")
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{
			gateway.Static(t, topic, gateway.Listen(t, echoed(data, sums)).Addr().String()),
		}})
		target := webSite(t, g, webTransport, webSocket)
		page.Open(t, target)
		if got := transport(t, page); got != webTransport {
			t.Errorf("the transport is %q, want %s while it works", got, webTransport)
		}
		page.Call(t, "forget", nil, nil)
		page.Open(t, webSite(t, g, webSocket))
		if got := transport(t, page); got != webSocket {
			t.Errorf("the transport is %q, want %s, which alone was allowed", got, webSocket)
		}
		page.Call(t, "forget", nil, nil)

		page.Call(t, "removeWebTransport", nil, nil)
		page.Open(t, target)
		if got := transport(t, page); got != webSocket {
			t.Fatalf("the transport is %q, want %s, since there is no WebTransport", got, webSocket)
		}
		page.Call(t, "echoAll", map[string]any{"topic": "websocket"}, nil)
		select {
		case sum := <-sums:
			if sum != sha256.Sum256(data) {
				t.Error("the echo has another checksum")
			}
		case <-gateway.Context(t).Done():
			t.Fatalf("no echo: %+v", page.Report(t))
		}
		if r := page.Report(t); r.State != "connected" || !slices.Equal(r.Events, nil) {
			t.Errorf("the page went through %+v", r)
		}
	})
}
