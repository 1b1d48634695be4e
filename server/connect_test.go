package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const welcomeStreams = announceAndLookUp | wtproto.JoinStreams

// ask opens a stream with CONNECT for a peer as PEER told it, and early bytes behind it.
func (c *fakeClient) ask(p wtproto.Peer, early string) *fakeStream {
	c.t.Helper()
	s := c.link.dial()
	m := wtproto.Connect{Topic: p.Topic, Network: p.Network, ID: p.ID}
	if _, err := s.Write(append(m.Append(nil), early...)); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
	return s
}

// further is ask, and the circuit that comes of it.
func (c *fakeClient) further(p wtproto.Peer, early string) fakeCircuit {
	c.t.Helper()
	return opened(c.t, c.ask(p, early))
}

// opened returns the circuit that s has become.
func opened(t *testing.T, s *fakeStream) fakeCircuit {
	t.Helper()
	typ, payload := firstFrame(t, s)
	p, ok := parseMessage(t, typ, payload).(wtproto.Peer)
	if !ok {
		t.Fatalf("CONNECT was answered with %v %+v", typ, parseMessage(t, typ, payload))
	}
	return fakeCircuit{p, s}
}

func firstFrame(t *testing.T, s *fakeStream) (wtproto.Type, []byte) {
	t.Helper()
	s.SetReadDeadline(time.Now().Add(time.Hour))
	defer s.SetReadDeadline(time.Time{})
	typ, payload, err := wtproto.NewReader(s).Next()
	if err != nil {
		t.Fatalf("reading the answer to CONNECT: %v", err)
	}
	return typ, payload
}

// wantRefused checks that s was refused with code and a reason, and is over both ways.
func wantRefused(t *testing.T, s *fakeStream, code wtproto.Code) {
	t.Helper()
	typ, payload := firstFrame(t, s)
	m, ok := parseMessage(t, typ, payload).(wtproto.Refused)
	if !ok || m.Code != code || m.Reason == "" {
		t.Errorf("CONNECT was answered with %v %+v, want REFUSED with %v and a reason", typ, m, code)
	}
	synctest.Wait()
	if n, err := s.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("after REFUSED: Read = %d, %v, want EOF", n, err)
	}
	if e, ok := errors.AsType[*wtproto.Error](s.stopped()); !ok || e.Code != code {
		t.Errorf("after REFUSED: Write fails with %v, want %v", s.stopped(), code)
	}
}

// wantCircuits checks how many circuits a session and the loop of wowcool count.
func wantCircuits(t *testing.T, g *bubble, c *fakeClient, session, topic int) {
	t.Helper()
	synctest.Wait()
	if n := c.session.circuits(); n != session {
		t.Errorf("the session has %d circuits, want %d", n, session)
	}
	topics := g.Topics()
	if i := slices.IndexFunc(topics, func(s TopicStatus) bool { return s.Topic == wowcool }); i < 0 || topics[i].Circuits != topic {
		t.Errorf("the topic has %+v, want %d circuits", topics, topic)
	}
}

func TestConnectToPeer(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, peer := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 1) // a further circuit is not one of the max peers
		g.lan.see(peer.sighting())
		first := c.circuit()
		end := peer.circuit()
		if first.Flags&wtproto.PeerFurther != 0 {
			t.Errorf("the first circuit has flags %v", first.Flags)
		}
		f := c.further(first.Peer, "")
		fend := peer.circuit()
		want := wtproto.Peer{Circuit: 2, Topic: wowcool, Flags: wtproto.PeerInitiator | wtproto.PeerFurther, Network: "lan", ID: []byte("1")}
		if !peersEqual(f.Peer, want) {
			t.Errorf("PEER = %+v, want %+v", f.Peer, want)
		}
		talk(t, first, end)
		talk(t, f, fend)
		if s := c.status(); s.Connected != 2 {
			t.Errorf("STATUS has %d connected, want 2", s.Connected)
		}
		wantCircuits(t, g, c, 2, 2)

		// Each ends alone, and none is made again.
		f.CancelWrite(0x107)
		f.CancelRead(0x107)
		wantReset(t, fend, 0x107)
		talk(t, first, end)
		wantCircuits(t, g, c, 1, 1)
		if s := c.status(); s.Connected != 1 {
			t.Errorf("STATUS has %d connected, want 1", s.Connected)
		}
		fend2 := c.further(first.Peer, "")
		first.CloseWrite()
		end.CloseWrite()
		talk(t, fend2, peer.circuit())
		pass(30 * time.Second)
		if n := len(peer.dialed()); n != 3 {
			t.Errorf("the peer was dialed %d times, want 3", n)
		}

		// After the end of the first one too.
		fend3 := c.further(first.Peer, "")
		talk(t, fend3, peer.circuit())
		wantCircuits(t, g, c, 2, 2)
	})
}

func peersEqual(a, b wtproto.Peer) bool {
	return string(a.Append(nil)) == string(b.Append(nil))
}

// What follows CONNECT waits for the answer, its end too.
func TestConnectWithEarlyBytes(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, peer := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(peer.sighting())
		first := c.circuit()
		peer.circuit()
		release := peer.waits()
		s := c.ask(first.Peer, "early")
		if _, err := io.WriteString(s, " and more"); err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		pass(5 * time.Second)
		if n := s.unread(); n > 0 {
			t.Errorf("%d bytes came before the peer had answered", n)
		}
		release()
		f, end := opened(t, s), peer.circuit()
		if b, err := io.ReadAll(end); string(b) != "early and more" || err != nil {
			t.Errorf("the peer got %q, %v", b, err)
		}
		io.WriteString(end, "thanks")
		end.CloseWrite()
		if b, err := io.ReadAll(f); string(b) != "thanks" || err != nil {
			t.Errorf("the client got %q, %v", b, err)
		}
		wantCircuits(t, g, c, 1, 1)
	})
}

func TestConnectToClient(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		x, y := a.circuit(), b.circuit()
		wantRefused(t, a.ask(x.Peer, "hello"), wtproto.CodeDeclined) // b has not said that they are welcome
		wantCircuits(t, g, a, 1, 1)

		b.join(welcomeStreams, 0)
		s := a.ask(x.Peer, "hello")
		fx, fy := opened(t, s), b.circuit()
		aID, bID := a.endpoint(), b.endpoint()
		wantX := wtproto.Peer{Circuit: 2, Topic: wowcool, Flags: wtproto.PeerInitiator | wtproto.PeerClient | wtproto.PeerFurther, Network: "client", ID: bID[:]}
		wantY := wtproto.Peer{Circuit: 2, Topic: wowcool, Flags: wtproto.PeerClient | wtproto.PeerFurther, Network: "client", ID: aID[:]}
		if !peersEqual(fx.Peer, wantX) || !peersEqual(fy.Peer, wantY) {
			t.Errorf("PEER = %+v and %+v, want %+v and %+v", fx.Peer, fy.Peer, wantX, wantY)
		}
		if got := make([]byte, 5); true {
			if _, err := io.ReadFull(fy, got); string(got) != "hello" || err != nil {
				t.Errorf("early bytes: %q, %v", got, err)
			}
		}
		talk(t, fx, fy)
		talk(t, x, y)
		if s := b.status(); s.Connected != 2 {
			t.Errorf("STATUS has %d connected, want 2", s.Connected)
		}
		fy.CancelRead(0x123)
		fy.CancelWrite(0x123)
		wantReset(t, fx.fakeStream, 0x123)
		talk(t, x, y)

		// After the end of the first one.
		x.CloseWrite()
		y.CloseWrite()
		wantCircuits(t, g, a, 0, 0)
		fx = a.further(x.Peer, "")
		talk(t, fx, b.circuit())
		pass(30 * time.Second)
		awake(a, b)
		wantCircuits(t, g, b, 1, 1)
	})
}

// A client whose link has no credit for streams gets a further circuit as an offer.
func TestConnectIsOffered(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(welcomeStreams, 0)
		x := a.circuit()
		b.circuit()
		b.link.grant(0)

		s := a.ask(x.Peer, "")
		offer := expect[wtproto.Peer](b)
		if offer.Flags != wtproto.PeerClient|wtproto.PeerFurther {
			t.Errorf("the offer has flags %v", offer.Flags)
		}
		y := b.accept(offer)
		talk(t, opened(t, s), y)

		s = a.ask(x.Peer, "")
		b.send(wtproto.Decline{Circuit: expect[wtproto.Peer](b).Circuit, Code: wtproto.CodeDeclined})
		wantRefused(t, s, wtproto.CodeDeclined)

		s = a.ask(x.Peer, "")
		offer = expect[wtproto.Peer](b)
		pass(10 * time.Second)
		if w := expect[wtproto.Withdraw](b); w.Circuit != offer.Circuit || w.Code != wtproto.CodeWithdrawn {
			t.Errorf("got %+v", w)
		}
		wantRefused(t, s, wtproto.CodePeerUnreachable)

		s = a.ask(x.Peer, "")
		offer = expect[wtproto.Peer](b)
		reset(s, wtproto.CodeNone)
		if w := expect[wtproto.Withdraw](b); w.Circuit != offer.Circuit || w.Code != wtproto.CodeWithdrawn {
			t.Errorf("got %+v", w)
		}
		wantCircuits(t, g, a, 2, 2)
		wantCircuits(t, g, b, 2, 2)
	})
}

// A CONNECT that is taken back leaves nothing behind, wherever it was.
func TestConnectTakenBack(t *testing.T) {
	inBubble(t, Config{SessionDials: 1, Dials: -1}, func(t *testing.T, g *bubble) {
		c, peer := g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(peer.sighting())
		first := c.circuit()
		peer.circuit()
		release := peer.waits()
		var asked []*fakeStream
		for range 8 { // four of them are dialed
			asked = append(asked, c.ask(first.Peer, "x"))
		}
		wantCircuits(t, g, c, 9, 1)
		if n := len(peer.dialed()); n != 5 {
			t.Fatalf("%d dials, want 5", n)
		}
		for _, s := range []*fakeStream{asked[0], asked[7]} { // one that runs, one that waits
			reset(s, 0x101)
		}
		wantCircuits(t, g, c, 7, 1)
		if n := len(peer.dialed()); n != 6 {
			t.Errorf("%d dials, want 6: one had its turn", n)
		}
		for _, s := range asked[1:7] {
			reset(s, wtproto.CodeNone)
		}
		wantCircuits(t, g, c, 1, 1)
		release()
		if n := len(peer.ends); n > 0 {
			t.Errorf("%d circuits with the peer are left", n)
		}

		// The peer has answered meanwhile.
		peer.answers(func(context.Context) error { <-time.After(time.Second); return nil }) // whatever ctx says
		s := c.ask(first.Peer, "x")
		reset(s, 0x101)
		wantReset(t, peer.circuit(), wtproto.CodeWithdrawn)
		wantCircuits(t, g, c, 1, 1)

		// Only one direction ended: it is noticed when the circuit is open.
		s = c.ask(first.Peer, "x")
		s.CancelWrite(0x101)
		wantReset(t, peer.circuit(), 0x101)
		wantCircuits(t, g, c, 1, 1)
		c.lives()
	})
}

// The end of a session ends its CONNECTs, and does not wait for networks.
func TestConnectAndTheEndOfTheSession(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b, peer := g.connect(), g.connect(), g.lan.peer("1")
		a.join(announceAndLookUp, 0)
		b.join(welcomeStreams, 0)
		x := a.circuit()
		b.circuit()
		g.lan.see(peer.sighting())
		first := a.circuit()
		peer.circuit()
		b.circuit()
		peer.circuit()
		hangs := make(chan struct{})
		peer.answers(func(context.Context) error { <-hangs; return nil }) // ctx is not heard
		a.ask(first.Peer, "x")
		b.link.grant(0)
		a.ask(x.Peer, "x")
		offer := expect[wtproto.Peer](b)
		a.link.end(nil)
		receive(t, a.returned, "return of run")
		if w := expect[wtproto.Withdraw](b); w.Circuit != offer.Circuit || w.Code != wtproto.CodePeerGone {
			t.Errorf("got %+v", w)
		}
		close(hangs)
		wantReset(t, peer.circuit(), wtproto.CodePeerGone)
		wantCircuits(t, g, b, 1, 1)
	})
}

func TestConnectIsRefused(t *testing.T) {
	stranger := wtproto.Peer{Topic: wowcool, Network: "lan", ID: []byte("nobody")}
	for name, test := range map[string]struct {
		cfg  Config
		ask  func(t *testing.T, g *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream
		want wtproto.Code
	}{
		"not joined": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			first.Topic[0]++
			return c.ask(first, "x")
		}, want: wtproto.CodeLeft},
		"left": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			c.leave()
			return c.ask(first, "x")
		}, want: wtproto.CodeLeft},
		"left meanwhile": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.waits()
			s := c.ask(first, "x")
			c.leave()
			return s
		}, want: wtproto.CodeLeft},
		"unknown peer": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, _ wtproto.Peer) *fakeStream {
			return c.ask(stranger, "x")
		}, want: wtproto.CodePeerUnreachable},
		"unknown client": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, _ wtproto.Peer) *fakeStream {
			return c.ask(wtproto.Peer{Topic: wowcool, Network: "client", ID: make([]byte, 16)}, "x")
		}, want: wtproto.CodePeerUnreachable},
		"itself": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, _ wtproto.Peer) *fakeStream {
			id := c.endpoint()
			return c.ask(wtproto.Peer{Topic: wowcool, Network: "client", ID: id[:]}, "x")
		}, want: wtproto.CodePeerUnreachable},
		"no id": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, _ wtproto.Peer) *fakeStream {
			return c.ask(wtproto.Peer{Topic: wowcool, Network: "client"}, "x")
		}, want: wtproto.CodePeerUnreachable},
		"clients apart": {cfg: Config{IsolateClients: true}, ask: func(_ *testing.T, g *bubble, c *fakeClient, _ *fakePeer, _ wtproto.Peer) *fakeStream {
			o := g.connect()
			o.join(welcomeStreams, 0)
			id := o.endpoint()
			return c.ask(wtproto.Peer{Topic: wowcool, Network: "client", ID: id[:]}, "x")
		}, want: wtproto.CodeForbidden},
		"one stream only": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.refuses(wtproto.CodeDeclined)
			return c.ask(first, "x")
		}, want: wtproto.CodeDeclined},
		"peer leaves": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.refuses(wtproto.CodeLeft)
			return c.ask(first, "x")
		}, want: wtproto.CodePeerGone},
		"peer's gateway ends": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.refuses(wtproto.CodeShutdown)
			return c.ask(first, "x")
		}, want: wtproto.CodePeerGone},
		"peer without a reason": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.answers(func(context.Context) error { return errors.New("of the network") })
			return c.ask(first, "x")
		}, want: wtproto.CodePeerUnreachable},
		"no answer": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.waits()
			return c.ask(first, "x")
		}, want: wtproto.CodePeerUnreachable},
		"not reachable": {ask: func(_ *testing.T, g *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			s := peer.sighting()
			s.Dial, s.Further = nil, nil
			g.lan.see(s)
			return c.ask(first, "x")
		}, want: wtproto.CodePeerUnreachable},
		"found for others": {ask: func(_ *testing.T, g *bubble, _ *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			o := g.connect()
			o.join(wtproto.JoinAnnounce, 0)
			return o.ask(first, "x")
		}, want: wtproto.CodePeerUnreachable},
		"session full": {cfg: Config{MaxCircuits: 1}, ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			return c.ask(first, "x")
		}, want: wtproto.CodeCircuitLimit},
		"pair full": {cfg: Config{MaxPairCircuits: 1}, ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			c.further(first, "")
			return c.ask(first, "x")
		}, want: wtproto.CodeCircuitLimit},
		"memory is short": {ask: func(_ *testing.T, g *bubble, c *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			g.router.memory.isFull.Store(true)
			defer g.router.memory.isFull.Store(false)
			return c.ask(first, "x")
		}, want: wtproto.CodeBusy},
		"dials in vain": {cfg: Config{FailedDials: 4}, ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			peer.refuses(wtproto.CodePeerUnreachable)
			for range 4 {
				c.ask(first, "x")
			}
			return c.ask(first, "x")
		}, want: wtproto.CodeRateLimited},
		"after GOAWAY": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, _ *fakePeer, first wtproto.Peer) *fakeStream {
			c.session.goAway(time.Second, "restart")
			expect[wtproto.Goaway](c)
			return c.ask(first, "x")
		}, want: wtproto.CodeShutdown},
		"GOAWAY meanwhile": {ask: func(_ *testing.T, _ *bubble, c *fakeClient, peer *fakePeer, first wtproto.Peer) *fakeStream {
			release := peer.waits()
			s := c.ask(first, "x")
			c.session.goAway(time.Second, "restart")
			expect[wtproto.Goaway](c)
			release()
			return s
		}, want: wtproto.CodeShutdown},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, test.cfg, func(t *testing.T, g *bubble) {
				c, peer := g.connect(), g.lan.peer("1")
				c.join(announceAndLookUp, 0)
				g.lan.see(peer.sighting())
				first := c.circuit()
				end := peer.circuit()
				wantRefused(t, test.ask(t, g, c, peer, first.Peer), test.want)
				talk(t, first, end)
				c.lives()
			})
		})
	}
}
