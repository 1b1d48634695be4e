//go:build !race

package test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	streamsAtOnce = 100
	streamBytes   = 48 << 10 // more than the credit that a circuit of a page starts with
	streamCode    = wtproto.CodeApplication + 777
)

// serveStream answers a stream by its first byte: '!' gets more than anybody has credit for, 'x' a reset, and all else comes back.
func serveStream(c interface {
	io.ReadWriter
	CloseWrite() error
}, reset func(),
) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return
	}
	switch first[0] {
	case '!':
		c.Write(make([]byte, 4<<20))
	case 'x':
		reset()
	default:
		c.Write(first)
		io.Copy(c, c)
		c.CloseWrite()
	}
}

// A page opens a hundred streams at once with one peer, beside one that it does not read. Bytes, ends and codes are right.
func TestPageOpensStreamsInBrowsers(t *testing.T) {
	for peer, start := range map[string]func(t *testing.T, origin string, topic wtproto.Topic) (*gateway.Gateway, wtproto.Code){
		"client": func(t *testing.T, origin string, topic wtproto.Topic) (*gateway.Gateway, wtproto.Code) {
			g := gateway.Start(t, server.Config{Origins: []string{origin}})
			joined := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true})
			go func() {
				for c, err := range joined.Conns(t.Context()) {
					if err != nil {
						return
					}
					go serveStream(c, func() { c.Reset(streamCode) })
				}
			}()
			return g, streamCode
		},
		"TCP service": func(t *testing.T, origin string, topic wtproto.Topic) (*gateway.Gateway, wtproto.Code) {
			service := gateway.Listen(t, func(c *net.TCPConn) {
				serveStream(c, func() {
					c.SetLinger(0)
					c.Close()
				})
			})
			networks := []discovery.Network{gateway.Static(t, topic, service.Addr().String())}
			return gateway.Start(t, server.Config{Origins: []string{origin}, Networks: networks}), wtproto.CodePeerReset
		},
	} {
		t.Run(peer, func(t *testing.T) {
			inBrowsers(t, func(t *testing.T, page *browser) {
				g, code := start(t, page.origin, wtproto.TopicFromName("streams"))
				page.open(t, target(g))
				var got struct {
					Right   int
					Failed  []string
					End     outcome
					Stalled bool
					Here    int
				}
				page.call(t, "openStreams", map[string]any{"topic": "streams", "n": streamsAtOnce, "size": streamBytes}, &got)
				if got.Right != streamsAtOnce || !got.Stalled || got.Here != 1 {
					t.Errorf("of %d streams the page says %+v", streamsAtOnce, got)
				}
				if got.End.Code != code {
					t.Errorf("a stream that the peer has reset ended with %+v, want %v", got.End, code)
				}
			})
		})
	}
}

// A client opens a hundred streams at once with a page, beside one that it does not read. Bytes, ends and codes are right.
func TestPageServesStreamsInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}})
		page.open(t, target(g))
		page.call(t, "serveStreams", map[string]any{"topic": "streams", "code": uint32(streamCode)}, nil)
		joined := gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("streams"), client.JoinOptions{})
		first, err := joined.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open := func() *client.Conn {
			c, err := joined.Open(t.Context(), first.Peer())
			if err != nil {
				t.Error(err)
			}
			return c
		}
		stalled := open()
		if stalled == nil {
			return
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stalled.Reset(wtproto.CodeNone)
		wg.Go(func() { stalled.Write(make([]byte, 16<<20)) }) // the page cannot send it back
		var all sync.WaitGroup
		for i := range streamsAtOnce {
			all.Go(func() {
				c := open()
				if c == nil {
					return
				}
				data := random(streamBytes-i, byte(i))
				for j := range data {
					data[j] &= 31 // none is an 'x'
				}
				all.Go(func() {
					c.Write(data)
					c.CloseWrite()
				})
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes came back of %d, %v", len(got), len(data), err)
				}
			})
		}
		all.Wait()
		if c := open(); c != nil {
			c.Write([]byte("x"))
			_, err := io.ReadAll(c)
			if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != streamCode {
				t.Errorf("a stream that the page has aborted ended with %v, want %v", err, streamCode)
			}
		}
	})
}
