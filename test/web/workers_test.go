//go:build !race

package web

import (
	"io"
	"net"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The module in a Worker joins a topic and echoes a peer. In a SharedWorker it does so for two
// pages with one session, and goes on for one of them when the other is closed.
func TestWorkersInBrowsers(t *testing.T) {
	t.Parallel()
	browser.EachPage(t, "workers.html", func(t *testing.T, page *browser.Page) {
		topics := []string{"alone", "first page", "second page"}
		ask := make(map[string]chan struct{}) // has the peer on a topic send a byte
		echoed := make(chan string)           // topic of a peer whose byte came back
		var networks []discovery.Network
		for _, topic := range topics {
			more := make(chan struct{}, 1)
			ask[topic] = more
			peer := gateway.Listen(t, func(c *net.TCPConn) {
				for b := []byte{0}; ; b[0]++ {
					select {
					case <-more:
					case <-t.Context().Done():
						return
					}
					c.Write(b)
					got := make([]byte, 1)
					if _, err := io.ReadFull(c, got); err != nil || got[0] != b[0] {
						return
					}
					select {
					case echoed <- topic:
					case <-t.Context().Done():
						return
					}
				}
			})
			networks = append(networks, named{gateway.Static(t, wtproto.TopicFromName(topic), peer.Addr().String()), topic})
		}
		echoes := func(topic string) {
			t.Helper()
			ask[topic] <- struct{}{}
			select {
			case got := <-echoed:
				if got != topic {
					t.Errorf("the peer of %q was echoed, want that of %q", got, topic)
				}
			case <-gateway.Context(t).Done():
				t.Fatalf("the peer of %q was not echoed", topic)
			}
		}
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: networks})
		joins := func(page *browser.Page, shared bool, topic string) {
			t.Helper()
			var hex string
			message := map[string]any{"target": browser.Target(g), "topic": topic}
			page.Call(t, "ask", map[string]any{"shared": shared, "message": message}, &hex)
			if want := wtproto.TopicFromName(topic).String(); hex != want {
				t.Errorf("%q is %s, want %s", topic, hex, want)
			}
			echoes(topic)
		}
		joins(page, false, "alone")
		page.Call(t, "goto", map[string]any{"url": page.URL}, nil)
		gateway.Eventually(t, "the Worker ends with its page", func() bool { return g.Sessions() == 0 })

		second := page.Another(t)
		joins(page, true, "first page")
		joins(second, true, "second page")
		if n := g.Sessions(); n != 1 {
			t.Errorf("two pages have %d sessions, want one", n)
		}
		page.Call(t, "close", nil, nil)
		echoes("second page")
		if n := g.Sessions(); n != 1 {
			t.Errorf("%d sessions after one page was closed, want one", n)
		}
		second.Call(t, "close", nil, nil)
		gateway.Eventually(t, "the SharedWorker ends with its last page", func() bool { return g.Sessions() == 0 })
	})
}
