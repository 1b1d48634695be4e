package server

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Somebody on the LAN who made up services of a topic, at one address or at a thousand, used up
// the room for peers and the dials of the topic: an honest service that came then, or a peer of
// another network, was found after minutes or never.
func TestMadeUpServices(t *testing.T) {
	for _, sources := range []int{1, 50} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			inBubble(t, Config{MaxPeers: 64, Idle: time.Hour}, func(t *testing.T, g *bubble) {
				a := g.connect()
				a.join(wtproto.JoinLookUp, 0)
				made := 0
				flood := func(n int) {
					for range n {
						ip := netip.AddrFrom4([4]byte{10, 2, 0, byte(made%sources + 1)})
						p := g.lan.peer(fmt.Sprint("made up ", made))
						p.waits()
						g.lan.see(p.at(discovery.SourceLAN, here, netip.AddrPortFrom(ip, 80).String()))
						made++
					}
				}
				flood(200)
				pass(3 * time.Second)
				flood(200)
				g.lan.see(g.lan.peer("honest").at(discovery.SourceLAN, here, here), g.lan.peer("native").sighting())
				for range 30 {
					flood(20)
					pass(time.Second)
				}
				if n := a.streams(); n != 2 {
					t.Fatalf("%d circuits, want that with the honest service and that with the native peer", n)
				}
				loop := g.router.all()[0]
				if n := len(loop.peers); n > 64 || len(loop.sources) > sources+1 || loop.tellers > len(loop.sources) {
					t.Errorf("%d peers of %d sources, %d of them with peers", n, len(loop.sources), loop.tellers)
				}
			})
		})
	}
}

// Each further service at an address was compared with all there, and each of these with all
// others: a thousand that somebody made up kept the topic busy for minutes.
func TestManyServicesAtOneAddress(t *testing.T) {
	inBubble(t, Config{MaxPeers: 1000, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		a := g.connect()
		a.join(wtproto.JoinLookUp, 0)
		for i := range 1000 {
			p := g.lan.peer(fmt.Sprint("made up ", i))
			p.waits()
			g.lan.see(p.at(discovery.SourceLAN, here, "10.2.0.1:80"))
		}
		pass(time.Second)
		if n := len(g.router.all()[0].peers); n != 1000 {
			t.Errorf("%d services are known, want 1000", n)
		}
	})
}
