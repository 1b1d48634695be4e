//go:build !race

package web

import (
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// counting is a peer that says something and counts the echo.
func counting(echoed *atomic.Int64) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			echoed.Add(1)
		}
		io.Copy(io.Discard, c)
	}
}

// A gateway that is killed and started again with the same state has the page back, joined and
// with its circuits, without a reload.
func TestRestartInBrowsers(t *testing.T) {
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		var echoed atomic.Int64
		peer := gateway.Listen(t, counting(&echoed))
		state := t.TempDir()
		start := func(listen string) *program.Program {
			return program.Start(t, "--listen", listen, "--dht", "off", "--allow-private", "--state-dir", state,
				"--allow-origin", page.Origin, "--static", "restart=tcp://"+peer.Addr().String())
		}
		p := start(freeport.Address(t))
		page.Open(t, map[string]any{"url": "https://" + p.QUIC, "hashes": p.Certificate.Hashes})
		page.Call(t, "echoAll", map[string]any{"topic": "restart"}, nil)
		gateway.Eventually(t, "the peer is echoed", func() bool { return echoed.Load() == 1 })
		p.Kill()
		start(p.QUIC)
		began := time.Now()
		gateway.Eventually(t, "the peer is echoed again", func() bool { return echoed.Load() == 2 })
		took := time.Since(began)
		if took > 10*time.Second {
			t.Errorf("circuits were back %v after the restart, want 10s at most", took)
		}
		t.Logf("circuits were back %v after the restart", took)
		if r := page.Report(t); r.State != "connected" || len(r.Events) < 3 || r.Events[0] != "disconnected" ||
			r.Events[1] != "reconnecting" || r.Events[len(r.Events)-1] != "connected" {
			t.Errorf("the page went through %+v", r)
		}
	})
}

// A page that is left for another one holds nothing at the gateway, whether its browser keeps it
// or not; when the user comes back to one that was kept, it is connected again, joined, and has
// its circuits.
func TestLeftPageInBrowsers(t *testing.T) {
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		var echoed atomic.Int64
		peer := gateway.Listen(t, counting(&echoed))
		topic := wtproto.TopicFromName("left")
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{gateway.Static(t, topic, peer.Addr().String())}})
		page.Open(t, browser.Target(g))
		page.Call(t, "echoAll", map[string]any{"topic": "left"}, nil)
		gateway.Eventually(t, "the peer is echoed", func() bool { return echoed.Load() == 1 })

		var left int64
		page.Call(t, "goto", map[string]any{"url": page.Origin + "/blank.html"}, &left)
		gateway.Eventually(t, "the session and its circuit end", func() bool {
			all := g.Topics()
			return g.Sessions() == 0 && (len(all) == 0 || all[0].Circuits == 0)
		})
		if took := time.Since(time.UnixMilli(left)); took > 2*time.Second {
			t.Errorf("the page had a session for %v after it was left, want 2s at most", took)
		}

		var kept bool
		page.Call(t, "back", nil, nil)
		page.Call(t, "kept", nil, &kept)
		t.Logf("the browser kept the page: %v", kept)
		if !kept { // it is a new page
			return
		}
		gateway.Eventually(t, "the peer is echoed again", func() bool { return echoed.Load() == 2 })
		if r := page.Report(t); r.State != "connected" || !slices.Equal(r.Events, []string{"disconnected", "reconnecting", "connected"}) {
			t.Errorf("the page went through %+v", r)
		}
	})
}

// A gateway that is going away is left for another one: the page joins its topics there without
// having been offline, and the circuit that is open with a slow peer of the first one brings all
// of its bytes, after which that gateway has nothing left to do.
func TestGoawayInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		data := random(4<<20, 3)
		slow, both := wtproto.TopicFromName("slow"), wtproto.TopicFromName("both")
		moved := make(chan struct{})
		slowPeer := gateway.Listen(t, func(c *net.TCPConn) {
			c.Write(data[:len(data)/2])
			select {
			case <-moved:
			case <-t.Context().Done():
				return
			}
			send(data[len(data)/2:])(c)
		})
		// start runs a gateway with a peer on the topic that both have, and tells when that is
		// echoed, to the end.
		start := func(more ...discovery.Network) (*gateway.Gateway, <-chan struct{}) {
			echoed := make(chan struct{}, 1)
			peer := gateway.Listen(t, func(c *net.TCPConn) {
				c.Write([]byte("x"))
				c.CloseWrite()
				if b, err := io.ReadAll(c); err == nil && string(b) == "x" {
					echoed <- struct{}{}
				}
			})
			return gateway.Start(t, server.Config{
				Origins:  []string{page.Origin},
				Networks: append(more, named{gateway.Static(t, both, peer.Addr().String()), "both"}),
			}), echoed
		}
		old, echoedByOld := start(gateway.Static(t, slow, slowPeer.Addr().String()))
		other, echoedByOther := start()
		page.Open(t, []any{browser.Target(old), browser.Target(other)})
		await := func(what string, c <-chan struct{}) {
			t.Helper()
			select {
			case <-c:
			case <-gateway.Context(t).Done():
				t.Fatalf("not within %v: %s", gateway.Patience, what)
			}
		}
		page.Call(t, "echoAll", map[string]any{"topic": "both"}, nil)
		await("an echo through the first gateway", echoedByOld)
		page.Call(t, "take", map[string]any{"topic": "slow"}, nil)
		wait := page.Begin(t, "read", nil)

		down := make(chan error, 1)
		ctx := gateway.Context(t)
		go func() { down <- old.Shutdown(ctx) }()
		await("an echo through the other gateway", echoedByOther)
		close(moved)
		var got received
		wait(&got)
		if got.Total != len(data) || got.Sum != sumOfSums(data) {
			t.Errorf("the open circuit brought %d bytes with sum %s, want %d with %s", got.Total, got.Sum, len(data), sumOfSums(data))
		}
		if err := <-down; err != nil {
			t.Errorf("Shutdown = %v, want no circuit cut off", err)
		}
		r := page.Report(t)
		if !slices.Equal(r.Events, []string{"connected"}) {
			t.Errorf("the page was told %q, want connected alone", r.Events)
		}
		if r.State != "connected" || r.Gateway != other.URL || other.Sessions() != 1 || old.Sessions() != 0 {
			t.Errorf("the page is %s with %s, want connected with %s alone", r.State, r.Gateway, other.URL)
		}
	})
}

// A page that is closed, or left for another one, while its circuits are busy both ways leaves
// nothing at the gateway: neither the session, nor a circuit, nor its topic, whose peers are told.
// A browser resets the streams of such a page in its own way. (Chromium's page crashed in one of
// three rounds, and its neighbours with it: the module reset its streams while its session was
// being closed.)
//
// A browser tells the end of such a page in one packet, once, as it does if the page's process is
// killed. Firefox was seen to tell nothing, in one round of 300 on a busy machine: its page still
// sent a frame 4 s after the tab was to close, and then nothing came. So what holds always comes
// from the protocol: a silent client that has circuits is given up after 25 s (PROTOCOL, 9), may
// take 6 s to note that, and leaves its topics a second of grace here. [gateway.Patience] is
// longer.
func TestBusyPageClosedInBrowsers(t *testing.T) {
	t.Parallel()
	const circuits = 5
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		for _, how := range []string{"close", "goto"} {
			t.Run(how, func(t *testing.T) {
				topic := wtproto.TopicFromName("busy " + how)
				var back atomic.Int64 // bytes that the page has echoed
				ended := make(chan struct{}, 100)
				var addrs []string
				for range circuits {
					addrs = append(addrs, gateway.Listen(t, func(c *net.TCPConn) {
						go func() {
							for b := make([]byte, 32<<10); ; {
								if _, err := c.Write(b); err != nil {
									return
								}
							}
						}()
						for b := make([]byte, 32<<10); ; {
							n, err := c.Read(b)
							back.Add(int64(n))
							if err != nil {
								ended <- struct{}{}
								return
							}
						}
					}).Addr().String())
				}
				g := gateway.Start(t, server.Config{
					Origins: []string{page.Origin}, Grace: time.Second,
					Networks: []discovery.Network{gateway.Static(t, topic, addrs...)},
				})
				for range 5 {
					tab := page.Another(t)
					tab.Open(t, browser.Target(g))
					tab.Call(t, "echoAll", map[string]any{"topic": "busy " + how}, nil)
					began := back.Load()
					gateway.Eventually(t, "bytes pass", func() bool { return back.Load() > began+1<<20 })
					var at int64
					tab.Call(t, how, map[string]any{"url": page.Origin + "/blank.html"}, &at)
					gateway.Eventually(t, "the session, its circuits and its topic end", func() bool {
						return g.Sessions() == 0 && len(g.Topics()) == 0
					})
					t.Logf("all had ended after %v", time.Since(time.UnixMilli(at)))
					for range circuits {
						select {
						case <-ended:
						case <-gateway.Context(t).Done():
							t.Fatal("a peer still has its circuit")
						}
					}
					if how == "goto" {
						tab.Call(t, "close", nil, nil)
					}
				}
			})
		}
	})
}
