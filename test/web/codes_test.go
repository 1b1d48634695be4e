//go:build !race

package web

import (
	"errors"
	"io"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// circuit is the other end of a circuit with a page.
type circuit interface {
	io.ReadWriter
	Reset(wtproto.Code)
}

// others put one somebody on a topic, and return a gateway through which a page of origin meets
// it. It hands its circuits to serve.
var others = map[string]func(t *testing.T, origin string, topic wtproto.Topic, serve func(circuit)) *gateway.Gateway{
	"client": func(t *testing.T, origin string, topic wtproto.Topic, serve func(circuit)) *gateway.Gateway {
		g := gateway.Start(t, server.Config{Origins: []string{origin}})
		top := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
		go func() {
			for {
				conn, err := top.Accept(t.Context())
				if err != nil {
					return
				}
				go serve(conn)
			}
		}()
		return g
	},
	"native peer": func(t *testing.T, origin string, topic wtproto.Topic, serve func(circuit)) *gateway.Gateway {
		seed := gateway.Seed(t)
		gateway.Native(t, gateway.Host(t, false, seed), topic, discovery.Native(), func(s discovery.Stream) { serve(s) })
		return gateway.Start(t, server.Config{Origins: []string{origin}, Networks: []discovery.Network{gateway.Host(t, true, seed)}})
	},
}

// Resets pass with their codes between a page and another client, and between a page and a native
// peer, whatever the page ends its circuit with.
func TestCodesInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		for _, transport := range []string{webTransport, webSocket} {
			t.Run(transport, func(t *testing.T) { testCodes(t, page, transport) })
		}
	})
}

func testCodes(t *testing.T, page *browser.Page, transport string) {
	const mine, most = wtproto.CodeApplication + 777, wtproto.Code(1<<32 - 1)
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			next := make(chan func(circuit)) // what is done with the next circuit
			g := other(t, page.Origin, wtproto.TopicFromName(name), func(c circuit) {
				select {
				case f := <-next:
					f(c)
				case <-t.Context().Done():
				}
			})
			page.Open(t, webSite(t, g, transport))
			// meet exchanges bytes until both ends know that the circuit works, and has the
			// other end do f.
			meet := func(args map[string]any, f func(circuit)) (told struct{ Closed, Read, Write browser.Outcome }) {
				args["topic"] = name
				wait := page.Begin(t, "meet", args)
				select {
				case next <- func(c circuit) {
					b := make([]byte, 1)
					io.ReadFull(c, b)
					c.Write(b)
					io.ReadFull(c, b) // fails where a reset has overtaken it
					f(c)
				}:
				case <-gateway.Context(t).Done():
					t.Fatal("the other end has no circuit")
				}
				wait(&told)
				return told
			}
			for _, tt := range []struct {
				end        string // as in client.html
				code, want wtproto.Code
			}{
				{"peer.abort(code)", mine, mine},
				{"peer.abort(code)", most, most},
				{"peer.abort(code)", wtproto.CodeDeclined, wtproto.CodeDeclined},
				{"peer.abort(code)", wtproto.CodeNone, wtproto.CodePeerReset},
				{"writer.abort(code)", mine, mine},
				{"writer.abort(error)", mine, mine},
				{"reader.cancel(code)", mine, mine},
				{"reader.cancel(error)", mine, mine},
			} {
				seen := make(chan error, 1)
				told := meet(map[string]any{"end": tt.end, "code": uint32(tt.code)}, func(c circuit) {
					_, err := io.ReadAll(c)
					seen <- err
				})
				if told.Closed.Code != tt.code || told.Closed.Error != "" {
					t.Errorf("%s with %v: peer.closed says %+v", tt.end, tt.code, told.Closed)
				}
				if err := <-seen; !isRemote(err, tt.want) {
					t.Errorf("%s with %v: the other end saw %v, want %v", tt.end, tt.code, err, tt.want)
				}
			}
			for code, want := range map[wtproto.Code]wtproto.Code{
				mine: mine, most: most, wtproto.CodeDeclined: wtproto.CodeDeclined, wtproto.CodeNone: wtproto.CodePeerReset,
			} {
				told := meet(map[string]any{}, func(c circuit) { c.Reset(code) })
				for where, got := range map[string]browser.Outcome{"closed": told.Closed, "read": told.Read, "write": told.Write} {
					if got.Code != want || got.Error != "" {
						t.Errorf("the other end reset with %v: the page's %s says %+v, want %v", code, where, got, want)
					}
				}
			}
		})
	}
}

// isRemote reports whether err says that the other side decided, with that code.
func isRemote(err error, code wtproto.Code) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Code == code && e.Remote
}
