package client

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// What the caller changes between HELLO and WELCOME is told after it.
func TestJoinsMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		nextIs[Connected](d)
		same, left, again, changed, added := wtproto.Topic{1}, wtproto.Topic{2}, wtproto.Topic{3}, wtproto.Topic{4}, wtproto.Topic{5}
		topics := make(map[wtproto.Topic]*Topic)
		for _, key := range []wtproto.Topic{same, left, again, changed} {
			topics[key] = r.join(c, key, JoinOptions{})
		}
		r = g.lose(r, d, 4)
		for _, key := range []wtproto.Topic{left, again} {
			if err := topics[key].Leave(t.Context()); err != nil {
				t.Errorf("Leave = %v", err)
			}
		}
		if again, err := c.Join(t.Context(), changed, JoinOptions{MaxPeers: 4}); err != nil || again != topics[changed] {
			t.Errorf("Join of a joined topic = %v, %v", again, err)
		}
		joinAgain := startJoin(deadline(t), c, again, JoinOptions{})
		joinAdded := startJoin(deadline(t), c, added, JoinOptions{LookUpOnly: true})
		poll(t, "5 topics", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.topics) == 4 && c.topics[added] != nil && c.topics[again] != nil
		})
		r.send(welcome)
		changes := r.changes(3)
		if m, sent := changes[left]; !sent || m != nil {
			t.Errorf("%+v for the topic that was left", m)
		}
		if m := changes[changed]; m == nil || m.MaxPeers != 4 {
			t.Errorf("%+v for the topic with other options", m)
		}
		if m := changes[added]; m == nil || m.Flags != wtproto.JoinLookUp {
			t.Errorf("%+v for the topic that is new", m)
		}
		for key := range changes {
			r.send(wtproto.Joined{Topic: key}) // the JOIN of left, too
		}
		r.send(wtproto.Joined{Topic: again})
		if j := <-joinAdded; j.err != nil {
			t.Errorf("Join of a new topic = %v", j.err)
		}
		// What was joined anew was never left, for this gateway.
		if j := <-joinAgain; j.err != nil || j.topic == topics[again] {
			t.Errorf("Join of a topic that was left = %p, %v", j.topic, j.err)
		}
		// JOIN of the topic that was left waits for the LEFT of the one before.
		rejoin := startJoin(deadline(t), c, left, JoinOptions{MaxPeers: 2})
		r.sync()
		r.send(wtproto.Left{Topic: left})
		if m := r.joins(left); m.MaxPeers != 2 {
			t.Errorf("JOIN = %+v", m)
		}
		if j := <-rejoin; j.err != nil {
			t.Errorf("Join = %v", j.err)
		}
		r.sync()
	})
}

// Without a session a Join waits, as long as its ctx does, and Leave does not.
func TestJoinWithoutSession(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		r.end(wtproto.CodeNone)
		nextIs[Disconnected](d)
		n.cut.Store(true)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := c.Join(ctx, topicB, JoinOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Join = %v, want %v", err, context.DeadlineExceeded)
		}
		elapsed(t, "Join returned", start, 5*time.Second)
		start = time.Now()
		if err := topic.Leave(context.Background()); err != nil || topic.Err() != net.ErrClosed {
			t.Errorf("Leave = %v, Err = %v", err, topic.Err())
		}
		elapsed(t, "Leave returned", start, 0)
		n.cut.Store(false)
		g.accept().send(welcome)
		nextIs[Reconnecting](d)
		nextIs[Connected](d)
	})
}

// A topic that is refused for a while is asked for again, with growing delays; nobody hears of it
// but the log.
func TestRefusedForNow(t *testing.T) {
	for _, code := range []wtproto.Code{wtproto.CodeShutdown, wtproto.CodeBusy, wtproto.CodeRateLimited} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g := newGateway(t, n.gateway)
				c, r := g.session(n.on())
				d := read(t, c)
				nextIs[Connected](d)
				topic := r.join(c, topicA, JoinOptions{MaxPeers: 9})
				other := r.join(c, topicB, JoinOptions{})
				r = g.lose(r, d, 2)
				r.send(welcome, wtproto.Left{Topic: topicA, Code: code, Reason: "not now"}, wtproto.Joined{Topic: topicB})
				nextIs[Connected](d)
				for whole := 500 * time.Millisecond; whole <= 2*time.Second; whole *= 2 {
					start := time.Now()
					if m := expect(r, wtproto.TypeJoin, wtproto.ParseJoin); m.Topic != topicA || m.MaxPeers != 9 {
						t.Errorf("JOIN = %+v", m)
					}
					if took := time.Since(start); took < whole/2-rtt || took > whole+2*rtt {
						t.Errorf("JOIN after %v, want %v to %v", took, whole/2, whole)
					}
					r.send(wtproto.Left{Topic: topicA, Code: code})
				}
				expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
				r.send(wtproto.Joined{Topic: topicA})
				conn, s := r.circuit(topic, 1)
				echo(t, conn, s)
				// Taken away for a while is no different, and delays begin anew after a while
				// without trouble.
				for range 4 {
					<-time.After(proven / 4)
					r.sync()
				}
				start := time.Now()
				r.send(wtproto.Left{Topic: topicA, Code: code})
				r.joins(topicA)
				if took := time.Since(start); took > 500*time.Millisecond+2*rtt {
					t.Errorf("JOIN after %v", took)
				}
				if topic.Err() != nil || other.Err() != nil {
					t.Errorf("Err = %v and %v", topic.Err(), other.Err())
				}
				d.quiet()
			})
		})
	}
}

// A topic that waits to be asked for again is left without a word, for the gateway does not know
// it.
func TestLeaveWhileRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		ctx, cancel := context.WithCancel(t.Context())
		result := startJoin(ctx, c, topicA, JoinOptions{})
		expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
		r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeBusy})
		r.sync()
		cancel()
		if j := <-result; !errors.Is(j.err, context.Canceled) {
			t.Errorf("Join = %v, want %v", j.err, context.Canceled)
		}
		<-time.After(time.Second)
		r.sync() // neither LEAVE nor JOIN
		r.join(c, topicA, JoinOptions{})
	})
}

// A topic that is refused for good ends, and nothing else does.
func TestRefusedForGood(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		other := r.join(c, topicB, JoinOptions{})
		r = g.lose(r, d, 2)
		r.send(welcome, wtproto.Joined{Topic: topicB}, wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden, Reason: "not you"})
		nextIs[Connected](d)
		_, err := topic.Accept(deadline(t))
		wantError(t, "Accept", err, wtproto.CodeForbidden, true)
		r.open(wtproto.Peer{Circuit: 1, Topic: topicB, ID: []byte{0xc0, 1}}.Append(nil))
		accept(t, other)
		d.quiet()
		r = g.lose(r, d, 1) // without it
		r.send(welcome)
		r.sync()
	})
}

// A Join whose session is lost before the gateway has answered goes on in the next one.
func TestJoinGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		nextIs[Connected](d)
		result := startJoin(deadline(t), c, topicA, JoinOptions{MaxPeers: 3})
		expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
		leaving := r.join(c, topicB, JoinOptions{})
		left := make(chan error, 1)
		go func() { left <- leaving.Leave(context.Background()) }()
		expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
		r = g.lose(r, d, 1)
		if err := <-left; err != nil {
			t.Errorf("Leave = %v", err)
		}
		r.send(welcome, wtproto.Joined{Topic: topicA})
		if j := <-result; j.err != nil {
			t.Errorf("Join = %v", j.err)
		}
	})
}

// JOINs that do not fit into the outbox when a session begins are sent a little later.
func TestManyJoinsMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		c, r := g.session(n.on())
		d := read(t, c)
		nextIs[Connected](d)
		r = g.lose(r, d, 0)
		const many = 2*maxFrames/35 + 1
		all := make(chan joining, many)
		for i := range many {
			go func() {
				topic, err := c.Join(deadline(t), wtproto.Topic{byte(i), byte(i >> 8)}, JoinOptions{})
				all <- joining{topic, err}
			}()
		}
		poll(t, "all topics", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.topics) == many
		})
		r.send(welcome)
		seen := make(map[wtproto.Topic]bool)
		for len(seen) < many {
			m := expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
			if seen[m.Topic] {
				t.Fatalf("two JOINs of %v", m.Topic)
			}
			seen[m.Topic] = true
			r.send(wtproto.Joined{Topic: m.Topic})
		}
		for range many {
			if j := <-all; j.err != nil {
				t.Fatal(j.err)
			}
		}
		r.end(wtproto.CodeNone)
		nextIs[Connected](d)
		nextIs[Disconnected](d)
		if next := g.accept(); len(next.changes(many)) != many { // all in one flight
			t.Error("not all topics were joined")
		}
		io.Copy(io.Discard, r.control)
	})
}
