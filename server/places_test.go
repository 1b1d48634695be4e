package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// hanging brings n peers that never answer.
func (g *bubble) hanging(n int) (peers []*fakePeer) {
	g.t.Helper()
	for i := range n {
		p := g.lan.peer(fmt.Sprint("hangs ", i))
		p.waits()
		g.lan.see(p.sighting())
		peers = append(peers, p)
	}
	return peers
}

// Peers that hang took a place when their dial was queued. 64 of them took all places of a client,
// and a live peer was dialed when 80 s were over.
func TestHangingPeersDelayLittle(t *testing.T) {
	for range 10 { // as it is by chance which peer comes first
		inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
			c := g.joiners(1)[0]
			g.hanging(64)
			live := g.lan.peer("live")
			start := time.Now()
			g.lan.see(live.sighting())
			pass(25 * time.Second)
			if d := live.dialed(); len(d) != 1 || c.streams() != 1 {
				t.Fatalf("dialed %d times, %d circuits, want one within 25s", len(d), c.streams())
			}
			pass(time.Minute)
			if n := c.session.circuits(); n != 1 {
				t.Errorf("%d places taken %v after the start, want that of the live peer", n, time.Since(start))
			}
			// Those that have failed come after one that has not.
			late := g.lan.peer("late")
			start = time.Now()
			g.lan.see(late.sighting())
			pass(10 * time.Second)
			if d := late.dialed(); len(d) != 1 || d[0].at.Sub(start) > 10*time.Second {
				t.Errorf("a newcomer was dialed at %v, want within 10s", d)
			}
		})
	}
}

// 200 peers that hang kept two clients of the same gateway apart for 29 minutes.
func TestHangingPeersKeepNobodyApart(t *testing.T) {
	for _, maxPeers := range []uint64{0, 1, 4} {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			a := g.connect()
			a.join(announceAndLookUp, maxPeers)
			g.hanging(200)
			pass(3 * time.Second)
			b := g.connect()
			b.join(announceAndLookUp, maxPeers)
			pairUp(t, a, b)
		})
	}
}

// A client that joins a topic with many others keeps a quarter of its places for peers that are
// being dialed.
func TestClientsLeavePlacesToPeers(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		g.members(20, 0)
		var peers []*fakePeer
		for i := range 20 {
			p := g.lan.peer(fmt.Sprint(i))
			p.answers(nil)
			peers = append(peers, p)
			g.lan.see(p.sighting())
		}
		c := g.connect()
		c.join(announceAndLookUp, 8)
		pass(10 * time.Second)
		native := 0
		for _, p := range peers {
			for _, d := range p.dialed() {
				if d.from == c.endpoint() {
					native++
				}
			}
		}
		if native < 2 || c.session.circuits() != 8 {
			t.Errorf("%d of %d circuits are with peers, want 2 of 8 at least", native, c.session.circuits())
		}
	})
}

// A peer that answers when the last place is gone is told BUSY, and has not failed.
func TestAnswerWithoutPlace(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 1)
		slow, quick := g.lan.peer("slow"), g.lan.peer("quick")
		release := slow.waits()
		g.lan.see(slow.sighting(), quick.sighting())
		pass(2 * time.Second)
		x, y := c.circuit(), quick.circuit()
		talk(t, x, y)
		release()
		wantReset(t, slow.circuit(), wtproto.CodeBusy)
		if s := c.status(); s.Networks[0].Refused != 0 || s.Connected != 1 {
			t.Errorf("STATUS %+v, want none refused, one connected", s)
		}
		if n := c.session.circuits(); n != 1 {
			t.Errorf("%d places taken, want 1", n)
		}
		reset(x, wtproto.CodeApplication)
		x = c.circuit()
		talk(t, x, slow.circuit())
		if d := slow.dialed(); len(d) != 2 || !d[1].at.Equal(time.Now()) {
			t.Errorf("dialed at %v, want again as soon as there is a place", d)
		}
	})
}

// A session that is full dials nobody, in any of its topics, until it has a place.
func TestFullSessionDialsNobody(t *testing.T) {
	inBubble(t, Config{MaxCircuits: 1, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, x, _, _ := g.open("1")
		p := g.lan.peer("2")
		g.lan.see(p.sighting())
		pass(time.Minute)
		if n := len(p.dialed()); n != 0 {
			t.Errorf("dialed %d times without a place", n)
		}
		reset(x, wtproto.CodeApplication)
		pass(time.Second)
		talk(t, c.circuit(), p.circuit())
	})
}

// A full table of peers forgets the one that has failed for the longest time, first of those that
// never answered. It kept the dead, and no newcomer came in.
func TestFullTableForgetsTheDead(t *testing.T) {
	inBubble(t, Config{MaxPeers: 4, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.joiners(1)[0]
		known := func() (ids string) {
			for _, p := range g.Topics()[0].Peers {
				ids += " " + string(p.ID)
			}
			return ids
		}
		peers := make(map[string]*fakePeer)
		see := func(id string, code wtproto.Code) {
			p := g.lan.peer(id)
			if code != wtproto.CodeNone {
				p.refuses(code)
			}
			peers[id] = p
			g.lan.see(p.sighting())
			pass(time.Second)
		}
		see("a", wtproto.CodeNone)
		see("b", wtproto.CodeNone) // will be lost
		see("c", wtproto.CodePeerUnreachable)
		see("d", wtproto.CodePeerUnreachable)
		peers["b"].refuses(wtproto.CodePeerUnreachable)
		peers["b"].circuit().lose()
		pass(time.Minute)
		for _, step := range []struct{ id, want string }{
			{"e", " 61 62 64 65"}, // instead of c
			{"f", " 61 62 65 66"}, // instead of d
			{"g", " 61 65 66 67"}, // instead of b
			{"h", " 61 65 66 67"}, // all others answer
		} {
			see(step.id, wtproto.CodeNone)
			if got := known(); got != step.want {
				t.Errorf("after %s: knows%s, want%s", step.id, got, step.want)
			}
		}
		if s := c.status(); !s.More || s.Known != 4 || s.Networks[0].Found != 4 || s.Networks[0].Refused != 0 {
			t.Errorf("STATUS %+v, want 4 known and found, none refused, and more", s)
		}
	})
}
