//go:build !race

package test

import (
	"io"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Resets pass between a page and another client with their codes, both ways, and the end of a session reaches the page with its
// code and reason.
func TestCodesInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}})
		page.open(t, target(g))
		other := g.Dial(t, client.Config{})
		// meets takes the circuit with the page, exchanges bytes until both know that it works, and hands it on.
		meets := func(topic string, then func(*client.Conn)) {
			top := gateway.Join(t, other, wtproto.TopicFromName(topic), client.JoinOptions{})
			go func() {
				conn, err := top.Accept(t.Context())
				if err != nil {
					return
				}
				io.ReadFull(conn, make([]byte, 1))
				conn.Write([]byte{1})
				io.ReadFull(conn, make([]byte, 1))
				then(conn)
			}()
		}
		seen := make(chan error, 1)
		meets("abort", func(c *client.Conn) {
			_, err := io.ReadAll(c)
			seen <- err
		})
		page.call(t, "meet", map[string]any{"topic": "abort", "abort": 777}, nil)
		if code, _ := gateway.Code(<-seen); code != 777 {
			t.Errorf("the page aborted with 777, the other end saw %v", code)
		}
		meets("reset", func(c *client.Conn) { c.Reset(888) })
		var got outcome
		page.call(t, "meet", map[string]any{"topic": "reset"}, &got)
		if got.Code != 888 {
			t.Errorf("the other end reset with 888, the page saw %+v", got)
		}
	})
}
