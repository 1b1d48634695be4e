package server

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const offerOnly = announceAndLookUp | wtproto.JoinOfferOnly

// withOffer returns a client that has one offer, of a peer that has answered.
func withOffer(g *bubble) (*fakeClient, wtproto.Peer, *fakePeer) {
	g.t.Helper()
	c, p := g.connect(), g.lan.peer("1")
	c.join(offerOnly, 0)
	g.lan.see(p.sighting())
	return c, expect[wtproto.Peer](c), p
}

func TestOfferOnly(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, offer, p := withOffer(g)
		want := wtproto.Peer{Circuit: 1, Topic: wowcool, Flags: wtproto.PeerInitiator, Network: "lan"}
		if offer.Circuit != want.Circuit || offer.Topic != want.Topic || offer.Flags != want.Flags || offer.Network != want.Network || string(offer.ID) != "1" || offer.Address != "" {
			t.Errorf("offered %+v, want %+v with id 1", offer, want)
		}
		x, y := c.accept(offer), p.circuit()
		talk(t, x, y)
		if n := c.streams(); n != 0 {
			t.Errorf("the gateway opened %d streams to a client that takes offers only", n)
		}
		if s := c.status(); s.Connected != 1 {
			t.Errorf("STATUS says %d connected, want 1", s.Connected)
		}
	})
}

func TestOfferWithoutStreamCredit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.link.grant(2)
		c.join(announceAndLookUp, 0)
		peers := make(map[string]*fakePeer)
		for _, id := range []string{"1", "2", "3"} {
			peers[id] = g.lan.peer(id)
			g.lan.see(peers[id].sighting())
		}
		opened := []fakeCircuit{c.circuit(), c.circuit()}
		offer := expect[wtproto.Peer](c)
		for i, circuit := range append(opened, c.accept(offer)) {
			if circuit.Circuit != wtproto.CircuitID(i+1) {
				t.Errorf("circuit %d has id %d", i+1, circuit.Circuit)
			}
			talk(t, circuit, peers[string(circuit.ID)].circuit())
		}
		// With credit again, streams are opened again.
		c.link.grant(1)
		late := g.lan.peer("4")
		g.lan.see(late.sighting())
		talk(t, c.circuit(), late.circuit())
	})
}

// A session that is ending has no stream reset: Chromium's pages crash if both come at once.
func TestEndingSessionResetsNothing(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		slow, quick := g.connect(), g.connect()
		slow.link.closeTakes = time.Second
		slow.join(announceAndLookUp, 0)
		quick.join(announceAndLookUp, 0)
		x, y := slow.circuit(), quick.circuit()
		talk(t, x, y)
		g.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
		pass(time.Second / 2)
		if err := y.failure(); err == nil {
			t.Error("the session without a wait goes on")
		}
		if err := errors.Join(x.failure(), x.stopped()); err != nil {
			t.Errorf("half a second before its session's end a stream failed with %v", err)
		}
		pass(time.Second)
		if err := x.failure(); err == nil {
			t.Error("a stream lives on after its session")
		}
	})
}

// An offer holds for 10 s.
func TestOfferIsWithdrawn(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, offer, p := withOffer(g)
		start := time.Now()
		w := expect[wtproto.Withdraw](c)
		if held := time.Since(start); w.Circuit != offer.Circuit || w.Code != wtproto.CodeWithdrawn || held != 10*time.Second {
			t.Errorf("%+v after %v, want WITHDRAWN after 10s", w, held)
		}
		wantReset(t, p.circuit(), wtproto.CodeWithdrawn)
		if n := c.session.circuits(); n != 0 {
			t.Errorf("the offer still takes %d places", n)
		}
		// ACCEPT crossed WITHDRAW on its way, and so may others.
		wantReset(t, c.accept(offer).fakeStream, wtproto.CodeWithdrawn)
		c.send(wtproto.Decline{Circuit: offer.Circuit, Code: wtproto.CodeDeclined})
		c.send(wtproto.Credit{Circuit: offer.Circuit, Offset: 1 << 30})
		c.lives()
		// Nobody decided that the circuit is not wanted, so it is offered again.
		again := expect[wtproto.Peer](c)
		if waited := time.Since(start) - 10*time.Second; again.Circuit != offer.Circuit+1 || waited < time.Second || waited > 2*time.Second {
			t.Errorf("offered again as %d after %v, want %d after 1s to 2s", again.Circuit, waited, offer.Circuit+1)
		}
		talk(t, c.accept(again), p.circuit())
	})
}

// A client that answers no offer gets them less and less often.
func TestOffersBackOff(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, _, _ := withOffer(g)
		for low := time.Second; low < time.Minute; low *= 2 {
			expect[wtproto.Withdraw](c)
			withdrawn := time.Now()
			expect[wtproto.Peer](c)
			if gap := time.Since(withdrawn); gap < low || gap > 2*low {
				t.Errorf("offered again after %v, want %v to %v", gap, low, 2*low)
			}
		}
	})
}

// If ACCEPT and the end of the offer come at the same instant, one of both wins, and the client
// sees which.
func TestAcceptAgainstWithdraw(t *testing.T) {
	for range 50 {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			c, offer, p := withOffer(g)
			pass(10*time.Second - 1)
			sent := make(chan fakeCircuit, 1)
			go func() {
				<-time.After(1)
				s := c.link.dial()
				s.Write(wtproto.Accept{Circuit: offer.Circuit}.Append(nil))
				sent <- fakeCircuit{offer, s}
			}()
			x := receive(t, sent, "stream")
			frames := c.pending()
			if len(frames) == 0 {
				talk(t, x, p.circuit())
				return
			}
			if want := (wtproto.Withdraw{Circuit: offer.Circuit, Code: wtproto.CodeWithdrawn}); len(frames) != 1 || frames[0] != want {
				t.Errorf("got %+v, want %+v", frames, want)
			}
			wantReset(t, x.fakeStream, wtproto.CodeWithdrawn)
			wantReset(t, p.circuit(), wtproto.CodeWithdrawn)
			c.lives()
		})
	}
}

func TestDecline(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, offer, p := withOffer(g)
		c.send(wtproto.Decline{Circuit: offer.Circuit, Code: wtproto.CodeBusy})
		synctest.Wait()
		wantReset(t, p.circuit(), wtproto.CodeDeclined)
		if n := c.session.circuits(); n != 0 {
			t.Errorf("the declined offer still takes %d places", n)
		}
		wantReset(t, c.accept(offer).fakeStream, wtproto.CodeWithdrawn)
		pass(19 * time.Second)
		c.quiet()
		if n := len(p.dialed()); n != 1 {
			t.Errorf("a declined peer was dialed %d times, want once", n)
		}
	})
}

func TestAcceptTwice(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, offer, p := withOffer(g)
		x, y := c.accept(offer), p.circuit()
		wantReset(t, c.accept(offer).fakeStream, wtproto.CodeWithdrawn)
		talk(t, x, y)
		for range 3 { // too late for the offer, but it ends the circuit
			c.send(wtproto.Decline{Circuit: offer.Circuit, Code: wtproto.CodeApplication})
		}
		wantReset(t, y, wtproto.CodeApplication)
		c.lives()
	})
}

// ACCEPT of a circuit whose stream the gateway has opened is for nothing that is offered.
func TestAcceptOfOpenedCircuit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, p := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(p.sighting())
		x := c.circuit()
		wantReset(t, c.accept(x.Peer).fakeStream, wtproto.CodeWithdrawn)
		talk(t, x, p.circuit())
		c.lives()
	})
}

// CREDIT and DECLINE may cross the end of the circuit.
func TestFramesAfterEnd(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		x, y := g.pair()
		x.CloseWrite()
		y.CloseWrite()
		synctest.Wait()
		for ses := range g.live {
			if n := ses.circuits(); n != 0 {
				t.Errorf("%d circuits are left", n)
			}
		}
		c := g.connect()
		c.join(announceAndLookUp, 0)
		reset(c.circuit(), wtproto.CodeApplication)
		reset(c.circuit(), wtproto.CodeApplication)
		synctest.Wait()
		for id := range wtproto.CircuitID(2) {
			c.send(wtproto.Credit{Circuit: id + 1, Offset: 1 << 40}, wtproto.Decline{Circuit: id + 1, Code: wtproto.CodeDeclined})
		}
		c.lives()
		c.send(wtproto.Credit{Circuit: 3})
		c.ends(wtproto.CodeProtocol)
	})
}

// An offer takes one of the places of a session.
func TestCircuitLimitCountsOffers(t *testing.T) {
	inBubble(t, Config{DefaultPeers: -1, TopicDials: -1, SessionDials: -1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.link.grant(200)
		c.join(announceAndLookUp, 0)
		const peers = 300
		for n := range peers {
			g.lan.see(g.lan.peer(string(rune(1000 + n))).sighting())
		}
		var offers []wtproto.Peer
		for range 56 {
			offers = append(offers, expect[wtproto.Peer](c))
		}
		c.quiet()
		if opened := c.streams(); opened != 200 || c.session.circuits() != 256 {
			t.Errorf("%d streams opened and %d places taken, want 200 and 256", opened, c.session.circuits())
		}
		for n := range 10 {
			c.send(wtproto.Decline{Circuit: offers[n].Circuit})
		}
		pass(time.Second) // a session that was full is asked again each second
		for range 10 {
			expect[wtproto.Peer](c)
		}
		c.quiet()
		if n := c.session.circuits(); n != 256 {
			t.Errorf("%d places taken, want 256 again", n)
		}
	})
}

// Nothing is shown to either of two clients before both ends are sure.
func TestOfferToBothClients(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(offerOnly, 0)
		b.join(announceAndLookUp, 0)
		offer := expect[wtproto.Peer](a)
		if n := b.streams(); n != 1 {
			t.Fatalf("%d streams to the other client, want 1 that says nothing yet", n)
		}
		silent := <-b.link.toClient
		if n := silent.unread(); n != 0 {
			t.Errorf("the other client was told of the circuit with %d bytes", n)
		}
		b.link.toClient <- silent
		talk(t, a.accept(offer), b.circuit())
	})
}

func TestOfferEndsWithSession(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, _, p := withOffer(g)
		c.link.closeTakes = time.Second // as a WebTransport session's end may
		c.send(wtproto.Welcome{})
		wantReset(t, p.circuit(), wtproto.CodePeerGone)
		c.ends(wtproto.CodeProtocol)
		if n := c.session.circuits(); n != 0 {
			t.Errorf("%d places are taken in a session that has ended", n)
		}
	})
}

// A stream that the client resets before it is a circuit, or after, is the end of the circuit.
func TestOpenedStreamRefused(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, p := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		release := p.waits()
		g.lan.see(p.sighting())
		release()
		reset(c.circuit(), wtproto.CodeDeclined)
		wantReset(t, p.circuit(), wtproto.CodeDeclined)
		pass(30 * time.Second)
		if n := len(p.dialed()); n != 1 {
			t.Errorf("the peer was dialed %d times, want once", n)
		}
	})
}
