package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// ACCEPT of a circuit that the gateway opened, or that was accepted before, ends its own stream
// and nothing else.
func TestAcceptOfAnOpenCircuit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp|wtproto.JoinOfferOnly, 0)
		y := b.accept(expect[wtproto.Peer](b))
		x := a.circuit()
		talk(t, x, y)
		for c, id := range map[*fakeClient]wtproto.CircuitID{a: x.Circuit, b: y.Circuit} {
			s := c.link.dial()
			s.Write(wtproto.Accept{Circuit: id}.Append(nil))
			wantReset(t, s, wtproto.CodeWithdrawn)
		}
		talk(t, x, y)
	})
}

// A client that leaves a topic and joins it anew while it has a circuit there gets no second one
// with the same peer. When that circuit has ended, the two are connected again, once.
func TestJoinAnewWithAnOpenCircuit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		x, y := a.circuit(), b.circuit()
		a.leave()
		a.join(announceAndLookUp, 0)
		pass(5 * time.Second)
		if n := a.streams() + b.streams(); n != 0 {
			t.Errorf("%d circuits beside the one that is open", n)
		}
		talk(t, x, y)
		x.CloseWrite()
		y.CloseWrite()
		synctest.Wait()
		pass(time.Second)
		x, y = a.circuit(), b.circuit()
		talk(t, x, y)
		x.CloseWrite()
		y.CloseWrite()
		pass(5 * time.Second)
		if n := a.streams() + b.streams(); n != 0 {
			t.Errorf("%d circuits after the end of the second one, want none before the next JOIN", n)
		}
		awake(a, b)
		a.leave()
		a.join(announceAndLookUp, 0)
		talk(t, a.circuit(), b.circuit())
	})
}
