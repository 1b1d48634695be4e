package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Leaving stops what is on its way, and nothing else.
func TestLeave(t *testing.T) {
	inBubble(t, Config{TopicDials: 1}, func(t *testing.T, g *bubble) {
		c, x, _, y := g.open("1")
		slow, waiting := g.lan.peer("slow"), g.lan.peer("waiting")
		release := slow.waits()
		defer release()
		g.lan.see(slow.sighting(), waiting.sighting())
		if n := c.session.circuits(); n != 1 {
			t.Fatalf("%d places taken by circuits and dials, want that of the open circuit", n)
		}
		c.leave()
		if n := c.session.circuits(); n != 1 {
			t.Errorf("%d places taken after LEAVE, want that of the open circuit", n)
		}
		pass(20 * time.Second)
		if n := len(waiting.dialed()); n != 0 {
			t.Errorf("a peer was dialed for a topic that was left")
		}
		if n := c.streams(); n != 0 {
			t.Errorf("%d circuits after LEAVE", n)
		}
		talk(t, x, y)
		g.lan.see(g.lan.peer("late").sighting())
		if n := c.session.circuits(); n != 1 {
			t.Errorf("%d places taken by a peer that came after LEAVE", n)
		}
	})
}

// The topic drops a dial that succeeds just after LEAVE because the network noticed the end late.
func TestLeaveWhileDialed(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.joiners(1)[0]
		p := g.lan.peer("1")
		open := make(chan struct{})
		p.answers(func(context.Context) error { <-open; return nil })
		g.lan.see(p.sighting())
		c.leave()
		close(open)
		wantReset(t, p.circuit(), wtproto.CodeLeft)
		if c.streams() != 0 || c.session.circuits() != 0 {
			t.Errorf("%d streams and %d places taken after LEAVE", c.streams(), c.session.circuits())
		}
	})
}

func TestLeaveWithdrawsOffers(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, offer, p := withOffer(g)
		c.send(wtproto.Leave{Topic: wowcool})
		got := c.pending()
		want := wtproto.Withdraw{Circuit: offer.Circuit, Code: wtproto.CodeLeft}
		left := wtproto.Left{Topic: wowcool}
		if len(got) != 2 || !(got[0] == message(want) && got[1] == message(left) || got[0] == message(left) && got[1] == message(want)) {
			t.Errorf("got %+v, want %+v and %+v", got, want, left)
		}
		wantReset(t, p.circuit(), wtproto.CodeLeft)
		if n := c.session.circuits(); n != 0 {
			t.Errorf("%d places taken", n)
		}
	})
}

// A client that leaves and joins again keeps its open circuits, and gets no second one to the same
// end.
func TestJoinAgainKeepsCircuits(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, x, p, y := g.open("1")
		other := g.connect()
		other.join(wtproto.JoinAnnounce, 0)
		v, w := c.circuit(), other.circuit()
		slow := g.lan.peer("slow") // is being dialed meanwhile
		release := slow.waits()
		defer release()
		g.lan.see(slow.sighting())
		for range 3 {
			c.leave()
			c.join(wtproto.JoinLookUp, 0)
			pass(5 * time.Second)
		}
		g.lan.see(slow.gone())
		other.leave()
		other.join(wtproto.JoinAnnounce, 0)
		pass(time.Minute)
		if c.streams() != 0 || other.streams() != 0 || len(p.dialed()) != 1 {
			t.Errorf("%d and %d more streams, %d dials, want no second circuit", c.streams(), other.streams(), len(p.dialed()))
		}
		talk(t, x, y)
		talk(t, v, w)
		if s := c.status(); s.Connected != 2 {
			t.Errorf("STATUS says %d connected, want 2", s.Connected)
		}
		// These circuits are from before the new joins, so their ends do not count for these.
		awake(c, other)
		reset(x, wtproto.CodeApplication)
		reset(v, wtproto.CodeApplication)
		for range 2 {
			if x := c.circuit(); x.Network == wtproto.NetworkClient {
				talk(t, x, other.circuit())
				reset(x, wtproto.CodeApplication)
			} else {
				talk(t, x, p.circuit())
				reset(x, wtproto.CodeApplication)
			}
		}
		pass(time.Minute)
		if c.streams() != 0 || other.streams() != 0 || len(p.dialed()) != 2 {
			t.Errorf("made again after the end: %d and %d streams, %d dials", c.streams(), other.streams(), len(p.dialed()))
		}
		if s := c.status(); s.Connected != 0 {
			t.Errorf("STATUS says %d connected, want 0", s.Connected)
		}
		awake(c, other)
		c.leave()
		c.join(wtproto.JoinLookUp, 0)
		for range 2 {
			if x := c.circuit(); x.Network == wtproto.NetworkClient {
				talk(t, x, other.circuit())
			} else {
				talk(t, x, p.circuit())
			}
		}
	})
}

// A subscriber that stays for long meets many that come and go, and must not remember each of
// them.
func TestPairsAreForgotten(t *testing.T) {
	inBubble(t, Config{Idle: 100 * time.Hour}, func(t *testing.T, g *bubble) {
		stays := g.connect()
		stays.join(announceAndLookUp, 0)
		for name, meet := range map[string]func(){
			"a client that is lost": func() {
				c := g.connect()
				c.join(announceAndLookUp, 0)
				c.circuit()
				c.link.end(nil)
			},
			"a client that leaves, whose circuit ends later": func() {
				c := g.connect()
				c.join(announceAndLookUp, 0)
				x := c.circuit()
				c.leave()
				reset(x, wtproto.CodeApplication)
			},
			"a client that leaves after the circuit": func() {
				c := g.connect()
				c.join(announceAndLookUp, 0)
				reset(c.circuit(), wtproto.CodeApplication)
				synctest.Wait()
				c.leave()
			},
			"a client that leaves and joins with a circuit": func() {
				c := g.connect()
				c.join(announceAndLookUp, 0)
				c.leave()
				c.join(announceAndLookUp, 0)
				c.leave()
				c.link.end(nil)
			},
			"a client that leaves and joins, and is lost after the circuit": func() {
				c := g.connect()
				c.join(announceAndLookUp, 0)
				x := c.circuit()
				c.leave()
				c.join(announceAndLookUp, 0)
				reset(x, wtproto.CodeApplication)
				synctest.Wait()
				c.link.end(nil)
			},
			"a client that never answers an offer": func() {
				c := g.connect()
				c.join(offerOnly, 0)
				expect[wtproto.Withdraw](skip[wtproto.Peer](c))
				c.leave()
			},
			"a client that leaves with an offer": func() {
				c := g.connect()
				c.join(offerOnly, 0)
				c.send(wtproto.Leave{Topic: wowcool})
			},
			"a peer that leaves after the circuit": func() {
				p := g.lan.peer("a")
				g.lan.see(p.sighting())
				reset(p.circuit(), wtproto.CodeApplication)
				synctest.Wait()
				g.lan.see(p.gone())
			},
			"a peer that leaves, whose circuit ends later": func() {
				p := g.lan.peer("b")
				g.lan.see(p.sighting(), p.gone())
				reset(p.circuit(), wtproto.CodeApplication)
			},
			"a peer that refuses": func() {
				p := g.lan.peer("c")
				p.refuses(wtproto.CodeBusy)
				g.lan.see(p.sighting())
				pass(time.Minute)
				g.lan.see(p.gone())
			},
			"a peer that is lost": func() {
				p := g.lan.peer("d")
				g.lan.see(p.sighting(), p.gone())
				p.circuit().lose()
			},
			"a peer that opens a circuit and is not seen": func() {
				in := g.lan.peer("e").inbound(stays.endpoint())
				g.lan.see(in.sighting(0))
				reset(in.far, wtproto.CodeApplication)
			},
		} {
			awake(stays)
			meet()
			pass(time.Minute)
			loop := g.router.all()[0]
			sub := loop.subs[0]
			if len(sub.pairs) != 0 || len(loop.away) != 0 || sub.taken != 0 || sub.chosen != 0 || sub.connected != 0 {
				t.Errorf("after %s: %d pairs, %d away, %d taken, %d chosen, %d connected, want 0",
					name, len(sub.pairs), len(loop.away), sub.taken, sub.chosen, sub.connected)
			}
			for len(stays.link.toClient) > 0 {
				<-stays.link.toClient
			}
		}
	})
}

// skip expects an M and returns c.
func skip[M message](c *fakeClient) *fakeClient {
	c.t.Helper()
	expect[M](c)
	return c
}
