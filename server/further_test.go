package server

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A CONNECT that fails puts nobody off: neither the pair's own next dial nor those of others wait
// because of it.
func TestConnectInVainChangesNothing(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, peer := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(peer.sighting())
		first := c.circuit()
		peer.circuit()
		peer.refuses(wtproto.CodePeerUnreachable)
		for range 3 {
			wantRefused(t, c.ask(first.Peer, ""), wtproto.CodePeerUnreachable)
		}
		peer.answers(nil)
		o := g.connect()
		o.join(wtproto.JoinLookUp, 0)
		if n := o.streams(); n != 2 { // with the peer at once, and with c
			t.Errorf("another client has %d circuits, want 2", n)
		}
		if s := c.status(); s.Networks[0].Refused != 0 {
			t.Errorf("STATUS = %+v, want no peer that refused", s)
		}
	})
}

// The circuits that are open stay after LEAVE, and belong to who joins anew.
func TestConnectAndLeave(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(welcomeStreams, 0)
		x, y := a.circuit(), b.circuit()
		fx, fy := a.further(x.Peer, ""), b.circuit()
		x.CloseWrite()
		y.CloseWrite()
		a.leave()
		b.leave()
		talk(t, fx, fy)
		a.join(announceAndLookUp, 0)
		b.join(welcomeStreams, 0)
		a.circuit()
		b.circuit()
		for _, c := range []*fakeClient{a, b} {
			if s := c.status(); s.Connected != 2 {
				t.Errorf("STATUS has %d connected, want 2", s.Connected)
			}
		}
		fx.CloseWrite()
		fy.CloseWrite()
		for _, c := range []*fakeClient{a, b} {
			wantCircuits(t, g, c, 1, 1)
			if s := c.status(); s.Connected != 1 {
				t.Errorf("STATUS has %d connected, want 1", s.Connected)
			}
		}
	})
}

// Two hundred at once get through to a healthy peer, and as many to a client.
func TestManyConnectsAtOnce(t *testing.T) {
	const n = 200
	ask := func(c *fakeClient, p wtproto.Peer) (asked []*fakeStream) {
		for i := range n {
			asked = append(asked, c.ask(p, string(rune(i))))
		}
		return asked
	}
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, peer := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(peer.sighting())
		first := c.circuit()
		peer.circuit()
		peer.answers(func(context.Context) error { <-time.After(50 * time.Millisecond); return nil })
		began := time.Now()
		asked := ask(c, first.Peer)
		for _, s := range asked {
			opened(t, s)
			peer.circuit()
		}
		if took := time.Since(began); took != 4*50*time.Millisecond { // 64 are dialed at once
			t.Errorf("it took %v, want 200ms", took)
		}
		for _, s := range asked {
			reset(s, 0x101)
		}
		wantCircuits(t, g, c, 1, 1)
	})
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(welcomeStreams, 0)
		x := a.circuit()
		b.circuit()
		for _, s := range ask(a, x.Peer) {
			f, y := opened(t, s), b.circuit()
			if _, err := io.ReadFull(y, make([]byte, len(string(rune(f.Circuit-2))))); err != nil {
				t.Fatal(err)
			}
			talk(t, f, y)
		}
		wantCircuits(t, g, a, n+1, n+1)
		wantCircuits(t, g, b, n+1, n+1)
		b.link.end(nil)
		wantCircuits(t, g, a, 0, 0)
	})
}

// Whoever asks a peer that hangs keeps nobody from others: neither the router, nor another
// client's CONNECT.
func TestConnectsToPeersThatHang(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, hangs := g.connect(), g.lan.peer("hangs")
		c.join(wtproto.JoinLookUp, 0)
		g.lan.see(hangs.sighting())
		first := c.circuit()
		hangs.circuit()
		hangs.waits()
		for range 200 {
			c.ask(first.Peer, "x")
		}
		if n := len(hangs.dialed()); n != 1+64 {
			t.Errorf("%d dials, want 65", n)
		}
		healthy := g.lan.peer("healthy")
		g.lan.see(healthy.sighting())
		c.circuit()
		healthy.circuit()
		o := g.connect()
		o.join(wtproto.JoinLookUp, 0)
		f := o.further(o.circuit().Peer, "") // with healthy, since the other one hangs
		if string(f.ID) != "healthy" {
			t.Errorf("the other client was connected with %q", f.ID)
		}
		for range 2 {
			pass(20 * time.Second)
			awake(c, o)
		}
		wantCircuits(t, g, c, 2, 4)
	})
}

// Further circuits that peers ask for are for clients that have said that they are welcome.
func TestPeersAskForFurtherCircuits(t *testing.T) {
	tally := newTally()
	inBubble(t, Config{MaxPairCircuits: 2, Observer: tally.observer()}, func(t *testing.T, g *bubble) {
		c, peer := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 1)
		in := peer.inbound(c.endpoint())
		g.lan.see(in.sighting(-1))
		first := c.circuit()
		ask := func() *fakeInbound {
			in := peer.inbound(c.endpoint())
			in.further = true
			g.lan.see(in.sighting(0))
			return in
		}
		wantAnswer := func(in *fakeInbound, want ...wtproto.Code) {
			t.Helper()
			if accepted, refused := in.answer(); accepted != 1-len(want) || !slices.Equal(refused, want) {
				t.Errorf("accepted %d times, refused with %v, want refused with %v", accepted, refused, want)
			}
		}
		wantAnswer(ask(), wtproto.CodeDeclined)
		c.join(welcomeStreams, 1)
		f := ask()
		wantAnswer(f)
		x := c.circuit()
		if x.Flags != wtproto.PeerFurther || string(x.ID) != "1" {
			t.Errorf("PEER = %+v", x.Peer)
		}
		talk(t, x, f.far)
		talk(t, first, in.far)
		wantAnswer(ask())
		wantAnswer(ask(), wtproto.CodeCircuitLimit)
		if tally.hits[LimitCircuitsPair] != 1 {
			t.Errorf("limits met: %v", tally.hits)
		}
		x.CancelWrite(0x105)
		x.CancelRead(0x105)
		wantReset(t, f.far, 0x105)
		wantAnswer(ask())
		if s := c.status(); s.Connected != 3 {
			t.Errorf("STATUS has %d connected, want 3", s.Connected)
		}
		wantAnswer(ask(), wtproto.CodeCircuitLimit)
		c.leave()
		wantAnswer(ask(), wtproto.CodeDeclined)
		wantCircuits(t, g, c, 3, 3)
	})
}

// The topic's loop may hear of a CONNECT before it hears of the JOIN, though the client has seen
// JOINED.
func TestConnectOvertakesTheJoin(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, o, peer := g.connect(), g.connect(), g.lan.peer("1")
		o.join(announceAndLookUp, 0)
		g.lan.see(peer.sighting())
		first := o.circuit()
		sub := newSubscription(c.session)
		if no := g.router.enter(sub, wowcool); no != nil {
			t.Fatal(no)
		}
		c.session.mu.Lock()
		c.session.joined[wowcool] = sub
		c.session.mu.Unlock()
		s := c.ask(first.Peer, "")
		if s.unread() > 0 {
			t.Error("it was answered before the JOIN")
		}
		g.router.subscribe(sub, wtproto.Join{Topic: wowcool, Flags: announceAndLookUp})
		opened(t, s)
	})
}

// A peer that the topic knows only by the circuit that it opened could not be asked for more.
func TestConnectToPeerWithoutSighting(t *testing.T) {
	for _, further := range []bool{false, true} {
		t.Run(fmt.Sprintf("further %v", further), func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				c, peer := g.connect(), g.lan.peer("1")
				c.join(welcomeStreams, 0)
				in := peer.inbound(c.endpoint())
				in.further = further
				s := in.sighting(0)
				s.Further = peer.dial
				g.lan.see(s)
				x := c.circuit()
				f := c.further(x.Peer, "")
				if want := wtproto.PeerInitiator | wtproto.PeerFurther; f.Flags != want || string(f.ID) != "1" {
					t.Errorf("PEER = %+v, want flags %v", f.Peer, want)
				}
				talk(t, f, peer.circuit())
				talk(t, x, in.far)
				o := g.connect() // has no circuit with it
				o.join(welcomeStreams, 0)
				wantRefused(t, o.ask(x.Peer, ""), wtproto.CodePeerUnreachable)
			})
		})
	}
}

// Offers that come and go would fill the control stream of a client that reads it slowly, whose
// session would end because of that.
func TestConnectsDoNotFloodAnotherClient(t *testing.T) {
	inBubble(t, Config{MaxControlBytes: 32 << 10}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(welcomeStreams, 0)
		x := a.circuit()
		b.circuit()
		b.link.grant(0)
		for range 1800 { // nobody reads b's control stream
			reset(a.ask(x.Peer, ""), wtproto.CodeNone)
			synctest.Wait()
		}
		wantRefused(t, a.ask(x.Peer, ""), wtproto.CodeBusy)
		a.lives()
		b.pending()
		b.lives()
		b.accept(expectOffer(t, a, b, x.Peer))
	})
}

// expectOffer has a ask for one more circuit, and returns what b is offered.
func expectOffer(t *testing.T, a, b *fakeClient, p wtproto.Peer) wtproto.Peer {
	t.Helper()
	a.ask(p, "")
	return expect[wtproto.Peer](b)
}
