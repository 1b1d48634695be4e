package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// pairUp returns both sides of the one circuit that a and b have, and checks what they were told.
func pairUp(t *testing.T, a, b *fakeClient) (x, y fakeCircuit) {
	t.Helper()
	if n, m := a.streams(), b.streams(); n != 1 || m != 1 {
		t.Fatalf("%d and %d streams, want one each", n, m)
	}
	x, y = a.circuit(), b.circuit()
	if x.Flags^y.Flags != wtproto.PeerInitiator || x.Flags&y.Flags != wtproto.PeerClient {
		t.Errorf("flags %b and %b, want two clients and exactly one initiator", x.Flags, y.Flags)
	}
	for _, side := range []struct {
		told wtproto.Peer
		of   *fakeClient
	}{{x.Peer, b}, {y.Peer, a}} {
		id := side.of.endpoint()
		if side.told.Topic != wowcool || side.told.Network != wtproto.NetworkClient || !slices.Equal(side.told.ID, id[:]) || side.told.Address != "" {
			t.Errorf("told %+v, want a client with id %v", side.told, id)
		}
	}
	talk(t, x, y)
	return x, y
}

// Two clients are joined when at least one announces and the other looks up, whichever came first.
func TestClientsMatch(t *testing.T) {
	const announce, lookUp = wtproto.JoinAnnounce, wtproto.JoinLookUp
	for _, test := range []struct {
		a, b wtproto.JoinFlags
		want bool
	}{
		{0, 0, false},
		{0, announce, false},
		{0, lookUp, false},
		{0, announce | lookUp, false},
		{announce, announce, false},
		{announce, lookUp, true},
		{announce, announce | lookUp, true},
		{lookUp, lookUp, false},
		{lookUp, announce | lookUp, true},
		{announce | lookUp, announce | lookUp, true},
	} {
		for _, flags := range [][2]wtproto.JoinFlags{{test.a, test.b}, {test.b, test.a}} {
			t.Run(fmt.Sprintf("%b and %b", flags[0], flags[1]), func(t *testing.T) {
				inBubble(t, Config{ShowAddresses: true}, func(t *testing.T, g *bubble) {
					first, second := g.connect(), g.connect()
					first.join(flags[0], 0)
					second.join(flags[1], 0)
					if test.want {
						pairUp(t, first, second)
					}
					pass(30 * time.Second)
					if n := first.streams() + second.streams(); n != 0 {
						t.Errorf("%d streams, want none", n)
					}
				})
			})
		}
	}
}

// Either side may choose: one that only looks up finds one that announces and has no choice left.
func TestEitherSideChooses(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		x, announces, looksUp := g.connect(), g.connect(), g.connect()
		x.join(wtproto.JoinLookUp, 0)
		announces.join(wtproto.JoinAnnounce, 2)
		pairUp(t, x, announces) // by the choice of the later
		looksUp.join(wtproto.JoinLookUp, 0)
		if side, _ := pairUp(t, looksUp, announces); side.Flags&wtproto.PeerInitiator == 0 {
			t.Error("the side that chose is not the initiator")
		}
	})
}

// Options may change, and what then belongs together is connected.
func TestClientsMatchLater(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(wtproto.JoinLookUp, 0)
		b.join(wtproto.JoinLookUp, 0)
		a.join(announceAndLookUp, 0)
		x, y := pairUp(t, a, b)
		a.join(0, 0) // takes nothing away
		talk(t, x, y)
	})
}

func TestPeersMatch(t *testing.T) {
	for _, test := range []struct {
		flags   wtproto.JoinFlags
		foundUs bool
		want    int // dials
	}{
		{0, false, 0},
		{0, true, 0},
		{wtproto.JoinAnnounce, false, 0},
		{wtproto.JoinAnnounce, true, 1},
		{wtproto.JoinLookUp, false, 1},
		{wtproto.JoinLookUp, true, 0},
		{announceAndLookUp, false, 1},
		{announceAndLookUp, true, 1},
	} {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			c, p := g.connect(), g.lan.peer("1")
			c.join(test.flags, 0)
			s := p.sighting()
			s.PeerFoundUs = test.foundUs
			g.lan.see(s)
			if n := len(p.dialed()); n != test.want {
				t.Errorf("flags %b, found us %v: dialed %d times, want %d", test.flags, test.foundUs, n, test.want)
			}
			// Found both ways, it is for all.
			s.PeerFoundUs = !test.foundUs
			g.lan.see(s)
			if n := len(p.dialed()); (n == 1) != (test.flags != 0) {
				t.Errorf("flags %b, found both ways: dialed %d times", test.flags, n)
			}
			before := len(p.dialed())
			g.connect().join(wtproto.JoinLookUp, 0)
			g.connect().join(wtproto.JoinAnnounce, 0)
			if n := len(p.dialed()) - before; n != 2 {
				t.Errorf("found both ways: dialed for %d of two clients", n)
			}
		})
	}
}

func TestPeerThatOnlyOpensItself(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, p := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(discovery.Sighting{Peer: p.Peer, Holds: -1}) // no Dial
		in := p.inbound(c.endpoint())
		g.lan.see(in.sighting(0))
		x := c.circuit()
		if x.Flags != 0 || string(x.ID) != "1" || x.Network != "lan" {
			t.Errorf("told %+v, want peer 1, and that it is the initiator", x.Peer)
		}
		talk(t, x, in.far)
	})
}

func TestInbound(t *testing.T) {
	for _, test := range []struct {
		name     string
		flags    wtproto.JoinFlags
		max      uint64
		before   int // peers that take places first
		to       func(*fakeClient) wtproto.EndpointID
		accepted int
		refused  []wtproto.Code
	}{
		{"announces", wtproto.JoinAnnounce, 0, 0, (*fakeClient).endpoint, 1, nil},
		{"looks up: its look-up found the peer's host", wtproto.JoinLookUp, 0, 0, (*fakeClient).endpoint, 1, nil},
		{"does neither", 0, 0, 0, (*fakeClient).endpoint, 0, []wtproto.Code{wtproto.CodeDeclined}},
		{"nobody's endpoint", announceAndLookUp, 0, 0, func(*fakeClient) wtproto.EndpointID { return wtproto.EndpointID{1} }, 0, []wtproto.Code{wtproto.CodeDeclined}},
		{"the last place", announceAndLookUp, 3, 2, (*fakeClient).endpoint, 1, nil},
		{"no place", announceAndLookUp, 3, 3, (*fakeClient).endpoint, 0, []wtproto.Code{wtproto.CodeBusy}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				c := g.connect()
				c.join(test.flags, test.max)
				for n := range test.before {
					g.lan.see(g.lan.peer(fmt.Sprint("before ", n)).sighting())
					c.circuit()
				}
				in := g.lan.peer("1").inbound(test.to(c))
				g.lan.see(in.sighting(0))
				if accepted, refused := in.answer(); accepted != test.accepted || !slices.Equal(refused, test.refused) {
					t.Errorf("accepted %d times, refused with %v, want %d, %v", accepted, refused, test.accepted, test.refused)
				}
				if test.accepted > 0 {
					talk(t, c.circuit(), in.far)
				}
				if n := c.streams(); n != 0 {
					t.Errorf("%d streams more", n)
				}
			})
		})
	}
}

// A peer that only an announcement can have brought is for those who announce.
func TestUnsolicitedInbound(t *testing.T) {
	for flags, want := range map[wtproto.JoinFlags]int{wtproto.JoinAnnounce: 1, wtproto.JoinLookUp: 0, announceAndLookUp: 1, 0: 0} {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			c := g.connect()
			c.join(flags, 0)
			in := g.lan.peer("1").inbound(c.endpoint())
			in.unasked = true
			g.lan.see(in.sighting(0))
			if accepted, refused := in.answer(); accepted != want || accepted+len(refused) != 1 {
				t.Errorf("flags %v: accepted %d times, refused with %v, want %d", flags, accepted, refused, want)
			}
		})
	}
}

func TestInboundAtCircuitLimit(t *testing.T) {
	inBubble(t, Config{MaxCircuits: 1}, func(t *testing.T, g *bubble) {
		c, _, _, _ := g.open("1")
		in := g.lan.peer("2").inbound(c.endpoint())
		g.lan.see(in.sighting(-1))
		if accepted, refused := in.answer(); accepted != 0 || !slices.Equal(refused, []wtproto.Code{wtproto.CodeCircuitLimit}) {
			t.Errorf("accepted %d times, refused with %v, want CIRCUIT_LIMIT", accepted, refused)
		}
	})
}

func TestInboundIsLost(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinAnnounce, 0)
		in := g.lan.peer("1").inbound(c.endpoint())
		in.err = &wtproto.Error{Code: wtproto.CodePeerGone}
		g.lan.see(in.sighting(0))
		if c.streams() != 0 || c.session.circuits() != 0 {
			t.Errorf("%d streams and %d places for a peer that went before it was accepted", c.streams(), c.session.circuits())
		}
	})
}

// Others connect to the newer session of a client, while the older one is still ending.
func TestInboundGoesToNewestSession(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		old := g.connect()
		old.join(announceAndLookUp, 0)
		old.link.closeTakes = time.Second
		c := g.dial()
		c.secret = old.secret
		c.hello()
		expect[wtproto.Welcome](c)
		c.join(announceAndLookUp, 0)
		in := g.lan.peer("1").inbound(c.endpoint())
		g.lan.see(in.sighting(0))
		if accepted, refused := in.answer(); accepted != 1 {
			t.Fatalf("accepted %d times, refused with %v", accepted, refused)
		}
		talk(t, c.circuit(), in.far)
	})
}

// What another gateway still has of a client is not connected to what we have of it.
func TestInboundOfOwnGhost(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		id := c.endpoint()
		ghost := g.lan.peer("host" + string(id[:]))
		ghost.Client = true
		in := ghost.inbound(id)
		g.lan.see(in.sighting(-1))
		if accepted, refused := in.answer(); accepted != 0 || !slices.Equal(refused, []wtproto.Code{wtproto.CodeDeclined}) {
			t.Errorf("accepted %d times, refused with %v, want DECLINED", accepted, refused)
		}
	})
}

// Two clients of which one has no circuit left are connected once it has.
func TestClientsAtCircuitLimit(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("full one first %v", first), func(t *testing.T) {
			inBubble(t, Config{MaxCircuits: 1}, func(t *testing.T, g *bubble) {
				full, x, _, _ := g.open("1") // looks up
				g.lan.see(g.lan.peer("1").gone())
				other := g.connect()
				if first {
					other.join(wtproto.JoinAnnounce, 0)
				} else {
					full.leave()
					other.join(wtproto.JoinAnnounce, 0)
					full.join(wtproto.JoinLookUp, 0)
				}
				pass(10 * time.Second)
				if n := full.streams() + other.streams(); n != 0 {
					t.Errorf("%d streams beyond the limit", n)
				}
				awake(full, other)
				reset(x, wtproto.CodeApplication)
				pass(time.Second) // a session that was full is asked again each second
				pairUp(t, full, other)
			})
		})
	}
}

func TestIsolateClients(t *testing.T) {
	inBubble(t, Config{IsolateClients: true}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		p := g.lan.peer("1")
		g.lan.see(p.sighting())
		for _, c := range []*fakeClient{a, b} {
			if x := c.circuit(); x.Network != "lan" {
				t.Errorf("told %+v, want the peer alone", x.Peer)
			}
		}
		pass(30 * time.Second)
		if n := a.streams() + b.streams(); n != 0 {
			t.Errorf("%d circuits between clients", n)
		}
	})
}

// A client is never connected to itself: not to its own older session, and not to a client of
// another gateway with the same endpoint.
func TestEqualEndpoints(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		old := g.connect()
		old.join(announceAndLookUp, 0)
		c := g.dial()
		c.secret = old.secret
		c.hello()
		expect[wtproto.Welcome](c)
		c.join(announceAndLookUp, 0)
		ghost := g.lan.peer("host" + string(func() []byte { id := c.endpoint(); return id[:] }()))
		ghost.Client = true
		other := g.lan.peer("host" + string(make([]byte, wtproto.EndpointSize)))
		other.Client = true
		g.lan.see(ghost.sighting(), other.sighting())
		pass(30 * time.Second)
		if n, m := len(ghost.dialed()), len(other.dialed()); n != 0 || m != 1 {
			t.Errorf("dialed its ghost %d times and another client %d times, want 0 and 1", n, m)
		}
		if n := old.streams(); n != 0 {
			t.Errorf("%d streams to the older session", n)
		}
		c.circuit()
		if n := c.streams(); n != 0 {
			t.Errorf("%d more streams", n)
		}
	})
}

func TestShowAddresses(t *testing.T) {
	for _, show := range []bool{false, true} {
		inBubble(t, Config{ShowAddresses: show}, func(t *testing.T, g *bubble) {
			_, x, p, _ := g.open("1")
			if (x.Address == p.Address) != show || (x.Address == "") == show {
				t.Errorf("show %v: told address %q", show, x.Address)
			}
			remote := g.lan.peer("2")
			remote.Client = true
			c := g.connect()
			c.join(wtproto.JoinLookUp, 0)
			c.circuit()
			g.lan.see(remote.sighting())
			if x := c.circuit(); x.Address != "" || string(x.ID) != "2" {
				t.Errorf("show %v: told address %q of a client", show, x.Address)
			}
		})
	}
}

// Max peers holds whatever comes, and native peers take any place.
func TestMaxPeers(t *testing.T) {
	inBubble(t, Config{DefaultPeers: 5}, func(t *testing.T, g *bubble) {
		asked, unasked := g.connect(), g.connect()
		asked.join(wtproto.JoinLookUp, 3)
		unasked.join(wtproto.JoinLookUp, 0)
		var peers []*fakePeer
		for n := range 10 {
			peers = append(peers, g.lan.peer(fmt.Sprint(n)))
			g.lan.see(peers[n].sighting())
		}
		if n, m := asked.streams(), unasked.streams(); n != 3 || m != 5 {
			t.Errorf("%d and %d circuits, want 3 and 5", n, m)
		}
		asked.join(wtproto.JoinLookUp, 6) // more
		if n := asked.streams(); n != 6 {
			t.Errorf("%d circuits, want 6", n)
		}
		asked.join(wtproto.JoinLookUp, 2) // fewer takes nothing away
		first := asked.circuit()
		reset(first, wtproto.CodeApplication)
		pass(10 * time.Second)
		if n := asked.session.circuits(); n != 5 {
			t.Errorf("%d circuits, want the 5 that were left", n)
		}
	})
}

// A place that becomes free is filled at once, though it is the other side's to choose.
func TestFreePlaceIsFilledByOthers(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		x, s, y, o := g.connect(), g.connect(), g.connect(), g.connect()
		x.join(announceAndLookUp, 1)
		s.join(announceAndLookUp, 2) // may choose one, and chooses x
		pairUp(t, s, x)
		y.join(announceAndLookUp, 1) // chooses s, the only one with room
		pairUp(t, y, s)
		o.join(announceAndLookUp, 1)
		if n := o.streams(); n != 0 {
			t.Fatalf("%d streams, and nobody has room", n)
		}
		y.link.end(nil)
		a, b := pairUp(t, o, s)
		if a.Flags&wtproto.PeerInitiator == 0 || b.Flags&wtproto.PeerInitiator != 0 {
			t.Errorf("initiators %b and %b, want the one that chose", a.Flags, b.Flags)
		}
	})
}

// members joins n clients one after the other, and returns them with the loop of the topic.
func (g *bubble) members(n int, maxPeers uint64) ([]*fakeClient, *topic) {
	g.t.Helper()
	var cs []*fakeClient
	for range n {
		c := g.connect()
		c.join(announceAndLookUp, maxPeers)
		cs = append(cs, c)
	}
	return cs, g.router.all()[0]
}

// component returns how many of the subscribers can be reached from the first over circuits.
func component(loop *topic) int {
	reached := map[*session]bool{loop.subs[0].session: true}
	bySession := make(map[*session]*subscription)
	for _, s := range loop.subs {
		bySession[s.session] = s
	}
	for queue := []*subscription{loop.subs[0]}; len(queue) > 0; queue = queue[1:] {
		for key, p := range queue[0].pairs {
			if ses, ok := key.(*session); ok && !reached[ses] && !p.past() && bySession[ses] != nil {
				reached[ses] = true
				queue = append(queue, bySession[ses])
			}
		}
	}
	return len(reached)
}

// All clients of a topic are one mesh, however small max peers is: newcomers find a place, nobody
// has more than they asked for, and at most half of these by their own choice.
func TestMesh(t *testing.T) {
	for _, test := range []struct {
		clients, max int
		loss         bool // a mesh of few circuits each may fall apart
	}{{100, 8, true}, {100, 8, true}, {60, 64, true}, {9, 8, true}, {10, 8, true}, {11, 8, true}, {60, 4, false}, {60, 3, false}, {60, 2, false}} {
		t.Run(fmt.Sprintf("%d clients with %d", test.clients, test.max), func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				cs, loop := g.members(test.clients, uint64(test.max))
				check := func(what string) {
					t.Helper()
					synctest.Wait()
					if n := component(loop); n != len(loop.subs) {
						t.Errorf("%s: %d of %d clients are one mesh", what, n, len(loop.subs))
					}
					for _, s := range loop.subs {
						if s.taken > test.max || s.chosen > (test.max+1)/2 {
							t.Errorf("%s: a client has %d circuits, %d by its choice, want %d and %d at most", what, s.taken, s.chosen, test.max, (test.max+1)/2)
						}
					}
				}
				check("joined")
				if !test.loss {
					return
				}
				for _, i := range rand.Perm(len(cs))[:len(cs)/3] {
					cs[i].link.end(nil)
				}
				check("a third lost")
				g.members(test.clients/3, uint64(test.max))
				check("as many new")
			})
		})
	}
}
