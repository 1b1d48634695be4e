package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/quicvarint"

	"github.com/swarmgate/swarmgate/wtproto"
)

// raw is a frame of any type.
type raw struct {
	typ     wtproto.Type
	payload string
}

func (r raw) Append(b []byte) []byte {
	b = quicvarint.Append(b, uint64(r.typ))
	b = quicvarint.Append(b, uint64(len(r.payload)))
	return append(b, r.payload...)
}

// bytesOf is bytes that are not a whole frame.
type bytesOf string

func (s bytesOf) Append(b []byte) []byte { return append(b, s...) }

const unknownType = 0x1234

func TestWelcome(t *testing.T) {
	hashes := [][32]byte{{1}, {2}}
	inBubble(t, Config{Agent: "mine", MaxTopics: 3, MaxCircuits: -1, Hashes: func() [][32]byte { return hashes }}, func(t *testing.T, g *bubble) {
		c := g.dial()
		c.hello()
		w := expect[wtproto.Welcome](c)
		if w.Version != wtproto.Version || w.Session != c.session.id || w.MaxTopics != 3 || w.MaxCircuits != 0 || len(w.Hashes) != 2 || w.Agent != "mine" {
			t.Errorf("welcomed with %+v", w)
		}
		if w.Session == (wtproto.SessionID{}) || g.Sessions() != 1 {
			t.Errorf("session %v, one of %d", w.Session, g.Sessions())
		}
		c.lives()
	})
}

// A client may want fewer circuits than the gateway allows, and never gets more. One peer leaves
// places to others then too.
func TestClientWantsFewerCircuits(t *testing.T) {
	for _, tt := range []struct {
		allowed int
		wanted  uint64
		told    uint64
		pair    int
	}{
		{0, 0, 256, 224},
		{0, 190, 190, 167},
		{0, 256, 256, 224},
		{0, 1, 1, 1},
		{0, 1<<62 - 1, 256, 224},
		{-1, 0, 0, -1},
		{-1, 16, 16, 14},
		{4, 16, 4, 4},
	} {
		inBubble(t, Config{MaxCircuits: tt.allowed}, func(t *testing.T, g *bubble) {
			c := g.wanting(tt.wanted)
			if w := expect[wtproto.Welcome](c); w.MaxCircuits != tt.told || c.session.maxPairCircuits != tt.pair {
				t.Errorf("allowed %d, wanted %d: WELCOME tells %d, and %d with a peer; want %d, %d", tt.allowed, tt.wanted, w.MaxCircuits, c.session.maxPairCircuits, tt.told, tt.pair)
			}
		})
	}
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.wanting(3)
		expect[wtproto.Welcome](c)
		c.join(announceAndLookUp, 0)
		for _, id := range []string{"1", "2"} {
			g.lan.see(g.lan.peer(id).sighting())
		}
		first := c.circuit()
		c.circuit()
		c.further(first.Peer, "")
		wantRefused(t, c.ask(first.Peer, ""), wtproto.CodeCircuitLimit)
		g.lan.see(g.lan.peer("3").sighting())
		synctest.Wait()
		if n := c.session.circuits(); n != 3 {
			t.Errorf("%d circuits of a client that wants 3", n)
		}
	})
}

// wanting connects a client that wants so many circuits at most.
func (g *bubble) wanting(circuits uint64) *fakeClient {
	c := g.dial()
	c.control = c.link.dial()
	c.frames = wtproto.NewReader(c.control)
	c.send(wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: c.secret, Circuits: circuits})
	return c
}

// A client that speaks a later version too is answered with ours.
func TestWelcomeOfLaterVersion(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.dial()
		c.control = c.link.dial()
		c.frames = wtproto.NewReader(c.control)
		c.send(wtproto.Hello{Version: 99, Flags: 1 << 60, Credit: wtproto.MinCredit, Secret: c.secret})
		if w := expect[wtproto.Welcome](c); w.Version != wtproto.Version {
			t.Errorf("version %d chosen, want %d", w.Version, wtproto.Version)
		}
		c.lives()
	})
}

// The first frame of a stream says what the stream is, and a wrong one ends the session with a
// code and nothing else.
func TestFirstFrame(t *testing.T) {
	hello := func(change func(*wtproto.Hello)) message {
		h := wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: wtproto.Secret{99}}
		change(&h)
		return h
	}
	for _, test := range []struct {
		name    string
		greeted bool // it comes after a HELLO
		first   message
		want    wtproto.Code
	}{
		{"no common version", false, hello(func(h *wtproto.Hello) { h.Version = 0 }), wtproto.CodeVersion},
		{"too little credit", false, hello(func(h *wtproto.Hello) { h.Credit = wtproto.MinCredit - 1 }), wtproto.CodeProtocol},
		{"a token too long", false, hello(func(h *wtproto.Hello) { h.Token = make([]byte, wtproto.MaxToken+1) }), wtproto.CodeTooLarge},
		{"a short HELLO", false, raw{wtproto.TypeHello, "\x01\x00"}, wtproto.CodeProtocol},
		{"an empty HELLO", false, raw{wtproto.TypeHello, ""}, wtproto.CodeProtocol},
		{"JOIN", false, wtproto.Join{}, wtproto.CodeProtocol},
		{"PING", false, wtproto.Ping{}, wtproto.CodeProtocol},
		{"WELCOME", false, wtproto.Welcome{}, wtproto.CodeProtocol},
		{"PEER", false, wtproto.Peer{Circuit: 1}, wtproto.CodeProtocol},
		{"MEET", false, wtproto.Meet{}, wtproto.CodeProtocol},
		{"an unknown frame", false, raw{unknownType, ""}, wtproto.CodeProtocol},
		{"an oversized frame", false, bytesOf("\x01\x80\x00\x40\x01"), wtproto.CodeTooLarge},
		{"an oversized frame of an unknown type", false, bytesOf("\x52\x34\xff\xff\xff\xff\xff\xff\xff\xff"), wtproto.CodeTooLarge},
		{"ACCEPT before HELLO", false, wtproto.Accept{Circuit: 1}, wtproto.CodeProtocol},
		{"a second HELLO", true, hello(func(*wtproto.Hello) {}), wtproto.CodeProtocol},
		{"ACCEPT of an id never given", true, wtproto.Accept{Circuit: 1}, wtproto.CodeProtocol},
		{"ACCEPT of circuit 0", true, raw{wtproto.TypeAccept, "\x00"}, wtproto.CodeProtocol},
		{"an empty ACCEPT", true, raw{wtproto.TypeAccept, ""}, wtproto.CodeProtocol},
		{"CONNECT before HELLO", false, wtproto.Connect{Topic: wowcool}, wtproto.CodeProtocol},
		{"a short CONNECT", true, raw{wtproto.TypeConnect, strings.Repeat("t", 31)}, wtproto.CodeProtocol},
		{"CONNECT with a network too long", true, raw{wtproto.TypeConnect, strings.Repeat("t", 32) + "\x00\x40\x41"}, wtproto.CodeTooLarge},
		{"REFUSED", true, wtproto.Refused{}, wtproto.CodeProtocol},
		{"JOIN on a second stream", true, wtproto.Join{}, wtproto.CodeProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				other := g.connect()
				c := g.dial()
				if test.greeted {
					c.hello()
					expect[wtproto.Welcome](c)
				}
				s := c.link.dial()
				if _, err := s.Write(test.first.Append(nil)); err != nil {
					t.Fatal(err)
				}
				c.ends(test.want)
				other.lives()
				if n := g.Sessions(); n != 1 {
					t.Errorf("%d sessions, want the other one", n)
				}
			})
		})
	}
}

// A stream that ends within its first frame ends the session, one that says nothing, or is reset,
// ends alone.
func TestFirstFrameMissing(t *testing.T) {
	for _, test := range []struct {
		name string
		sent string
		end  func(*fakeStream)
		want wtproto.Code // of the session; CodeNone if it goes on
	}{
		{"FIN at once", "", func(s *fakeStream) { s.CloseWrite() }, wtproto.CodeNone},
		{"FIN in the type", "\x52", func(s *fakeStream) { s.CloseWrite() }, wtproto.CodeProtocol},
		{"FIN in the length", "\x09", func(s *fakeStream) { s.CloseWrite() }, wtproto.CodeProtocol},
		{"FIN in the payload", "\x09\x02\x40", func(s *fakeStream) { s.CloseWrite() }, wtproto.CodeProtocol},
		{"reset at once", "", func(s *fakeStream) { reset(s, wtproto.CodeLeft) }, wtproto.CodeNone},
		{"reset in the frame", "\x09\x02", func(s *fakeStream) { reset(s, wtproto.CodeLeft) }, wtproto.CodeNone},
		{"reset with a code of the protocol's errors", "\x09\x02", func(s *fakeStream) { reset(s, wtproto.CodeProtocol) }, wtproto.CodeNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				c := g.connect()
				s := c.link.dial()
				if _, err := s.Write([]byte(test.sent)); err != nil {
					t.Fatal(err)
				}
				test.end(s)
				if test.want != wtproto.CodeNone {
					c.ends(test.want)
					return
				}
				c.lives()
			})
		})
	}
}

func TestFirstFrameTimeout(t *testing.T) {
	for _, sent := range []string{"", "\x09\x02"} {
		inBubble(t, Config{FirstFrameTimeout: 7 * time.Second}, func(t *testing.T, g *bubble) {
			c := g.connect()
			s := c.link.dial()
			s.Write([]byte(sent))
			pass(7*time.Second - 1)
			if err := s.failure(); err != nil {
				t.Errorf("after %q: the stream ended early with %v", sent, err)
			}
			pass(1)
			wantReset(t, s, wtproto.CodeIdle)
			c.lives()
		})
	}
}

func TestControlFrameEndsSession(t *testing.T) {
	for _, test := range []struct {
		name string
		send message
		want wtproto.Code
	}{
		{"a second HELLO", wtproto.Hello{Version: 1, Credit: 4096}, wtproto.CodeProtocol},
		{"ACCEPT", wtproto.Accept{Circuit: 1}, wtproto.CodeProtocol},
		{"CONNECT", wtproto.Connect{}, wtproto.CodeProtocol},
		{"REFUSED", wtproto.Refused{}, wtproto.CodeProtocol},
		{"WELCOME", wtproto.Welcome{}, wtproto.CodeProtocol},
		{"JOINED", wtproto.Joined{}, wtproto.CodeProtocol},
		{"LEFT", wtproto.Left{}, wtproto.CodeProtocol},
		{"STATUS", wtproto.Status{}, wtproto.CodeProtocol},
		{"PEER", wtproto.Peer{Circuit: 1}, wtproto.CodeProtocol},
		{"WITHDRAW", wtproto.Withdraw{Circuit: 1}, wtproto.CodeProtocol},
		{"MEET of hosts", wtproto.Meet{}, wtproto.CodeProtocol},
		{"OPENED of hosts", wtproto.Opened{}, wtproto.CodeProtocol},
		{"JOIN with a short topic", raw{wtproto.TypeJoin, strings.Repeat("t", 31)}, wtproto.CodeProtocol},
		{"JOIN with too many networks", raw{wtproto.TypeJoin, strings.Repeat("t", 32) + "\x03\x00\x11"}, wtproto.CodeTooLarge},
		{"JOIN without max peers", raw{wtproto.TypeJoin, strings.Repeat("t", 32) + "\x03"}, wtproto.CodeProtocol},
		{"LEAVE with a short topic", raw{wtproto.TypeLeave, "t"}, wtproto.CodeProtocol},
		{"a short PING", raw{wtproto.TypePing, "1234567"}, wtproto.CodeProtocol},
		{"a short PONG", raw{wtproto.TypePong, "1234567"}, wtproto.CodeProtocol},
		{"an empty GOAWAY", raw{wtproto.TypeGoaway, ""}, wtproto.CodeProtocol},
		{"a short CREDIT", raw{wtproto.TypeCredit, "\x01"}, wtproto.CodeProtocol},
		{"a short DECLINE", raw{wtproto.TypeDecline, "\x01"}, wtproto.CodeProtocol},
		{"CREDIT for an id never given", wtproto.Credit{Circuit: 1, Offset: 1}, wtproto.CodeProtocol},
		{"CREDIT for circuit 0", wtproto.Credit{}, wtproto.CodeProtocol},
		{"DECLINE of an id never given", wtproto.Decline{Circuit: 7}, wtproto.CodeProtocol},
		{"an oversized frame", bytesOf("\x03\x80\x00\x40\x01"), wtproto.CodeTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				other, c := g.connect(), g.connect()
				c.send(test.send)
				c.ends(test.want)
				other.lives()
			})
		})
	}
}

// What an older gateway does not know, a later client may send.
func TestControlFrameIsSkipped(t *testing.T) {
	for name, frame := range map[string]message{
		"unknown":                 raw{unknownType, "anything"},
		"unknown and empty":       raw{unknownType, ""},
		"unknown and the longest": raw{unknownType, strings.Repeat("x", wtproto.MaxPayload)},
		"JOIN with more at its end": raw{
			wtproto.TypeJoin, string(wowcool[:]) + "\x00\x00\x00" + "later fields",
		},
		"PONG that nobody asked for": wtproto.Pong{},
		"LEAVE of what was not joined": wtproto.Leave{
			Topic: wtproto.TopicFromName("other"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				c := g.connect()
				c.send(frame, wtproto.Ping{})
				m := c.next()
				if j, ok := m.(wtproto.Joined); ok && j.Topic == wowcool && strings.HasPrefix(name, "JOIN") {
					m = expect[wtproto.Pong](c)
				}
				if _, ok := m.(wtproto.Pong); !ok {
					t.Errorf("answered with %T %+v, want nothing", m, m)
				}
			})
		})
	}
}

func TestControlStreamEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*fakeClient)
		want wtproto.Code
	}{
		{"within a frame", func(c *fakeClient) {
			c.send(bytesOf("\x03\x22"))
			c.control.CloseWrite()
		}, wtproto.CodeProtocol},
		{"between frames", func(c *fakeClient) { c.control.CloseWrite() }, wtproto.CodeNone},
		{"with a reset", func(c *fakeClient) { c.control.CancelWrite(wtproto.CodeInternal) }, wtproto.CodeNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				c := g.connect()
				test.end(c)
				c.ends(test.want)
			})
		})
	}
}

// A client that ends its reading of the control stream is noticed at the next frame.
func TestControlStreamNotWanted(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.control.CancelRead(wtproto.CodeInternal)
		c.send(wtproto.Ping{})
		c.ends(wtproto.CodeNone)
	})
}

func TestLinkLost(t *testing.T) {
	for name, dial := range map[string]func(*bubble) *fakeClient{"before HELLO": (*bubble).dial, "later": (*bubble).connect} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				c := dial(g)
				synctest.Wait()
				c.link.end(nil)
				if err := receive(t, c.returned, "return of run"); err.Code != wtproto.CodeNone || !err.Remote {
					t.Errorf("run = %v, want NONE, and that the client decided", err)
				}
				if n := g.Sessions(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
			})
		})
	}
}

func TestOriginRefused(t *testing.T) {
	cfg := Config{Origins: []string{"https://app.example"}}
	inBubble(t, cfg, func(t *testing.T, g *bubble) {
		evil := g.dialFrom("https://evil.example")
		evil.ends(wtproto.CodeForbidden)
		if !strings.Contains(evil.link.closedWith.Reason, "https://evil.example") {
			t.Errorf("reason %q, want the origin in it", evil.link.closedWith.Reason)
		}
		for _, origin := range []string{"", "https://app.example"} {
			c := g.dialFrom(origin)
			c.hello()
			expect[wtproto.Welcome](c)
		}
	})
}

// The newest session with a secret is the client; the older is a ghost.
func TestReplaced(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		old, other := g.connect(), g.connect()
		c := g.dial()
		c.secret = old.secret
		c.hello()
		expect[wtproto.Welcome](c)
		old.ends(wtproto.CodeReplaced)
		c.lives()
		other.lives()
		again := g.dial()
		again.secret = old.secret
		again.hello()
		expect[wtproto.Welcome](again)
		c.ends(wtproto.CodeReplaced)
		again.lives()
		if n := g.Sessions(); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
	})
}

func TestCloseEndsSessions(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		silent, greeted, joined := g.dial(), g.connect(), g.connect()
		joined.join(announceAndLookUp, 0)
		g.Close()
		for _, c := range []*fakeClient{silent, greeted, joined} {
			c.ends(wtproto.CodeShutdown)
		}
	})
}
