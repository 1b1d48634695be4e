//go:build !race

package web

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// inTheEnd is what the page's readInTheEnd returns.
type inTheEnd struct {
	received
	Lost int // circuits that did not bring all
}

// A WebTransport session that stops after some MiB, as Safari's does (there is no Safari here), is
// left for WebSocket: the topic is joined there, its peer comes again, and brings all of its bytes.
// Nothing was lost but the circuit, and the next session begins with WebSocket.
func TestStalledWebTransportInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		data := random(16<<20, 5)
		topic := wtproto.TopicFromName("stall")
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{
			gateway.Static(t, topic, gateway.Listen(t, send(data)).Addr().String()),
		}})
		target := webSite(t, g)
		page.Call(t, "stallWebTransport", map[string]any{"after": 4 << 20}, nil)
		page.Open(t, target)
		if got := transport(t, page); got != webTransport {
			t.Fatalf("the transport is %q, want %s before it stops", got, webTransport)
		}
		var got inTheEnd
		page.Call(t, "readInTheEnd", map[string]any{"topic": "stall", "total": len(data)}, &got)
		if got.Sum != sumOfSums(data) || got.Lost == 0 {
			t.Errorf("the page read %+v, want sum %s after a loss", got, sumOfSums(data))
		}
		if got := transport(t, page); got != webSocket {
			t.Errorf("the transport is %q, want %s after WebTransport has stopped", got, webSocket)
		}
		if r := page.Report(t); r.State != "connected" || !slices.Equal(r.Events, []string{"connected"}) {
			t.Errorf("the page went through %+v, want a move alone", r)
		}
		page.Open(t, target)
		if got := transport(t, page); got != webSocket {
			t.Errorf("the next transport is %q, want %s, which is remembered", got, webSocket)
		}
	})
}

// timedOpen is what the page's function of that name returns.
type timedOpen struct {
	Ms        float64
	Transport string
	browser.Outcome
}

// On a network that drops UDP a page is connected by WebSocket, and the next time without a wait.
// Where UDP is dropped in the middle of a session, WebSocket takes its place.
func TestDroppedUDPInBrowsers(t *testing.T) {
	t.Parallel()
	if !netns.Inside() {
		netns.New(t, "noudp").Rerun(t)
		return
	}
	nft := func(script string, args ...any) {
		t.Helper()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf(script, args...))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v\n%s", err, out)
		}
	}
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		data := random(1<<20, 6)
		topic := wtproto.TopicFromName("noudp")
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{
			gateway.Static(t, topic, gateway.Listen(t, send(data)).Addr().String(), gateway.Listen(t, flood).Addr().String()),
		}})
		target := webSite(t, g)
		drop := func() {
			nft("table inet noudp { chain input { type filter hook input priority 0; udp dport %d drop; }; }", g.Addr().(*net.UDPAddr).Port)
		}
		allow := func() { nft("delete table inet noudp") }
		timed := func(args map[string]any) (got timedOpen) {
			t.Helper()
			page.Call(t, "timedOpen", args, &got)
			return got
		}
		open := map[string]any{"target": target}

		drop()
		first := timed(open)
		var plain float64
		page.Call(t, "webSocketTime", map[string]any{"url": strings.Replace(target["url"].(string), "http", "ws", 1) + wtproto.Path}, &plain)
		again := timed(open)
		for _, got := range []timedOpen{first, again} {
			if got.Transport != webSocket || got.Ms > 20_000 {
				t.Errorf("without UDP the page got %+v, want %s in 20 s", got, webSocket)
			}
		}
		t.Logf("without UDP a page was connected after %.0f ms, and when that was remembered after %.0f ms; a plain WebSocket took %.0f ms", first.Ms, again.Ms, plain)
		allow()

		page.Call(t, "forget", nil, nil)
		if got := timed(open); got.Transport != webTransport {
			t.Fatalf("with UDP the page got %+v, want %s", got, webTransport)
		}
		page.Call(t, "echoAll", map[string]any{"topic": "noudp"}, nil)
		gateway.Eventually(t, "the page has circuits", func() bool { return page.Report(t).Met > 0 })
		drop()
		gateway.Eventually(t, "the page is connected by WebSocket", func() bool { return transport(t, page) == webSocket })
		if r := page.Report(t); r.State != "connected" || r.Events[len(r.Events)-1] != "connected" {
			t.Errorf("the page went through %+v", r)
		}
		allow()
	})
}
