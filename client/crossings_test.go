package client

import (
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// One goroutine is done writing, another one with the circuit: the peer gets what was written and
// the end. Close took CloseWrite for a Write in progress, which it resets.
func TestCloseBesideCloseWrite(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	for id := wtproto.CircuitID(1); id <= 500; id++ {
		conn, s := r.circuit(topic, id)
		conn.Write([]byte("hello"))
		var wg sync.WaitGroup
		var ready atomic.Int32
		for _, end := range []func() error{conn.CloseWrite, conn.Close} {
			wg.Go(func() {
				for ready.Add(1); ready.Load() < 2; {
					runtime.Gosched()
				}
				end()
			})
		}
		if b, err := io.ReadAll(s); err != nil || string(b) != "hello" {
			t.Fatalf("circuit %d: the gateway read %q, %v", id, b, err)
		}
		s.Close()
		wg.Wait()
	}
}

// A topic is taken away with a circuit that nobody has accepted: Leave gives its place back.
func TestLeaveOfTopicTakenAway(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	r.send(peer(1), wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden})
	wait(t, "the end of the topic", topic.Done())
	if err := topic.Leave(deadline(t)); err != nil {
		t.Error(err)
	}
	if n := live(c).places(); n != 0 {
		t.Errorf("%d circuits have a place that nobody can get", n)
	}
}

// Silence is found by one goroutine and its end by another. Whoever tells the client last tells it
// how it is.
func TestSilenceToldLate(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		r.circuit(r.join(c, topicA, JoinOptions{}), 1)
		r.sync()
		s := live(c)
		s.mu.Lock() // as watch does
		s.life.asked = time.Now().Add(-silentAfter)
		found := s.life.check(time.Now(), true)
		s.mu.Unlock()
		if found != silent {
			t.Fatalf("found %v, want silence", found)
		}
		r.send(wtproto.Pong{})
		<-time.After(rtt)
		s.reportSilence() // as watch does next
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.machine.phase != idle {
			t.Error("another gateway is tried, though the session is alive")
		}
	})
}

// The largest of what may be asked for is asked for.
func TestLargestConfig(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, func(c *Config) { c.DialTimeout = math.MaxInt64 })
		go c.Join(deadline(t), topicA, JoinOptions{MaxPeers: math.MaxInt})
		if m := expect(r, wtproto.TypeJoin, wtproto.ParseJoin); m.MaxPeers != 1<<62-1 {
			t.Errorf("JOIN asks for %d peers, want %d", m.MaxPeers, 1<<62-1)
		}
		r.send(wtproto.Joined{Topic: topicA})
	})
}
