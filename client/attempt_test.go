package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A session that was lost is followed by another one: after a delay, with the same secret, with all
// topics and their options in one flight, and whoever waits for circuits gets those of the new one.
func TestReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		if e := nextIs[Connected](d); e.Gateway != g.addr || e.Session != welcome.Session {
			t.Errorf("%+v", e)
		}
		a := r.join(c, topicA, JoinOptions{MaxPeers: 7, Filter: func(Peer) bool { return true }})
		b := r.join(c, topicB, JoinOptions{AnnounceOnly: true})
		r.send(peer(1), peer(2))
		r.accepted()
		r.accepted()
		conn := accept(t, a) // the other one is in the queue
		r.send(wtproto.Status{Topic: topicA, Known: 5})
		r.sync()
		accepting := make(chan *Conn, 1)
		go func() {
			conn, err := b.Accept(context.Background())
			if err != nil {
				t.Errorf("Accept = %v", err)
			}
			accepting <- conn
		}()
		a.client.mu.Lock()
		changed := a.changed
		a.client.mu.Unlock()
		r.end(wtproto.CodeBusy)
		lost := nextIs[Disconnected](d)
		wantError(t, "Disconnected", lost.Err, wtproto.CodeBusy, true)
		again := nextIs[Reconnecting](d)
		if again.Attempt != 1 || again.Delay < 250*time.Millisecond || again.Delay > 500*time.Millisecond || again.Err != lost.Err {
			t.Errorf("%+v, want attempt 1 after 250 to 500 ms", again)
		}
		start := time.Now()
		wait(t, "a change of the status", changed)
		if status := a.Status(); status.Known != 0 {
			t.Errorf("Status without a session = %+v", status)
		}
		_, readErr := conn.Read(make([]byte, 1))
		_, writeErr := conn.Write(make([]byte, 1))
		for who, err := range map[string]error{"Read": readErr, "Write": writeErr, "CloseWrite": conn.CloseWrite()} {
			if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodePeerGone || e.Remote {
				t.Errorf("%s = %v, want PEER_GONE", who, err)
			}
			wantError(t, "the cause of "+who, err, wtproto.CodeBusy, true)
		}

		next := g.accept()
		elapsed(t, "HELLO", start, again.Delay)
		if next.hello.Secret != r.hello.Secret || next.hello.Credit != r.hello.Credit {
			t.Errorf("HELLO %+v, want one like %+v", next.hello, r.hello)
		}
		if next.conn.RemoteAddr().String() == r.conn.RemoteAddr().String() {
			t.Errorf("both sessions come from %v", r.conn.RemoteAddr())
		}
		hello := time.Now()
		joins := next.changes(2)
		if joins[topicA] == nil || joins[topicA].MaxPeers != 7 || joins[topicA].Flags != wtproto.JoinAnnounce|wtproto.JoinLookUp|wtproto.JoinOfferOnly {
			t.Errorf("JOIN %+v", joins[topicA])
		}
		if joins[topicB] == nil || joins[topicB].MaxPeers != 0 || joins[topicB].Flags != wtproto.JoinAnnounce {
			t.Errorf("JOIN %+v", joins[topicB])
		}
		if took := time.Since(hello); took != 0 {
			t.Errorf("JOIN came %v after HELLO", took)
		}
		m := welcome
		m.Session = wtproto.SessionID{0xcd}
		next.open(wtproto.Peer{Circuit: 1, Topic: topicB, ID: []byte{0xc0, 3}}.Append(nil)) // overtakes WELCOME
		<-time.After(rtt)
		next.send(m, wtproto.Joined{Topic: topicA}, wtproto.Joined{Topic: topicB})
		if e := nextIs[Connected](d); e.Gateway != g.addr || e.Session != m.Session || c.Session().ID != m.Session {
			t.Errorf("%+v, Session %+v", e, c.Session())
		}
		if conn := <-accepting; conn.Peer().ID[1] != 3 {
			t.Errorf("accepted %+v", conn.Peer())
		}
		next.send(peer(4))
		next.accepted()
		if id := accept(t, a).Peer().ID[1]; id != 4 {
			t.Errorf("accepted %d, want 4: what was lost is not for Accept", id)
		}
		next.sync() // no further JOIN
		c.Close()
		d.over()
		if e := next.closed(); e.ErrorCode != 0 {
			t.Errorf("session closed with %v, want NONE", e)
		}
		if err := c.Err(); err != net.ErrClosed {
			t.Errorf("Err = %v", err)
		}
	})
}

// Delays grow for as long as nobody answers, and the attempts count.
func TestReconnectAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(func(c *Config) {
			n.on()(c)
			c.DialTimeout = 2 * time.Second
		})
		d := read(t, c)
		nextIs[Connected](d)
		r.end(wtproto.CodeNone)
		nextIs[Disconnected](d)
		n.cut.Store(true)
		start, due := time.Now(), time.Duration(0)
		for attempt := 1; attempt <= 5; attempt++ {
			e := nextIs[Reconnecting](d)
			elapsed(t, describe(e), start, due)
			most := 500 * time.Millisecond << (attempt - 1)
			if e.Attempt != attempt || e.Delay < most/2 || e.Delay > most {
				t.Errorf("%+v, want attempt %d after %v to %v", e, attempt, most/2, most)
			}
			if attempt > 1 {
				wantError(t, "Reconnecting", e.Err, wtproto.CodePeerUnreachable, false)
			}
			due += e.Delay + 2*time.Second
		}
		n.cut.Store(false)
		r = g.accept()
		r.send(welcome)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		echo(t, conn, s)
	})
}

// What ends a client for good, whether a session ends with it or an attempt; and what does not.
func TestPermanentEnds(t *testing.T) {
	for code, permanent := range map[wtproto.Code]bool{
		wtproto.CodeUnauthorized: true, wtproto.CodeForbidden: true, wtproto.CodeVersion: true, wtproto.CodeTokenExpired: true,
		wtproto.CodeReplaced: true, wtproto.CodeProtocol: true, wtproto.CodeTooLarge: true,
		wtproto.CodeShutdown: false, wtproto.CodeRateLimited: false, wtproto.CodeIdle: false, wtproto.CodeInternal: false, 0xfe: false,
	} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g := newGateway(t, n.gateway)
				c, r := g.session(n.on())
				d := read(t, c)
				nextIs[Connected](d)
				topic := r.join(c, topicA, JoinOptions{})
				r.end(code)
				if !permanent {
					nextIs[Disconnected](d)
					nextIs[Reconnecting](d)
					r = g.accept()
					r.changes(1)
					r.send(welcome)
					nextIs[Connected](d)
					return
				}
				d.over()
				wait(t, "Done", c.Done())
				wantError(t, "Err", c.Err(), code, true)
				wantError(t, "Err of the topic", topic.Err(), code, true)
				_, err := c.Join(t.Context(), topicB, JoinOptions{})
				wantError(t, "Join", err, code, true)
			})
			if !permanent {
				return
			}
			inBubble(t, func(t *testing.T, n *network) {
				g := newGateway(t, n.gateway)
				c, r := g.session(n.on())
				d := read(t, c)
				nextIs[Connected](d)
				result := startJoin(t.Context(), c, topicA, JoinOptions{})
				r.changes(1)
				r.end(wtproto.CodeNone)
				nextIs[Disconnected](d)
				nextIs[Reconnecting](d)
				g.accept().end(code)
				d.over()
				wait(t, "Done", c.Done())
				wantError(t, "Err", c.Err(), code, true)
				wantError(t, "Join", (<-result).err, code, true)
			})
		})
	}
}

// GOAWAY of the only gateway changes nothing, and is obeyed once the session has ended.
func TestGoawayAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		start := time.Now()
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: 8 * time.Second})
		r.sync()
		joining := startJoin(deadline(t), c, topicB, JoinOptions{})
		expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
		r.send(wtproto.Left{Topic: topicB, Code: wtproto.CodeShutdown})
		<-time.After(1500 * time.Millisecond) // no JOIN is tried again with a gateway that goes away
		r.sync()
		echo(t, conn, s)
		d.quiet()
		r.end(wtproto.CodeShutdown)
		nextIs[Disconnected](d)
		if e := nextIs[Reconnecting](d); time.Since(start)+e.Delay < 8*time.Second {
			t.Errorf("%+v, which is %v after GOAWAY", e, time.Since(start)+e.Delay)
		}
		r = g.accept()
		elapsed(t, "HELLO", start, 8*time.Second)
		if joins := r.changes(2); joins[topicA] == nil || joins[topicB] == nil {
			t.Errorf("JOINs %v", joins)
		}
		r.send(welcome, wtproto.Joined{Topic: topicB})
		if j := <-joining; j.err != nil {
			t.Errorf("Join = %v", j.err)
		}
		if goesAway(c) {
			t.Error("the new session's gateway goes away")
		}
	})
}

// A client that wants one session only does not move.
func TestNoReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(func(c *Config) {
			n.on(other)(c)
			c.NoReconnect = true
		})
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		r.send(wtproto.Goaway{Code: wtproto.CodeShutdown})
		<-time.After(24 * time.Second) // and nothing is heard of the gateway
		r.sync()
		echo(t, conn, s)
		r.end(wtproto.CodeShutdown)
		d.over()
		wait(t, "Done", c.Done())
		wantError(t, "Err", c.Err(), wtproto.CodeShutdown, true)
		wantError(t, "Err of the topic", topic.Err(), wtproto.CodeShutdown, true)
		other.alone()
	})
}

// Close ends everything at once, whatever a client is at, and leaves nothing behind.
func TestCloseInEveryState(t *testing.T) {
	type state struct {
		*testing.T
		network  *network
		g, other *fake
	}
	connected := func(s state, edit func(*Config)) (*Client, *remote, *diary) {
		c, r := s.g.session(edit)
		d := read(s.T, c)
		nextIs[Connected](d)
		return c, r, d
	}
	for name, reach := range map[string]func(s state) *Client{
		"connected": func(s state) *Client {
			c, r, _ := connected(s, s.network.on())
			topic := r.join(c, topicA, JoinOptions{})
			r.circuit(topic, 1)
			return c
		},
		"waiting": func(s state) *Client {
			c, r, d := connected(s, s.network.on())
			r.join(c, topicA, JoinOptions{})
			r.end(wtproto.CodeNone)
			nextIs[Disconnected](d)
			nextIs[Reconnecting](d)
			return c
		},
		"connecting, without an answer": func(s state) *Client {
			c, r, d := connected(s, s.network.on(s.other))
			r.end(wtproto.CodeNone)
			nextIs[Disconnected](d)
			s.network.cut.Store(true)
			<-time.After(nextIs[Reconnecting](d).Delay + 2*time.Second)
			return c
		},
		"connecting, before WELCOME": func(s state) *Client {
			c, r, d := connected(s, s.network.on())
			r.join(c, topicA, JoinOptions{})
			r = s.g.lose(r, d, 1)
			r.open(peer(1).Append(nil)) // waits for WELCOME
			<-time.After(rtt)
			return c
		},
		"moving": func(s state) *Client {
			c, r, _ := connected(s, s.network.on(s.other))
			topic := r.join(c, topicA, JoinOptions{})
			r.circuit(topic, 1)
			r.send(wtproto.Goaway{})
			s.other.accept()
			return c
		},
		"moving, without an answer": func(s state) *Client {
			s.network.cutOff[1].Store(true)
			c, r, _ := connected(s, s.network.on(s.other))
			r.send(wtproto.Goaway{})
			<-time.After(11 * time.Second)
			return c
		},
		"moved, with circuits on either": func(s state) *Client {
			c, r, d := connected(s, s.network.on(s.other))
			topic := r.join(c, topicA, JoinOptions{})
			r.circuit(topic, 1)
			r.send(wtproto.Goaway{})
			next := s.other.accept()
			next.changes(1)
			next.send(welcome, wtproto.Joined{Topic: topicA})
			nextIs[Connected](d)
			next.circuit(topic, 1)
			return c
		},
		"a topic refused for now": func(s state) *Client {
			c, r, _ := connected(s, s.network.on())
			r.join(c, topicA, JoinOptions{})
			r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeBusy})
			r.sync()
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				c := reach(state{t, n, newGateway(t, n.gateway), newGateway(t, n.other)})
				result := startJoin(context.Background(), c, topicB, JoinOptions{})
				synctest.Wait()
				start := time.Now()
				c.Close()
				elapsed(t, "Close returned", start, 0)
				if err := (<-result).err; err == nil {
					t.Error("Join did not fail")
				}
				if len(n.sockets) == 32 {
					t.Error("no socket was used")
				}
			})
		})
	}
}
