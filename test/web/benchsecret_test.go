//go:build benchweb && !race

package web

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// halfCloser is a circuit, sealed or not.
type halfCloser interface {
	io.ReadWriter
	CloseWrite() error
}

// serveBulk gives each circuit of a topic what its first byte asks for: bytes for as long as
// somebody takes them (d), or an end once it has read all (u).
func serveBulk(ctx context.Context, topic *client.Topic, seal func(*client.Conn) (halfCloser, error)) {
	for conn, err := range topic.Conns(ctx) {
		if err != nil {
			return // the test has ended
		}
		go func() {
			c, err := seal(conn)
			if err != nil {
				return // the page has gone
			}
			way, b := make([]byte, 1), make([]byte, 64<<10)
			c.Read(way)
			for way[0] == 'd' && err == nil {
				_, err = c.Write(b)
			}
			io.Copy(io.Discard, c)
			c.CloseWrite()
		}()
	}
}

// TestBenchWebSealed measures what a secret room costs in each browser: 64 MiB to and from a
// program, sealed and plain in turn. It prints medians of 7 pairs.
func TestBenchWebSealed(t *testing.T) {
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			page := browser.Start(t, name, "bench.html")
			g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Logger: slog.New(slog.DiscardHandler)})
			s := secret.New()
			room, program := secret.NewRoom(s, nil), g.Dial(t, client.Config{})
			go serveBulk(t.Context(), gateway.Join(t, program, wtproto.TopicFromName("plain"), client.JoinOptions{}), func(c *client.Conn) (halfCloser, error) { return c, nil })
			go serveBulk(t.Context(), gateway.Join(t, program, room.Topic(), client.JoinOptions{}), func(c *client.Conn) (halfCloser, error) { return room.Seal(t.Context(), c) })
			rate := func(way, text string) func() float64 {
				return func() (v float64) {
					page.Call(t, "bulk", map[string]any{
						"url": g.URL, "hash": hex.EncodeToString(g.Hash[:]), "topic": "plain", "secret": text, "way": way, "total": 64 << 20,
					}, &v)
					return v
				}
			}
			compare(t, "from a program, sealed and plain", "MB/s", rate("d", s.Hex()), rate("d", ""))
			compare(t, "to a program, sealed and plain", "MB/s", rate("u", s.Hex()), rate("u", ""))
		})
	}
}
