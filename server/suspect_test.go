package server

import (
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A client that had vanished was chosen as a mate until the end of its session, up to a minute
// later, by everybody who came. Now the first who chooses it has it asked, and the others do not
// get it while it does not answer.
func TestVanishedClientIsNotChosen(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		gone := g.connect()
		gone.join(announceAndLookUp, 0)
		pass(10 * time.Second)
		first := g.connect()
		first.join(announceAndLookUp, 0)
		first.circuit() // a silent client is not dead
		pass(answerWithin)
		second := g.connect()
		second.join(announceAndLookUp, 0)
		if id := second.circuit().ID; string(id) != string(endpointOf(first)) {
			t.Errorf("met %x, want the client that lives", id)
		}
		if n := second.streams(); n != 0 {
			t.Errorf("%d more circuits, want none with the client that is gone", n)
		}
		// It was only slow.
		for _, m := range gone.allPending() {
			if p, ok := m.(wtproto.Ping); ok {
				gone.send(wtproto.Pong(p))
			}
		}
		pass(retryMin)
		if id := second.circuit().ID; string(id) != string(endpointOf(gone)) {
			t.Errorf("met %x, want the client that has answered", id)
		}
	})
}

// A session that is silent for less than 2 s gets no PING, and another one gets one.
func TestSuspect(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for _, step := range []struct {
			after   time.Duration
			suspect bool
			pings   uint64
		}{
			{0, false, 0},
			{askedAfter - 1, false, 0},
			{1, false, 1},
			{answerWithin - 1, false, 1},
			{1, true, 1},
			{time.Minute - askedAfter - answerWithin - 1, true, 1},
		} {
			pass(step.after)
			if got := c.session.suspect(time.Now()); got != step.suspect || c.session.pings != step.pings {
				t.Errorf("%v later: suspect = %v after %d PINGs, want %v after %d", step.after, got, c.session.pings, step.suspect, step.pings)
			}
		}
		c.lives()
		if c.session.suspect(time.Now()) {
			t.Error("suspect after a sign of life")
		}
	})
}

func endpointOf(c *fakeClient) []byte {
	id := c.endpoint()
	return id[:]
}
