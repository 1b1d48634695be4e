package server

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestNoHello(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		start := time.Now()
		g.dial().ends(wtproto.CodeIdle)
		if lived := time.Since(start); lived != 5*time.Second {
			t.Errorf("lived for %v, want 5s", lived)
		}
	})
}

// Streams without a HELLO keep nobody alive.
func TestNoHelloButStreams(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		start := time.Now()
		c := g.dial()
		for range 3 {
			pass(time.Second)
			c.link.dial().CloseWrite()
		}
		c.ends(wtproto.CodeIdle)
		if lived := time.Since(start); lived != 5*time.Second {
			t.Errorf("lived for %v, want 5s", lived)
		}
	})
}

func TestIdle(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		start := time.Now()
		expect[wtproto.Ping](c)
		if after := time.Since(start); after != 20*time.Second {
			t.Errorf("PING after %v of silence, want 20s", after)
		}
		pass(40*time.Second - 1)
		if n := c.control.unread(); n != 0 {
			t.Errorf("%d bytes after the one PING", n)
		}
		c.ends(wtproto.CodeIdle)
		if lived := time.Since(start); lived != time.Minute {
			t.Errorf("lived for %v, want 1m", lived)
		}
	})
}

// An answered PING proves life, and each silence of 20 s causes one PING. A fault: the second PING
// came 40 s after the answer to the first one.
func TestIdleIsPutOffByPong(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		heard := time.Now()
		seen := make(map[[8]byte]bool)
		for i := range 10 {
			p := expect[wtproto.Ping](c)
			if silent := time.Since(heard); silent != 20*time.Second || seen[p.Data] {
				t.Errorf("PING %d (%x) after %v of silence, want a new one after 20s", i, p.Data, silent)
			}
			seen[p.Data] = true
			pass(time.Duration(i) * 700 * time.Millisecond)
			c.send(wtproto.Pong(p))
			heard = time.Now()
		}
		c.ends(wtproto.CodeIdle)
		if lived := time.Since(heard); lived != time.Minute {
			t.Errorf("lived for %v after the last PONG, want 1m", lived)
		}
	})
}

// Any control frame proves life, so a client that talks is not asked.
func TestIdleIsPutOffByFrames(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for range 20 {
			pass(19 * time.Second)
			c.send(raw{unknownType, ""})
		}
		synctest.Wait()
		if n := c.control.unread(); n != 0 {
			t.Errorf("%d bytes came to a client that is not silent", n)
		}
		heard := time.Now()
		expect[wtproto.Ping](c)
		if silent := time.Since(heard); silent != 20*time.Second {
			t.Errorf("PING after %v of silence, want 20s", silent)
		}
	})
}

// An idle time below that of the PING once had no effect until the PING was due.
func TestIdleWithoutPing(t *testing.T) {
	inBubble(t, Config{Idle: 7 * time.Second}, func(t *testing.T, g *bubble) {
		c := g.connect()
		pass(4 * time.Second)
		c.lives()
		heard := time.Now()
		c.ends(wtproto.CodeIdle)
		if lived := time.Since(heard); lived != 7*time.Second {
			t.Errorf("lived for %v after the last frame, want 7s", lived)
		}
	})
}

func TestPingIsAnswered(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for n := range byte(3) {
			c.send(wtproto.Ping{Data: [8]byte{n}})
			if p := expect[wtproto.Pong](c); p.Data != [8]byte{n} {
				t.Errorf("PONG %x, want %x", p.Data, n)
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	topic := func(n int) wtproto.Topic { return wtproto.Topic{byte(n), byte(n >> 8)} }
	for _, test := range []struct {
		name  string
		frame func(n int) message
	}{
		{"JOIN of many topics", func(n int) message { return wtproto.Join{Topic: topic(n), Flags: announceAndLookUp} }},
		{"JOIN of one topic", func(int) message { return wtproto.Join{Topic: wowcool} }},
		{"LEAVE", func(n int) message { return wtproto.Leave{Topic: topic(n)} }},
		{"PING", func(int) message { return wtproto.Ping{} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, g *bubble) {
				other, c := g.connect(), g.connect()
				var frames []byte
				for n := range 200 {
					frames = test.frame(n).Append(frames)
				}
				c.send(bytesOf(frames))
				synctest.Wait()
				if c.session.ctx.Err() != nil {
					t.Fatalf("the burst of 200 ended the session with %v", c.link.closedWith)
				}
				pass(100 * time.Millisecond) // that is 10 more
				frames = nil
				for n := range 10 {
					frames = test.frame(n).Append(frames)
				}
				c.send(bytesOf(frames))
				synctest.Wait()
				if c.session.ctx.Err() != nil {
					t.Fatalf("the 10 frames of 100 ms ended the session with %v", c.link.closedWith)
				}
				c.send(test.frame(0))
				c.ends(wtproto.CodeRateLimited)
				other.lives()
			})
		})
	}
}

// A client that comes back joins all of its topics in one go, however many an operator allows.
func TestManyTopicsInOneFlight(t *testing.T) {
	inBubble(t, Config{MaxTopics: 600}, func(t *testing.T, g *bubble) {
		c := g.connect()
		var frames []byte
		for n := range 600 {
			frames = wtproto.Join{Topic: wtproto.Topic{byte(n), byte(n >> 8)}, Flags: announceAndLookUp}.Append(frames)
		}
		c.send(bytesOf(frames))
		synctest.Wait()
		if n := len(g.router.all()); n != 600 || c.session.ctx.Err() != nil {
			t.Errorf("%d topics are joined, and the session ended with %v; want 600, and that it lives", n, c.link.closedWith)
		}
	})
}

// A STATUS with its reasons is many times as long as one without, and one fault gives all topics
// of a client reasons at once: a client of many topics was told BUSY then, before it could read
// anything.
func TestManyTopicsGetReasons(t *testing.T) {
	inBubble(t, Config{MaxTopics: 600, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for n := range 600 {
			c.send(wtproto.Join{Topic: wtproto.Topic{byte(n), byte(n >> 8)}, Flags: announceAndLookUp})
			expect[wtproto.Joined](c)
		}
		pass(2 * lonelyAfter)
		unread := 0
		for _, m := range c.allPending() {
			if s, ok := m.(wtproto.Status); ok && s.Networks[len(s.Networks)-1].Reason == reasonAlone {
				unread++
			}
		}
		if unread != 600 {
			t.Errorf("%d topics were told that there is nobody else, want 600", unread)
		}
		c.lives()
	})
}

func TestThousandJoins(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		other, c := g.connect(), g.connect()
		var frames []byte
		for n := range 1000 {
			frames = wtproto.Join{Topic: wtproto.Topic{byte(n), byte(n >> 8)}, Flags: announceAndLookUp}.Append(frames)
		}
		c.send(bytesOf(frames))
		c.ends(wtproto.CodeRateLimited)
		other.lives()
		synctest.Wait()
		if n := len(g.router.all()); n > 64 {
			t.Errorf("%d topics were started, at most 64 may be joined", n)
		}
		pass(15 * time.Second)
		if n := len(g.router.all()); n != 0 {
			t.Errorf("%d topics are left after the grace time", n)
		}
	})
}

func TestRateLimitIsOff(t *testing.T) {
	inBubble(t, Config{ControlRate: -1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for range 5000 {
			c.send(wtproto.Ping{})
		}
		synctest.Wait()
		c.expectNewestPong(wtproto.Ping{Data: [8]byte{9}})
	})
}

// expectNewestPong sends p and reads until its answer.
func (c *fakeClient) expectNewestPong(p wtproto.Ping) {
	c.t.Helper()
	c.send(p)
	for expect[wtproto.Pong](c).Data != p.Data {
	}
}

// A client that sends PINGs and reads nothing costs one PONG, whatever their rate.
func TestPingFloodUnread(t *testing.T) {
	for name, rate := range map[string]float64{"limited": 0, "not limited": -1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{ControlRate: rate}, func(t *testing.T, g *bubble) {
				other, c := g.connect(), g.connect()
				pings := slices.Repeat(wtproto.Ping{}.Append(nil), 100)
				var err error
				for n := 0; n < 10_000 && err == nil; n++ {
					_, err = c.control.Write(pings)
				}
				synctest.Wait()
				c.session.mu.Lock()
				size := c.session.out.size
				c.session.mu.Unlock()
				if size > pongSize {
					t.Errorf("%d bytes wait to be sent, want a PONG at most", size)
				}
				if rate == 0 {
					c.ends(wtproto.CodeRateLimited)
				}
				other.lives()
			})
		})
	}
}

// A session whose client reads no control frames ends with BUSY once more than 64 KiB of them are
// unread, whichever frames these are.
func TestControlUnread(t *testing.T) {
	const limit = 64 << 10
	inBubble(t, Config{ControlRate: -1, MaxTopics: -1}, func(t *testing.T, g *bubble) {
		other, c := g.connect(), g.connect()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		joins := slices.Repeat(wtproto.Join{Topic: wowcool}.Append(nil), 100) // each is answered
		var err error
		for n := 0; n < 1000 && err == nil; n++ {
			_, err = c.control.Write(joins)
			c.session.mu.Lock()
			size := c.session.out.size
			c.session.mu.Unlock()
			if size > limit+64 {
				t.Fatalf("%d bytes wait to be sent, want %d and a frame at most", size, limit)
			}
		}
		c.ends(wtproto.CodeBusy)
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		other.lives()
	})
}

func TestControlUnreadIsBelowLimit(t *testing.T) {
	inBubble(t, Config{ControlRate: -1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		joins := slices.Repeat(wtproto.Join{Topic: wowcool}.Append(nil), 1000) // 34 bytes each come back
		c.send(bytesOf(joins))
		synctest.Wait()
		for range 1000 {
			expect[wtproto.Joined](c)
		}
		c.quiet()
		c.lives()
	})
}

func TestJoinAndLeave(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for range 3 {
			c.join(announceAndLookUp, 0)
			c.leave()
		}
		c.send(wtproto.Leave{Topic: wowcool}) // ignored
		c.quiet()
		c.lives()
	})
}

// Each JOIN gets exactly one LEFT in the end, in order.
func TestJoinAndLeaveInOneBreath(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		var frames []byte
		for range 20 {
			frames = wtproto.Join{Topic: wowcool}.Append(frames)
			frames = wtproto.Leave{Topic: wowcool}.Append(frames)
		}
		c.send(bytesOf(frames))
		for range 20 {
			expect[wtproto.Joined](c)
			if l := expect[wtproto.Left](c); l.Topic != wowcool || l.Code != wtproto.CodeNone {
				t.Errorf("left with %+v", l)
			}
		}
		c.quiet()
		if s := c.status(); s.Topic != (wtproto.Topic{}) {
			t.Errorf("STATUS %+v of a topic that was left", s)
		}
	})
}

// STATUS has a place of its own in the queue, and must not come after LEFT.
func TestNoStatusAfterLeft(t *testing.T) {
	inBubble(t, Config{ControlRate: -1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(0, 0)
		pass(2 * time.Second)
		other := wtproto.TopicFromName("other")
		joins := slices.Repeat(wtproto.Join{Topic: other}.Append(nil), 1100)
		for range 2 { // the answers fill the stream
			c.send(bytesOf(joins))
			synctest.Wait()
		}
		g.lan.see(g.lan.peer("1").sighting()) // both topics may have news
		pass(2 * time.Second)
		c.send(wtproto.Leave{Topic: wowcool}, wtproto.Leave{Topic: other})
		synctest.Wait()
		left := make(map[wtproto.Topic]bool)
		for len(left) < 2 || c.control.unread() > 0 {
			switch m := c.next().(type) {
			case wtproto.Left:
				left[m.Topic] = true
			case wtproto.Status:
				if left[m.Topic] {
					t.Errorf("STATUS %+v after LEFT", m)
				}
			}
			synctest.Wait()
		}
	})
}

func TestJoinAgainChangesOptions(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for _, test := range []struct {
			flags            wtproto.JoinFlags
			announce, lookUp bool
		}{
			{wtproto.JoinLookUp, false, true},
			{wtproto.JoinAnnounce, true, false},
			{announceAndLookUp, true, true},
			{0, false, false},
		} {
			c.join(test.flags, 0)
			s := g.lan.state()
			if s.Announce != test.announce || s.LookUp != test.lookUp || !slices.Equal(s.Endpoints, []wtproto.EndpointID{c.endpoint()}) {
				t.Errorf("joined with %b: the network is told %+v", test.flags, s)
			}
		}
		if n := len(g.lan.all()); n != 1 {
			t.Errorf("the network was joined %d times, want once", n)
		}
	})
}

func TestTopicLimit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		other, c := g.connect(), g.connect()
		for n := range 64 {
			c.send(wtproto.Join{Topic: wtproto.Topic{byte(n)}})
			expect[wtproto.Joined](c)
		}
		c.send(wtproto.Join{Topic: wowcool})
		if l := expect[wtproto.Left](c); l.Topic != wowcool || l.Code != wtproto.CodeTopicLimit || l.Reason == "" {
			t.Errorf("topic 65: %+v, want LEFT with TOPIC_LIMIT and a reason", l)
		}
		c.send(wtproto.Join{Topic: wtproto.Topic{1}}) // one that it has already
		expect[wtproto.Joined](c)
		c.send(wtproto.Leave{Topic: wtproto.Topic{1}})
		expect[wtproto.Left](c)
		c.join(announceAndLookUp, 0) // now there is room
		other.join(announceAndLookUp, 0)
	})
}
