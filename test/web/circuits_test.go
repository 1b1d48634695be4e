//go:build !race

package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// flood is a peer that sends for as long as somebody takes it.
func flood(c *net.TCPConn) {
	for b := make([]byte, 64<<10); ; {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// named gives a network another name, so that a gateway may have two of a kind.
type named struct {
	discovery.Network
	name string
}

func (n named) Name() string { return n.name }

// send returns a peer that sends data and the end.
func send(data []byte) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		c.Write(data)
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
}

// sumOfSums is the SHA-256 of the SHA-256s of the MiBs of data.
func sumOfSums(data []byte) string {
	all := sha256.New()
	for len(data) > 0 {
		n := min(len(data), 1<<20)
		s := sha256.Sum256(data[:n])
		all.Write(s[:])
		data = data[n:]
	}
	return hex.EncodeToString(all.Sum(nil))
}

// received is what the page's read returns.
type received struct {
	Total int
	Sum   string
	Gap   int // ticks of 50 ms
	Ms    int
}

// What web/src/credit.ts promises: circuits start with a reserve, and what is granted and unread
// never exceeds the budget.
const (
	reserve = 32 << 10
	budget  = 12 << 20
)

// 99 circuits that the page does not read, with data waiting on each, and the 100th moves on.
func TestStalledCircuitsInBrowsers(t *testing.T) {
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		for _, transport := range []string{webTransport, webSocket} {
			t.Run(transport, func(t *testing.T) { testStalled(t, page, transport, 99, 0) })
		}
	})
}

// All places of a session are taken by circuits that have grown before the page stops to read
// them, and the last one moves on.
func TestFullBudgetInBrowsers(t *testing.T) {
	browser.Each(t, func(t *testing.T, page *browser.Page) { testStalled(t, page, webTransport, 255, 256<<10) })
}

// testStalled has the page read the first bytes of so many circuits and then no more, though data
// waits on each. One more circuit has to bring all of its bytes, without a gap of a second, and
// within the budget.
func testStalled(t *testing.T, page *browser.Page, transport string, stalled, first int) {
	var addrs []string
	for range stalled {
		addrs = append(addrs, gateway.Listen(t, flood).Addr().String())
	}
	data := random(32<<20, 1)
	quiet, live := wtproto.TopicFromName("stalled"), wtproto.TopicFromName("live")
	g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{
		named{gateway.Static(t, quiet, addrs...), "stalled"},
		named{gateway.Static(t, live, gateway.Listen(t, send(data)).Addr().String()), "live"},
	}})
	page.Call(t, "watch", nil, nil)
	page.Open(t, webSite(t, g, transport))
	before := pss(t, page.PID)
	var n int
	if page.Call(t, "stall", map[string]any{"topic": "stalled", "n": stalled, "bytes": first}, &n); n != stalled {
		t.Fatalf("the page has %d circuits, want %d", n, stalled)
	}
	var got received
	page.Call(t, "read", map[string]any{"topic": "live"}, &got)
	if got.Total != len(data) || got.Sum != sumOfSums(data) {
		t.Errorf("the last circuit brought %d bytes with sum %s, want %d with %s", got.Total, got.Sum, len(data), sumOfSums(data))
	}
	if got.Gap > 20 {
		t.Errorf("the last circuit stood still for %d ticks of 50 ms, want at most 20", got.Gap)
	}
	if grew := pss(t, page.PID) - before; grew > 150_000 {
		t.Errorf("the browser grew by %d kB, want at most 150 MB", grew)
	}
	seen := page.Watched(t)
	if transport == webSocket {
		unread := seen.Received - len(data)
		if unread > budget || unread < stalled*reserve {
			t.Errorf("%d bytes came and were not read, want at least %d reserves and at most %d", unread, stalled, budget)
		}
		t.Logf("32 MiB over WebSocket beside %d stalled circuits in %d ms, longest gap %d ticks of 50 ms; %d bytes unread", stalled, got.Ms, got.Gap, unread)
		return
	}
	if seen.Most > budget || seen.Most <= (stalled+1)*reserve {
		t.Errorf("%d bytes were granted and unread at once, want more than %d reserves and at most %d", seen.Most, stalled+1, budget)
	}
	if seen.Opened+seen.Accepted != stalled+1 || seen.Read < len(data)+stalled*first || seen.Credits == 0 {
		t.Errorf("%+v was seen, want %d circuits and all that was read and granted", seen, stalled+1)
	}
	t.Logf("32 MiB beside %d stalled circuits in %d ms, longest gap %d ticks of 50 ms; %+v", stalled, got.Ms, got.Gap, seen)
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// 200 peers reach one page, some through streams that the gateway opened and some through offers;
// each is echoed; when the page is closed the gateway frees all of them.
func TestManyPeersInBrowsers(t *testing.T) {
	const peers = 200
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		var echoed, ended atomic.Int64
		var addrs []string
		for i := range peers {
			addrs = append(addrs, gateway.Listen(t, func(c *net.TCPConn) {
				out, in := []byte(fmt.Sprintf("peer %03d", i)), make([]byte, 8)
				c.Write(out)
				if _, err := io.ReadFull(c, in); err == nil && bytes.Equal(in, out) {
					echoed.Add(1)
				}
				io.Copy(io.Discard, c)
				ended.Add(1)
			}).Addr().String())
		}
		topic := wtproto.TopicFromName("many")
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{gateway.Static(t, topic, addrs...)}})
		page.Call(t, "watch", nil, nil)
		page.Open(t, browser.Target(g))
		page.Call(t, "echoAll", map[string]any{"topic": "many", "maxPeers": peers}, nil)
		gateway.Eventually(t, "every peer is echoed", func() bool { return echoed.Load() == peers })
		if all := g.Topics(); len(all) != 1 || all[0].Circuits != peers {
			t.Errorf("Topics = %+v, want %d circuits", all, peers)
		}
		if met := page.Report(t).Met; met != peers {
			t.Errorf("the page met %d different peers, want %d", met, peers)
		}
		seen := page.Watched(t)
		if seen.Opened == 0 || seen.Accepted == 0 || seen.Opened+seen.Accepted != peers || seen.Accepted != seen.Offered {
			t.Errorf("%+v was seen, want %d circuits of both kinds and each offer accepted", seen, peers)
		}
		wait := page.Begin(t, "close", nil)
		gateway.Eventually(t, "the gateway frees all circuits", func() bool {
			all := g.Topics()
			return g.Sessions() == 0 && (len(all) == 0 || all[0].Circuits == 0) && ended.Load() == peers
		})
		freed := time.Now()
		var closed int64
		wait(&closed)
		took := freed.Sub(time.UnixMilli(closed))
		if took > 2*time.Second {
			t.Errorf("the circuits were free %v after the page was closed, want 2s at most", took)
		}
		t.Logf("%d circuits, %d of them offered, were free %v after the page was closed", peers, seen.Accepted, took)
	})
}
