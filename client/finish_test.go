package client

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// finishes reads the control stream of a session, and answers PING. The channel is closed when the
// client has said GOAWAY.
func (r *remote) finishes() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for {
			typ, payload, err := r.frames.Next()
			if err != nil {
				return
			}
			switch typ {
			case wtproto.TypePing:
				r.control.Write(wtproto.Pong{}.Append(nil))
			case wtproto.TypeGoaway:
				if m, err := wtproto.ParseGoaway(payload); err != nil || m.Code != wtproto.CodeNone {
					r.t.Errorf("GOAWAY %+v, %v", m, err)
				}
				close(done) // panics if it comes twice
			}
		}
	}()
	return done
}

// begin calls Shutdown.
func begin(t *testing.T, c *Client) <-chan error {
	shut := make(chan error, 1)
	go func() { shut <- c.Shutdown(t.Context()) }()
	return shut
}

// Shutdown does not wait for a gateway that is not there: at all, if no peer can wait for anything,
// else no longer than for any silent one.
func TestShutdownOfAVanishedGateway(t *testing.T) {
	for name, circuit := range map[string]bool{"without a circuit": false, "after a circuit": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				c, r := n.session(t, nil)
				topic := r.join(c, topicA, JoinOptions{})
				want := time.Duration(0)
				if circuit {
					conn, s := r.circuit(topic, 1)
					s.Close()
					io.ReadAll(conn)
					conn.Close()
					want = 25 * time.Second
				}
				r.sync()
				n.cut.Store(true)
				start := time.Now()
				if err := c.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				elapsed(t, "Shutdown returned", start, want)
			})
		})
	}
}

// A gateway that answers, and does not end the session, is not waited for for ever.
func TestShutdownOfAGatewayThatGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		_, s := r.circuit(topic, 1)
		s.Close()
		shut := begin(t, c)
		<-r.finishes()
		start := time.Now()
		if err := <-shut; err != nil {
			t.Error(err)
		}
		elapsed(t, "Shutdown returned", start, farewell)
	})
}

// Two sessions were finished one after the other, each as slow as its peers. The end of the first
// one is no loss.
func TestShutdownOfTwoSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		topic := r.join(c, topicA, JoinOptions{})
		_, s := r.circuit(topic, 1)
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: time.Hour})
		next := other.accept()
		next.changes(1)
		next.send(welcome, wtproto.Joined{Topic: topicA})
		next.sync()
		_, s2 := next.circuit(topic, 7)
		d := read(t, c)
		nextIs[Connected](d)
		nextIs[Connected](d)
		start := time.Now()
		shut := begin(t, c)
		s.Close()
		s2.Close()
		for r, slow := range map[*remote]time.Duration{r: 50 * time.Second, next: 10 * time.Second} {
			finished := r.finishes()
			go func() {
				<-finished
				<-time.After(slow) // as its peers are
				r.end(wtproto.CodeNone)
			}()
		}
		<-time.After(20 * time.Second)
		other.alone()
		if err := <-shut; err != nil {
			t.Error(err)
		}
		elapsed(t, "Shutdown returned", start, 50*time.Second)
		d.over()
	})
}

// A client that was shutting down connected to another gateway when its own said GOAWAY.
func TestShutdownNeedsNoOtherGateway(t *testing.T) {
	for name, open := range map[string]bool{"a circuit is open": true, "all have ended": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g, other := newGateway(t, n.gateway), newGateway(t, n.other)
				c, r := g.session(n.on(other))
				_, s := r.circuit(r.join(c, topicA, JoinOptions{}), 1)
				shut, finished := begin(t, c), r.finishes()
				if open {
					io.ReadAll(s)
				} else {
					s.Close()
					<-finished
				}
				r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: time.Hour})
				other.alone()
				<-time.After(time.Second)
				r.end(wtproto.CodeNone)
				if err := <-shut; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Nor does it when its own gateway is silent, and it gives up those that it was trying.
func TestShutdownTriesNoOtherGateway(t *testing.T) {
	for name, before := range map[string]bool{"silent before": true, "silent during": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g, other := newGateway(t, n.gateway), newGateway(t, n.other)
				c, r := g.session(n.on(other))
				r.circuit(r.join(c, topicA, JoinOptions{}), 1)
				r.sync()
				n.cutOff[0].Store(true)
				if before {
					n.cutOff[1].Store(true)
					<-time.After(8 * time.Second) // it tries the other one
				}
				shut := begin(t, c)
				<-time.After(time.Second)
				n.cutOff[1].Store(false)
				for range 10 {
					other.alone()
				}
				if err := <-shut; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// However the gateway ends the session, nothing is told of it, and no other one begins.
func TestShutdownTellsNothing(t *testing.T) {
	for _, code := range []wtproto.Code{wtproto.CodeNone, wtproto.CodeShutdown, wtproto.CodeForbidden} {
		inBubble(t, func(t *testing.T, n *network) {
			g := newGateway(t, n.gateway)
			c, r := g.session(n.on())
			d := read(t, c)
			nextIs[Connected](d)
			_, s := r.circuit(r.join(c, topicA, JoinOptions{}), 1)
			s.Close()
			shut := begin(t, c)
			<-r.finishes()
			r.end(code)
			if err := <-shut; err != nil {
				t.Error(err)
			}
			d.over()
		})
	}
}

// A session that was left is finished after its last circuit, and not before. It takes no circuit
// then, also not one whose filter had been asked before.
func TestLeftSessionIsFinished(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		entered, proceed := make(chan struct{}), make(chan struct{})
		topic := r.join(c, topicA, JoinOptions{Filter: func(p Peer) bool {
			if p.ID[1] == 2 {
				close(entered)
				<-proceed
			}
			return true
		}})
		conn, s := r.circuit(topic, 1)
		r.sync()
		r.open(peer(2).Append(nil))
		<-entered
		n.cutOff[0].Store(true)
		next := other.accept()
		next.changes(1)
		next.send(welcome, wtproto.Joined{Topic: topicA})
		next.sync()
		n.cutOff[0].Store(false)
		finished, nextFinished := r.finishes(), next.finishes()
		<-time.After(5 * time.Second)
		select {
		case <-finished:
			t.Error("finished with a circuit")
		default:
		}
		s.Close()
		io.ReadAll(conn)
		conn.Close()
		<-finished
		close(proceed)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if conn, err := topic.Accept(ctx); err == nil {
			t.Errorf("a circuit on a session that is finished: %v", conn.Peer())
		}
		r.end(wtproto.CodeNone)
		fresh, far := next.circuit(topic, 7)
		echo(t, fresh, far)
		select {
		case <-nextFinished:
			t.Error("the other session was finished")
		default:
		}
	})
}
