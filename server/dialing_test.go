package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// gaps returns the times between dials.
func gaps(dials []fakeDial) []time.Duration {
	var out []time.Duration
	for i := range dials {
		if i > 0 {
			out = append(out, dials[i].at.Sub(dials[i-1].at))
		}
	}
	return out
}

// joiners returns n clients that have joined wowcool to look up, so that they want peers and not
// each other.
func (g *bubble) joiners(n int) (cs []*fakeClient) {
	g.t.Helper()
	for range n {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 0)
		cs = append(cs, c)
	}
	return cs
}

// A peer gets one dial until it has answered once, then one for each subscriber and no more;
// nothing is shown to clients before.
func TestOneDialUntilAnswered(t *testing.T) {
	inBubble(t, Config{DialTimeout: time.Hour, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		const clients = 5
		cs := g.joiners(clients)
		p := g.lan.peer("1")
		release := p.waits()
		g.lan.see(p.sighting(), p.sighting())
		cs = append(cs, g.joiners(1)...)
		pass(time.Minute)
		if n := len(p.dialed()); n != 1 {
			t.Errorf("%d dials of a peer that has not answered, want 1", n)
		}
		for _, c := range cs {
			if n := c.streams(); n != 0 {
				t.Errorf("a client got %d streams before the peer answered", n)
			}
		}
		if s := cs[0].status(); s.Known != clients+1 || s.Connected != 0 || s.Networks[0].Connecting != 1 {
			t.Errorf("STATUS %+v, want %d known, 0 connected, 1 connecting", s, clients+1)
		}
		release()
		from := make(map[wtproto.EndpointID]bool)
		for _, d := range p.dialed() {
			from[d.from] = true
		}
		for _, c := range cs {
			if !from[c.endpoint()] {
				t.Errorf("the peer was not dialed for %v", c.endpoint())
			}
			x := c.circuit()
			if string(x.ID) != "1" || x.Network != "lan" || x.Flags != wtproto.PeerInitiator || x.Topic != wowcool {
				t.Errorf("told %+v", x.Peer)
			}
		}
		g.lan.see(p.sighting(), p.sighting())
		pass(time.Minute)
		if n := len(p.dialed()); n != clients+1 || len(p.ends) != clients+1 {
			t.Errorf("%d dials and %d circuits, want %d and no more", n, len(p.ends), clients+1)
		}
		for _, c := range cs {
			if n := c.streams(); n != 0 {
				t.Errorf("%d more streams than one", n)
			}
		}
	})
}

// Once a peer has answered, it is dialed for all at the same time.
func TestDialsAfterAnswer(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		g.joiners(1)
		p := g.lan.peer("1")
		g.lan.see(p.sighting())
		release := p.waits()
		defer release()
		g.joiners(3)
		if n := len(p.dialed()); n != 4 {
			t.Errorf("%d dials, want 4", n)
		}
	})
}

// A dial that waits for its turn when its client leaves is one for the others.
func TestDialOfClientThatLeft(t *testing.T) {
	inBubble(t, Config{TopicDials: 1}, func(t *testing.T, g *bubble) {
		a := g.joiners(1)[0]
		slow, p := g.lan.peer("slow"), g.lan.peer("1")
		release := slow.waits()
		g.lan.see(slow.sighting(), p.sighting())
		b := g.joiners(1)[0]
		a.leave()
		release()
		if d := p.dialed(); len(d) != 1 || d[0].from != b.endpoint() {
			t.Errorf("dialed %+v, want once, for the client that stayed", d)
		}
	})
}

// A failed dial backs the peer off for every subscriber: jittered, doubling from a second to two
// minutes.
func TestFailedDialsBackOff(t *testing.T) {
	for seed := range 5 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, Config{Idle: 100 * time.Hour}, func(t *testing.T, g *bubble) {
				g.joiners(4)
				p := g.lan.peer("1")
				p.refuses(wtproto.CodePeerUnreachable)
				g.lan.see(p.sighting())
				pass(time.Hour)
				g.joiners(1) // which changes nothing
				low := time.Second
				all := gaps(p.dialed())
				for i, gap := range all {
					if gap < low || gap > 2*low {
						t.Errorf("dial %d after %v, want %v to %v", i+2, gap, low, 2*low)
					}
					low = min(2*low, time.Minute)
				}
				if len(all) < 30 {
					t.Errorf("%d dials in an hour, want 30 at least", len(all))
				}
			})
		})
	}
}

// A report once held a pointer to a time that the topic's loop changes, while another goroutine
// wrote the report as JSON.
func TestReportsStayWhatTheyWere(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 1)
		p := g.lan.peer("1")
		p.refuses(wtproto.CodeBusy)
		g.lan.see(p.sighting())
		synctest.Wait()
		at := g.Topics()[0].Peers[0].RetryAt
		before := *at
		pass(time.Minute)
		if len(p.dialed()) < 2 || !at.Equal(before) {
			t.Errorf("after %d dials the report says %v instead of %v", len(p.dialed()), at, before)
		}
	})
}

// A dial may take 10 s; then it counts as failed.
func TestDialTimeout(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.joiners(1)[0]
		p := g.lan.peer("1")
		p.waits()
		start := time.Now()
		g.lan.see(p.sighting())
		pass(10*time.Second - 1)
		if n := len(p.dialed()); n != 1 {
			t.Fatalf("%d dials, want 1", n)
		}
		pass(1)
		if s := c.status(); s.Networks[0].Refused != 1 || s.Networks[0].LastCode != wtproto.CodePeerUnreachable {
			t.Errorf("STATUS %+v, want 1 refused with PEER_UNREACHABLE", s)
		}
		pass(2 * time.Second)
		if d := p.dialed(); len(d) != 2 || d[1].at.Sub(start) < 11*time.Second || d[1].at.Sub(start) > 12*time.Second {
			t.Errorf("dialed at %v after the start, want 0 and 11s to 12s", d)
		}
	})
}

func TestRefusedIsToldAndLoggedOnce(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.joiners(3)[0]
		p := g.lan.peer("1")
		p.refuses(wtproto.CodeBusy)
		g.lan.see(p.sighting())
		pass(10 * time.Minute)
		s := c.status()
		if n := s.Networks[0]; n.Found != 1 || n.Refused != 1 || n.LastCode != wtproto.CodeBusy {
			t.Errorf("STATUS %+v, want 1 found, 1 refused with BUSY", n)
		}
		if n := g.log.count("peer refused"); n != 1 || len(p.dialed()) < 5 {
			t.Errorf("logged %d times over %d dials, want once", n, len(p.dialed()))
		}
		topics := g.Topics()
		if r := topics[0].Peers[0]; !r.Refused || r.Answered || r.Code != wtproto.CodeBusy || r.Dialed != len(p.dialed()) || r.RetryAt == nil {
			t.Errorf("reported %+v, want refused with BUSY after %d dials", r, len(p.dialed()))
		}
		// It answers, and is not refused any longer.
		p.answers(nil)
		pass(3 * time.Minute)
		if s := c.status(); s.Networks[0].Refused != 0 || s.Connected != 1 {
			t.Errorf("STATUS %+v, want 0 refused, 1 connected", s)
		}
		if r := g.Topics()[0].Peers[0]; r.Refused || !r.Answered || r.Circuits != 3 {
			t.Errorf("reported %+v, want answered with 3 circuits", r)
		}
	})
}

// A peer that declines, or says that it is not on the topic, is not asked again for the same
// client until one of them joins anew. It was, after a back-off, for ever.
func TestDeclinedIsFinal(t *testing.T) {
	for _, code := range []wtproto.Code{wtproto.CodeDeclined, wtproto.CodeForbidden} {
		inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
			c := g.joiners(1)[0]
			p := g.lan.peer("1")
			p.refuses(code)
			g.lan.see(p.sighting())
			pass(10 * time.Minute)
			g.lan.see(p.sighting())
			if n := len(p.dialed()); n != 1 {
				t.Errorf("%v: dialed %d times, want once", code, n)
			}
			c.leave()
			c.join(wtproto.JoinLookUp, 0)
			if n := len(p.dialed()); n != 2 {
				t.Errorf("%v: dialed %d times after the client joined anew, want twice", code, n)
			}
			p.answers(nil)
			pass(5 * time.Minute) // its back-off is over
			g.lan.see(p.gone(), p.sighting())
			if n := c.streams(); n != 1 {
				t.Errorf("%v: %d circuits after the peer joined anew, want 1", code, n)
			}
		})
	}
}

// A peer that does not answer holds none of the places that another could fill: the next one is
// dialed beside it after a second.
func TestDeadPeerTakesNoPlace(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 1)
		dead, live := g.lan.peer("dead"), g.lan.peer("live")
		dead.waits()
		g.lan.see(dead.sighting(), live.sighting())
		if n := len(live.dialed()); n != 0 {
			t.Fatalf("%d dials beyond max peers", n)
		}
		start := time.Now()
		pass(time.Second)
		if d := live.dialed(); len(d) != 1 || d[0].at.Sub(start) != time.Second {
			t.Errorf("the live peer was dialed %v after %v, want once after a second", d, start)
		}
		if n, streams := c.session.circuits(), c.streams(); n != 1 || streams != 1 {
			t.Errorf("%d places taken and %d circuits, want one", n, streams)
		}
	})
}

// Loss is tried again, after a second or two, and only where it was the connection with the peer
// that was lost.
func TestLossIsRetried(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, x, p, y := g.open("1")
		for range 3 {
			talk(t, x, y)
			pass(2 * time.Minute) // so that each loss is a new story
			lost := time.Now()
			y.lose()
			wantReset(t, x.fakeStream, wtproto.CodePeerGone)
			x, y = c.circuit(), p.circuit()
			if waited := time.Since(lost); waited < time.Second || waited > 2*time.Second {
				t.Errorf("connected again after %v, want 1s to 2s", waited)
			}
		}
	})
}

// A circuit that is lost again and again is tried less and less often.
func TestEarlyLossBacksOff(t *testing.T) {
	inBubble(t, Config{Idle: 10 * time.Hour}, func(t *testing.T, g *bubble) {
		_, _, p, y := g.open("1")
		for range 9 {
			y.lose()
			y = p.circuit()
		}
		low := time.Second
		for i, gap := range gaps(p.dialed()) {
			if gap < low || gap > 2*low {
				t.Errorf("dial %d after %v, want %v to %v", i+2, gap, low, 2*low)
			}
			low = min(2*low, time.Minute)
		}
	})
}

// A peer that restarts loses the circuits of all its clients at once. That was counted as one
// failure for each, and ten clients had to wait for two minutes.
func TestLossOfManyIsOneFailure(t *testing.T) {
	inBubble(t, Config{DefaultPeers: -1}, func(t *testing.T, g *bubble) {
		cs := g.joiners(20)
		p := g.lan.peer("1")
		g.lan.see(p.sighting())
		var xs []fakeCircuit
		for _, c := range cs {
			xs = append(xs, c.circuit())
		}
		lost := time.Now()
		for range xs {
			p.circuit().lose()
		}
		for _, x := range xs {
			wantReset(t, x.fakeStream, wtproto.CodePeerGone)
		}
		for _, c := range cs {
			c.circuit()
		}
		if waited := time.Since(lost); waited < time.Second || waited > 2*time.Second {
			t.Errorf("all connected again after %v, want 1s to 2s", waited)
		}
		// The same for dials that fail at the same time.
		p.refuses(wtproto.CodePeerUnreachable)
		for range cs {
			p.circuit().lose()
		}
		pass(5 * time.Second)
		p.answers(nil)
		pass(10 * time.Second)
		if n := len(p.ends); n != len(cs) {
			t.Errorf("%d circuits again after 15s, want %d", n, len(cs))
		}
	})
}

// A client that goes away says nothing about the peer. Once each reload of a page made the peer
// wait longer for everybody.
func TestClientThatGoesBacksNobodyOff(t *testing.T) {
	for _, flags := range []wtproto.JoinFlags{announceAndLookUp, offerOnly} {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			p := g.lan.peer("1")
			for n := range 20 {
				c := g.connect()
				c.join(flags, 0)
				if n == 0 {
					g.lan.see(p.sighting())
				}
				if flags == offerOnly {
					expect[wtproto.Peer](c)
				} else {
					talk(t, c.circuit(), p.circuit())
				}
				if d := p.dialed(); len(d) != n+1 || !d[n].at.Equal(time.Now()) {
					t.Fatalf("client %d: the peer was dialed at %v, want at once at %v", n, d[len(d)-1].at, time.Now())
				}
				c.link.end(nil)
				synctest.Wait()
			}
		})
	}
}

// An end by either side, or FIN both ways, is the end for this pair; others are not concerned.
func TestEndedIsNotMadeAgain(t *testing.T) {
	for name, end := range map[string]func(x, y *fakeStream){
		"FIN both ways": func(x, y *fakeStream) {
			x.CloseWrite()
			y.CloseWrite()
		},
		"reset by the client": func(x, _ *fakeStream) { reset(x, wtproto.CodeApplication) },
		"reset by the peer":   func(_, y *fakeStream) { reset(y, wtproto.CodeApplication) },
	} {
		t.Run("peer/"+name, func(t *testing.T) {
			inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
				c, x, p, y := g.open("1")
				talk(t, x, y)
				end(x.fakeStream, y)
				synctest.Wait()
				g.lan.see(p.sighting())
				c.join(wtproto.JoinLookUp, 10) // other options are no new join
				pass(5 * time.Minute)
				if n := len(p.dialed()); n != 1 {
					t.Errorf("dialed %d times, want once", n)
				}
				other := g.joiners(1)[0]
				talk(t, other.circuit(), p.circuit())
				// The client joins anew.
				c.leave()
				c.join(wtproto.JoinLookUp, 0)
				x, y = c.circuit(), p.circuit()
				end(x.fakeStream, y)
				synctest.Wait()
				pass(5 * time.Minute)
				if n := c.streams(); n != 0 {
					t.Errorf("connected again after the second end")
				}
				// The peer joins anew.
				g.lan.see(p.gone(), p.sighting())
				talk(t, c.circuit(), p.circuit())
			})
		})
		t.Run("client/"+name, func(t *testing.T) {
			inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
				a, b := g.connect(), g.connect()
				a.join(announceAndLookUp, 0)
				b.join(announceAndLookUp, 0)
				x, y := a.circuit(), b.circuit()
				talk(t, x, y)
				end(x.fakeStream, y.fakeStream)
				pass(5 * time.Minute)
				if n := a.streams() + b.streams(); n != 0 {
					t.Errorf("%d streams after the end, want none", n)
				}
				for _, c := range []*fakeClient{a, b} {
					awake(a, b)
					c.leave()
					c.join(announceAndLookUp, 0)
					x, y := a.circuit(), b.circuit()
					talk(t, x, y)
					end(x.fakeStream, y.fakeStream)
					pass(time.Minute)
					if n := a.streams() + b.streams(); n != 0 {
						t.Errorf("%d streams after the end, want none", n)
					}
				}
			})
		})
	}
}

// Dials at once are limited a topic, a session, a subscription and in all.
func TestDialsAtOnce(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		want int // of 3 clients that want 100 peers
	}{
		{"a topic", Config{}, 8},
		{"a session", Config{TopicDials: -1, SessionDials: 3}, 3 * 3},
		{"in all, one in ten kept for other principals", Config{TopicDials: -1, SessionDials: -1, Dials: 10}, 9},
		{"a subscription", Config{TopicDials: -1, SessionDials: -1, Dials: -1}, 3 * 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, test.cfg, func(t *testing.T, g *bubble) {
				g.joiners(3)
				var peers []*fakePeer
				for n := range 100 {
					p := g.lan.peer(string(rune(1000 + n)))
					p.waits()
					peers = append(peers, p)
					g.lan.see(p.sighting())
				}
				dials := func() (n int) {
					for _, p := range peers {
						n += len(p.dialed())
					}
					return n
				}
				if n := dials(); n != test.want {
					t.Errorf("%d dials at once, want %d", n, test.want)
				}
				pass(10 * time.Second) // their time is over
				if n := dials(); n <= test.want {
					t.Errorf("%d dials after 10s, want that those which waited have begun", n)
				}
			})
		})
	}
}
