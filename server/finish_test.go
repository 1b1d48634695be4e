package server

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// finish says that a client needs nothing more.
func (c *fakeClient) finish() {
	c.send(wtproto.Goaway{})
	synctest.Wait()
}

// A client that ended its session itself once cost its peers what was on its way. The gateway, which
// knows when they have everything, ends it for a client that has asked for that.
func TestFinishedSessionWaitsForItsCircuits(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, x, _, y := g.open("1")
		io.WriteString(x, "the last")
		x.CloseWrite()
		c.finish()
		for range 10 {
			pass(10 * time.Second)
			c.lives()
		}
		if c.link.closedWith != nil {
			t.Fatalf("the session ended with %v while its circuit was open", c.link.closedWith)
		}
		io.WriteString(y, "late")
		y.CloseWrite()
		if b, err := io.ReadAll(y); err != nil || string(b) != "the last" {
			t.Errorf("the peer read %q, %v", b, err)
		}
		if b, err := io.ReadAll(x); err != nil || string(b) != "late" {
			t.Errorf("the client read %q, %v", b, err)
		}
		c.ends(wtproto.CodeNone)
	})
}

// One without circuits ends at once, and one whose client has vanished as any other.
func TestFinishedSessionEnds(t *testing.T) {
	inBubble(t, Config{Silence: 25 * time.Second}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		began := time.Now()
		c.finish()
		c.ends(wtproto.CodeNone)
		d, _, _, y := g.open("1")
		d.finish()
		d.finish() // says nothing new
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		d.ends(wtproto.CodeIdle)
		if took := time.Since(began); took != 25*time.Second {
			t.Errorf("the session of a client that had vanished ended after %v, want 25s", took)
		}
		wantReset(t, y, wtproto.CodePeerGone)
	})
}

// It gets nothing new: offers are taken back, what it asks for is refused, and no peer is met.
func TestFinishedSessionGetsNothingNew(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, x, _, y := g.open("1")
		c.link.grant(0)
		g.lan.see(g.lan.peer("2").sighting())
		offer := expect[wtproto.Peer](c)
		c.finish()
		if w := expect[wtproto.Withdraw](c); w.Circuit != offer.Circuit {
			t.Errorf("circuit %d was withdrawn, want %d", w.Circuit, offer.Circuit)
		}
		wantRefused(t, c.ask(x.Peer, ""), wtproto.CodeLeft)
		g.lan.see(g.lan.peer("3").sighting())
		pass(10 * time.Second)
		c.quiet()
		talk(t, x, y)
		x.CloseWrite()
		y.CloseWrite()
		c.ends(wtproto.CodeNone)
	})
}

// One with the same secret takes its place, as of any session.
func TestFinishedSessionIsReplaced(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, _, _, y := g.open("1")
		c.finish()
		d := g.dial()
		d.secret = c.secret
		d.hello()
		expect[wtproto.Welcome](d)
		c.ends(wtproto.CodeReplaced)
		wantReset(t, y, wtproto.CodePeerGone)
	})
}
