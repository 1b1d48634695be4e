package server

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// CREDIT, PONG, unknown frames, ACCEPT of ended circuits and streams that come to nothing once had
// no limit: a session sent up to 6.6 million of them a second, and the others waited.
func TestFloodEndsItsSession(t *testing.T) {
	control := func(f message) func(*fakeClient) { return func(c *fakeClient) { c.control.Write(f.Append(nil)) } }
	for name, flood := range map[string]func(*fakeClient){
		"CREDIT":                   control(wtproto.Credit{Circuit: 1, Offset: 1 << 40}),
		"CREDIT of what has ended": control(wtproto.Credit{Circuit: 2, Offset: 1 << 40}),
		"PONG":                     control(wtproto.Pong{}),
		"an unknown frame":         control(raw{unknownType, ""}),
		"ACCEPT of what has ended": func(c *fakeClient) {
			c.link.dial().Write(wtproto.Accept{Circuit: 2}.Append(nil))
		},
		"streams without a byte": func(c *fakeClient) { c.link.dial().CloseWrite() },
		"streams that are reset": func(c *fakeClient) { reset(c.link.dial(), wtproto.CodeNone) },
		"streams that come to nothing": func(c *fakeClient) {
			s := c.link.dial()
			s.Write([]byte("\x09"))
			reset(s, wtproto.CodeNone)
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[LimitName]int)
			o := &Observer{Refused: func(l LimitName, code wtproto.Code) {
				if code == wtproto.CodeRateLimited {
					seen[l]++
				}
			}}
			inBubble(t, Config{Observer: o}, func(t *testing.T, g *bubble) {
				c, other := g.connect(), g.connect()
				c.join(announceAndLookUp, 0)
				other.join(announceAndLookUp, 0)
				c.circuit()
				g.lan.see(g.lan.peer("1").sighting())
				gone := c.circuit()
				reset(gone, wtproto.CodeLeft)
				synctest.Wait()
				n := 0
				for ; n < 5000 && c.session.ctx.Err() == nil; n++ {
					flood(c)
					synctest.Wait()
				}
				if n < 2000 || n > 2500 {
					t.Errorf("the session ended after %d, want 2,000 to 2,500", n)
				}
				c.ends(wtproto.CodeRateLimited)
				other.lives()
			})
			if seen[LimitAllFrames] == 0 {
				t.Errorf("refusals %v, want some of %s", seen, LimitAllFrames)
			}
		})
	}
}

// A long frame counts for several, so bytes are bounded too.
func TestLongFramesCountMore(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		long := raw{unknownType, strings.Repeat("x", wtproto.MaxPayload)}
		n := 0
		for ; n < 100 && c.session.ctx.Err() == nil; n++ {
			c.control.Write(long.Append(nil))
			synctest.Wait()
		}
		if n < 30 || n > 40 {
			t.Errorf("the session ended after %d frames of 16 KiB, want about 34", n)
		}
	})
}

// What is within the limits goes on for ever: 900 frames a second here.
func TestFramesWithinTheirRate(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		for range 100 {
			for range 90 {
				c.send(wtproto.Pong{})
			}
			pass(100 * time.Millisecond)
		}
		c.lives()
	})
}

// Many sessions of one address that flood do together what one may not. They wait, instead of
// ending, because one of them may be a neighbour's; another address waits for nothing.
func TestFramesOfPrincipalWait(t *testing.T) {
	const sessions, each = 30, 2000 // 60,000 frames, of which 20,000 may come at once and as many each second
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		var flood []byte
		for range each - 1 {
			flood = wtproto.Pong{}.Append(flood)
		}
		flood = wtproto.Ping{}.Append(flood)
		l := newFakeLink()
		l.from = net.IPv4(198, 51, 100, 7)
		bystander := g.dialOver(l)
		bystander.hello()
		expect[wtproto.Welcome](bystander)
		var all []*fakeClient
		began := time.Now()
		for range sessions {
			c := g.connect()
			all = append(all, c)
			g.wg.Go(func() { c.control.Write(flood) })
		}
		synctest.Wait()
		bystander.send(wtproto.Ping{})
		expect[wtproto.Pong](bystander)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("another address waited for %v", waited)
		}
		for _, c := range all {
			expect[wtproto.Pong](c)
		}
		if took := time.Since(began); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("60,000 frames took %v, want 2s", took)
		}
		for _, c := range all {
			c.lives()
		}
	})
}

// A client with the smallest windows there are, which follows PROTOCOL 8, sends a CREDIT for each
// KiB that it reads, however fast that is.
func TestCreditForWhatWasSentIsFree(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.dial()
		c.control = c.link.dial()
		c.frames = wtproto.NewReader(c.control)
		c.send(wtproto.Hello{Version: 1, Credit: wtproto.MinCredit, Secret: c.secret})
		expect[wtproto.Welcome](c)
		c.join(announceAndLookUp, 0)
		peer := g.lan.peer("1")
		g.lan.see(peer.sighting())
		mine, theirs := c.circuit(), peer.circuit()
		const total = 20 << 20
		go func() {
			theirs.Write(make([]byte, total))
			theirs.CloseWrite()
		}()
		buf := make([]byte, wtproto.MinCredit/4)
		start, read, credits := time.Now(), 0, 0
		for {
			n, err := io.ReadFull(mine, buf)
			if read += n; err != nil {
				break
			}
			c.send(wtproto.Credit{Circuit: mine.Circuit, Offset: uint64(read + wtproto.MinCredit)})
			credits++
		}
		if read != total || time.Since(start) != 0 {
			t.Errorf("%d of %d bytes came in %v", read, total, time.Since(start))
		}
		t.Logf("%d CREDITs", credits)
		c.lives()
	})
}

// A client that reads late what was sent answers to it late, and after the end of the circuit too.
func TestCreditDue(t *testing.T) {
	var out strings.Builder
	c := newCredit(&out, 1<<20, newOver())
	due := func(want bool) {
		t.Helper()
		if got := c.grant(0); got != want {
			t.Errorf("after %d bytes: due %v, want %v", out.Len(), got, want)
		}
	}
	due(false)
	c.Write(make([]byte, creditEvery-1))
	due(false)
	c.Write(make([]byte, 1))
	due(true)
	due(false)
	c.Write(make([]byte, 3*creditEvery))
	due(true)
	if n := c.left(); n != 2 {
		t.Errorf("%d are left, want 2", n)
	}
	c.Write(make([]byte, 1000*creditEvery))
	for range creditAhead {
		due(true)
	}
	due(false)
}

// Without a limit of topics, a client that came back with 400 of them was ended for joining too
// fast.
func TestManyTopicsWithoutLimitInOneFlight(t *testing.T) {
	inBubble(t, Config{MaxTopics: -1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		var frames []byte
		for n := range 400 {
			frames = wtproto.Join{Topic: wtproto.Topic{byte(n), byte(n >> 8)}}.Append(frames)
		}
		c.send(bytesOf(frames))
		for range 400 {
			expect[wtproto.Joined](c)
		}
		c.lives()
	})
}
