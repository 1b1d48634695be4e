package client

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// GOAWAY leads to another gateway at once. The old session gets nothing new, and ends after its
// last circuit.
func TestGoawayMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		first, s1 := r.circuit(topic, 1)
		start := time.Now()
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: time.Hour})
		next := other.accept()
		elapsed(t, "HELLO", start, 2*rtt)
		if next.hello.Secret != r.hello.Secret || next.changes(1)[topicA] == nil {
			t.Error("not the same client")
		}
		second, s2 := r.circuit(topic, 2) // was on its way
		next.send(welcome, wtproto.Joined{Topic: topicA})
		if e := nextIs[Connected](d); e.Gateway != other.addr {
			t.Errorf("%+v, want %s", e, other.addr)
		}
		if m := expect(r, wtproto.TypeLeave, wtproto.ParseLeave); m.Topic != topicA {
			t.Errorf("LEAVE of %v", m.Topic)
		}
		r.send(wtproto.Left{Topic: topicA}, wtproto.Status{Topic: topicA, Known: 77}, wtproto.Goaway{Code: wtproto.CodeShutdown})
		r.sync()
		if status := topic.Status(); status.Known != 0 || topic.Err() != nil {
			t.Errorf("the old gateway's word counts: %+v, %v", status, topic.Err())
		}
		if goesAway(c) {
			t.Error("the new session's gateway goes away")
		}
		if code := readReset(t, r.open(peer(3).Append(nil))); code != wtproto.CodeLeft {
			t.Errorf("a circuit of the old gateway was reset with %v, want %v", code, wtproto.CodeLeft)
		}
		third, s3 := next.circuit(topic, 1)
		<-time.After(4 * time.Second) // however long the old ones take
		echo(t, first, s1)
		echo(t, second, s2)
		echo(t, third, s3)
		second.Reset(wtproto.CodeNone)
		s1.Close()
		if _, err := io.ReadAll(first); err != nil {
			t.Error(err)
		}
		n.cut.Store(true) // so that it takes two attempts
		first.Write([]byte("goodbye"))
		first.Close()
		<-time.After(rtt)
		n.cut.Store(false)
		if b, err := io.ReadAll(s1); err != nil || string(b) != "goodbye" {
			t.Errorf("the old gateway read %q, %v", b, err)
		}
		<-time.After(10 * time.Second) // the gateway knows when the peer has it
		r.sync()
		r.end(wtproto.CodeShutdown)
		d.quiet()
		echo(t, third, s3)
	})
}

// GOAWAY of a session that was left is heeded all the same.
func TestGoawayOfLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		d := read(t, c)
		nextIs[Connected](d)
		r.circuit(r.join(c, topicA, JoinOptions{}), 1)
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: time.Second})
		next := other.accept()
		next.changes(1)
		next.send(welcome, wtproto.Joined{Topic: topicA})
		nextIs[Connected](d)
		expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: time.Hour})
		r.sync()
		other.ln.Close() // it is never back
		next.end(wtproto.CodeNone)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := g.ln.Accept(ctx); err == nil {
			t.Error("the gateway was tried within the hour for which it is to be left alone")
		}
	})
}

// An old session that is lost takes its circuits along, and nothing else.
func TestGoawayThenLost(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		conn, _ := r.circuit(topic, 1)
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown})
		next := other.accept()
		next.changes(1)
		next.send(welcome, wtproto.Joined{Topic: topicA})
		nextIs[Connected](d)
		r.end(wtproto.CodeShutdown)
		_, err := conn.Read(make([]byte, 1))
		wantError(t, "Read", err, wtproto.CodePeerGone, false)
		next.sync()
		d.quiet()
		fresh, s := next.circuit(topic, 1)
		echo(t, fresh, s)
	})
}

// A gateway that falls silent while there are circuits is left only if another one answers before
// it does.
func TestSilenceMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		r.sync()

		// It answers late, but before the other one does.
		start := time.Now()
		next := other.accept()
		elapsed(t, "HELLO", start, pingAfter+silentAfter)
		next.changes(1)
		if typ, _ := r.next(); typ != wtproto.TypePing {
			t.Fatalf("got %v, want PING", typ)
		}
		r.send(wtproto.Pong{})
		start = time.Now()
		if e := next.closed(); e.ErrorCode != 0 {
			t.Errorf("the attempt ended with %v, want NONE", e)
		}
		elapsed(t, "the end of the attempt", start, rtt)
		echo(t, conn, s)
		d.quiet()

		// It does not answer, and the other one does.
		n.cutOff[0].Store(true)
		next = other.accept()
		next.changes(1)
		next.send(welcome, wtproto.Joined{Topic: topicA})
		if e := nextIs[Connected](d); e.Gateway != other.addr {
			t.Errorf("%+v, want %s", e, other.addr)
		}
		if err := topic.Err(); err != nil {
			t.Errorf("Err = %v", err)
		}
		fresh, freshStream := next.circuit(topic, 1)

		// The circuits of the old one hold for as long as it may come back, and it does.
		n.cutOff[0].Store(false)
		echo(t, conn, s)
		echo(t, fresh, freshStream)
		d.quiet()
	})
}

// A check that comes late takes back what was found before.
func TestLateTimer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		d := read(t, c)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		next := other.accept()
		session := live(c)
		session.mu.Lock()
		session.life.deadline = time.Now().Add(-lateness - 1)
		session.nudge()
		session.mu.Unlock()
		start := time.Now()
		if e := next.closed(); e.ErrorCode != 0 {
			t.Errorf("the attempt ended with %v, want NONE", e)
		}
		elapsed(t, "the end of the attempt", start, rtt)
		start = time.Now()
		other.accept()
		elapsed(t, "the next attempt", start, pingAfter+silentAfter)
		r.sync()
		echo(t, conn, s)
		nextIs[Connected](d)
		d.quiet()
	})
}

// With nobody else to go to, silence is borne.
func TestSilenceAlone(t *testing.T) {
	for name, deadGateway := range map[string]bool{"one gateway": false, "the other one is dead": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g := newGateway(t, n.gateway)
				edit := n.on()
				if deadGateway {
					edit = n.on(newGateway(t, n.other))
					n.cutOff[1].Store(true)
				}
				c, r := g.session(edit)
				d := read(t, c)
				nextIs[Connected](d)
				topic := r.join(c, topicA, JoinOptions{})
				conn, s := r.circuit(topic, 1)
				r.sync()
				n.cutOff[0].Store(true)
				<-time.After(24 * time.Second)
				n.cutOff[0].Store(false)
				r.sync()
				echo(t, conn, s)
				d.quiet()
				if n.cutOff[0].Store(true); c.Err() != nil {
					t.Errorf("Err = %v", c.Err())
				}
				e := nextIs[Disconnected](d)
				wantError(t, "Disconnected", e.Err, wtproto.CodeIdle, false)
			})
		})
	}
}

// The first gateway that answers is the one, wherever it stands in the list, and the others hear no
// more of the client.
func TestGatewaysAtDial(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		cfg := g.config()
		n.on(other, g)(&cfg) // twice the same is once
		start := time.Now()
		result := g.dial(cfg)
		slow := g.accept()
		next := other.accept()
		elapsed(t, "HELLO for the second gateway", start, headStart+2*rtt)
		next.send(welcome)
		d := <-result
		if d.err != nil {
			t.Fatal(d.err)
		}
		defer d.client.Close()
		if e := slow.closed(); e.ErrorCode != 0 {
			t.Errorf("the slow gateway's session closed with %v, want NONE", e)
		}
		events := read(t, d.client)
		if e := nextIs[Connected](events); e.Gateway != other.addr {
			t.Errorf("%+v, want %s", e, other.addr)
		}

		// What worked last is first, the other one has to wait for its turn.
		next.end(wtproto.CodeNone)
		nextIs[Disconnected](events)
		e := nextIs[Reconnecting](events)
		start = time.Now()
		other.accept()
		elapsed(t, "HELLO for what worked last", start, e.Delay+2*rtt)
		g.accept().send(welcome)
		elapsed(t, "HELLO for the other one", start, e.Delay+headStart+2*rtt)
		if e := nextIs[Connected](events); e.Gateway != g.addr {
			t.Errorf("%+v, want %s", e, g.addr)
		}
	})
}

// A WELCOME that comes too late changes nothing.
func TestLateWelcome(t *testing.T) {
	c, _ := newSessionPair(t, lasting())
	before := live(c)
	late := &session{client: c, cfg: &c.cfg, attempt: newAttempt(t.Context(), 0)}
	if c.welcomed(late, wtproto.Welcome{Version: 1, Agent: "late"}) || live(c) != before || c.Session().Agent != welcome.Agent {
		t.Errorf("the session is %p, want %p; Session %+v", live(c), before, c.Session())
	}
}

// Dial fails once all gateways have, with what they said; what will not change first.
func TestGatewaysAllFail(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		cfg := g.config()
		n.on(other)(&cfg)
		result := g.dial(cfg)
		g.accept().end(wtproto.CodeBusy)
		other.accept().end(wtproto.CodeTokenExpired)
		err := (<-result).err
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeTokenExpired {
			t.Errorf("Dial = %v, want TOKEN_EXPIRED first", err)
		}
		wantError(t, "Dial", err, wtproto.CodeBusy, true)
		for _, g := range []*fake{g, other} {
			if !strings.Contains(err.Error(), g.addr) {
				t.Errorf("Dial = %v, which does not name %s", err, g.addr)
			}
		}
	})
}

// With two addresses of one gateway the client replaces its own session, which is no reason to end.
func TestGatewayTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, same := newGateway(t, n.gateway), newGateway(t, n.other)
		cfg := g.config()
		n.on(same)(&cfg)
		result := g.dial(cfg)
		slow := g.accept()
		same.accept()
		slow.send(welcome)
		c := (<-result).client
		defer c.Close()
		d := read(t, c)
		nextIs[Connected](d)
		slow.end(wtproto.CodeReplaced)
		wantError(t, "Disconnected", nextIs[Disconnected](d).Err, wtproto.CodeReplaced, true)
		nextIs[Reconnecting](d)
		g.accept().send(welcome)
		nextIs[Connected](d)
	})
}

// A pinned gateway that has another certificate after a while is trusted for what it told before,
// and only that one.
func TestNextCertificate(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		cert := ecCertificate(t, elliptic.P256(), nil)
		cfg := g.config()
		n.on()(&cfg)
		cfg.Gateways = []string{other.addr} // of which no hash is known
		result := g.dial(cfg)
		r := g.accept()
		m := welcome
		m.Hashes = [][32]byte{{1}, sha256.Sum256(cert.Certificate[0])}
		r.send(m)
		c := (<-result).client
		defer c.Close()
		d := read(t, c)
		nextIs[Connected](d)
		other.next.Store(&cert)
		g.next.Store(&cert)
		r.end(wtproto.CodeNone)
		nextIs[Disconnected](d)
		n.cutOff[0].Store(true) // until the other one was tried
		nextIs[Reconnecting](d)
		if e := nextIs[Reconnecting](d); !strings.Contains(e.Err.Error(), "not one of the trusted ones") {
			t.Errorf("%+v: another gateway was trusted for the certificate", e)
		}
		n.cutOff[0].Store(false)
		g.accept().send(m)
		nextIs[Connected](d)
	})
}
