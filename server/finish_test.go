package server

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// finish ends the control stream of a client.
func (c *fakeClient) finish() {
	c.control.CloseWrite()
	synctest.Wait()
}

// The gateway, which knows when the peers have everything, ends a session whose client has ended the
// control stream. It once did so at once, and the peers lost what was on its way.
func TestFinishedSessionWaitsForItsCircuits(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, x, _, y := g.open("1")
		io.WriteString(x, "the last")
		x.CloseWrite()
		c.finish()
		pass(50 * time.Second) // longer than a client with circuits may be silent
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

// It is not waited for longer than a client may be silent.
func TestFinishedSessionHasALimit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, _, _, y := g.open("1")
		began := time.Now()
		c.finish()
		c.ends(wtproto.CodeNone)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the session ended after %v, want a minute", took)
		}
		synctest.Wait()
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
