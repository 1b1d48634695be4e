package server

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// numbered returns one topic of many.
func numbered(n int) wtproto.Topic { return wtproto.TopicFromName(fmt.Sprint("topic ", n)) }

// try joins t and returns what the client is told: CodeNone if it is on it.
func (c *fakeClient) try(t wtproto.Topic) wtproto.Code {
	c.t.Helper()
	c.send(wtproto.Join{Topic: t, Flags: announceAndLookUp})
	for {
		switch m := c.next().(type) {
		case wtproto.Joined:
			synctest.Wait()
			return wtproto.CodeNone
		case wtproto.Left:
			if m.Topic != t {
				c.t.Fatalf("left %v", m.Topic)
			}
			return m.Code
		}
	}
}

// drop leaves t.
func (c *fakeClient) drop(t wtproto.Topic) {
	c.t.Helper()
	c.send(wtproto.Leave{Topic: t})
	expect[wtproto.Left](c)
	synctest.Wait()
}

// running returns how many topics there are, and on how many a network is.
func (g *bubble) running() (topics, asked int) {
	synctest.Wait()
	for _, j := range g.lan.all() {
		if j.ended.IsZero() {
			asked++
		}
	}
	return len(g.router.all()), asked
}

// JOIN and LEAVE in turn passed the limit of topics, as each topic lived for 15 s more with all
// its work: 60 sessions of one address made 180,120 goroutines. Now a principal makes so many
// topics in short time; those that it leaves at once ask nobody after the first few; and those in
// their grace time count for who left them.
func TestJoinAndLeaveInTurn(t *testing.T) {
	inBubble(t, Config{ControlRate: -1, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		var cs []*fakeClient
		for range 60 {
			cs = append(cs, g.connect())
		}
		joined := make(map[wtproto.Code]int)
		for n := range 3000 {
			c, topic := cs[n%len(cs)], numbered(n)
			code := c.try(topic)
			if joined[code]++; code == wtproto.CodeNone {
				c.drop(topic)
			}
		}
		if joined[wtproto.CodeNone] != 512 || joined[wtproto.CodeRateLimited] != 3000-512 {
			t.Errorf("answers %v, want 512 joined and the rest RATE_LIMITED", joined)
		}
		if topics, asked := g.running(); topics != fewTopics || asked != fewTopics {
			t.Errorf("%d topics, %d of which networks know, want %d", topics, asked, fewTopics)
		}
		// More come at their rate, and wait for a second before a network is asked.
		pass(time.Minute)
		c := cs[0]
		for n := range 300 {
			if code := c.try(numbered(5000 + n)); code != wtproto.CodeNone {
				t.Fatalf("topic %d after a minute: %v", n, code)
			}
			c.drop(numbered(5000 + n))
		}
		if code := c.try(numbered(6000)); code != wtproto.CodeRateLimited {
			t.Errorf("one more than the rate allows: %v", code)
		}
		if topics, _ := g.running(); topics != 0 {
			t.Errorf("%d topics are left that no network was asked about", topics)
		}
		pass(time.Second)
		if code := c.try(numbered(7000)); code != wtproto.CodeNone {
			t.Errorf("a second later: %v", code)
		}
		if _, asked := g.running(); asked != 0 {
			t.Errorf("the networks were asked at once about a topic of who made many")
		}
		pass(time.Second)
		if _, asked := g.running(); asked != 1 {
			t.Errorf("the networks were not asked after a second")
		}
	})
}

// A topic in its grace time counts for who left it, and ends early if its place is needed.
func TestGraceCounts(t *testing.T) {
	inBubble(t, Config{MaxTopicsPerPrincipal: 3, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, other := g.connect(), g.connect()
		held := func() int64 { return g.ledger.census().total[resourceTopics] }
		for n := range 3 {
			if code := c.try(numbered(n)); code != wtproto.CodeNone {
				t.Fatalf("topic %d: %v", n, code)
			}
			pass(time.Second)
		}
		if code := other.try(numbered(3)); code != wtproto.CodeTopicLimit {
			t.Errorf("a fourth topic of the principal: %v, want TOPIC_LIMIT", code)
		}
		c.drop(numbered(1))
		c.drop(numbered(0))
		if n, topics := held(), len(g.router.all()); n != 3 || topics != 3 {
			t.Errorf("%d topics held of %d, want those in their grace time too", n, topics)
		}
		// The one that was left first makes room.
		if code := other.try(numbered(3)); code != wtproto.CodeNone {
			t.Errorf("a topic instead of one in its grace time: %v", code)
		}
		if g.has(numbered(1)) || !g.has(numbered(0)) || !g.has(numbered(3)) {
			t.Errorf("the wrong topic ended")
		}
		// Who comes back to one takes its charge over.
		if code := c.try(numbered(0)); code != wtproto.CodeNone || held() != 3 {
			t.Errorf("back on a topic: %v, %d held", code, held())
		}
		for _, n := range []int{0, 2} {
			c.drop(numbered(n))
		}
		other.link.end(nil)
		pass(15 * time.Second)
		if n, topics := held(), len(g.router.all()); n != 0 || topics != 0 {
			t.Errorf("%d topics held and %d running after the grace time, want 0", n, topics)
		}
	})
}

func (g *bubble) has(key wtproto.Topic) bool {
	synctest.Wait()
	for _, t := range g.router.all() {
		if t.key == key {
			return true
		}
	}
	return false
}

// Each principal on a topic is charged for it until it leaves, and the last one for the grace time
// as well.
func TestTopicIsChargedForOnce(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		held := func() int64 { synctest.Wait(); return g.ledger.census().total[resourceTopics] }
		a.join(wtproto.JoinLookUp, 0)
		b.join(wtproto.JoinLookUp, 0)
		for i, want := range []int64{2, 1, 1} {
			if n := held(); n != want {
				t.Errorf("%d: %d topics held, want %d", i, n, want)
			}
			if i < 2 {
				[]*fakeClient{a, b}[i].leave()
			}
		}
		pass(15 * time.Second)
		if n := held(); n != 0 {
			t.Errorf("%d topics held, want 0", n)
		}
	})
}

// The control reader may be at a JOIN while its session leaves all topics, since that does not
// wait for it. It wrote to a map that was gone, and the gateway ended.
func TestJoinOfEndedSession(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, other := g.connect(), g.connect()
		other.join(wtproto.JoinLookUp, 0)
		c.link.end(nil)
		synctest.Wait()
		for _, topic := range []wtproto.Topic{wowcool, numbered(1)} { // somebody is on the one, and nobody on the other
			c.session.join(wtproto.Join{Topic: topic, Flags: announceAndLookUp})
		}
		synctest.Wait()
		if n, held := len(g.router.all()), g.ledger.census().total[resourceTopics]; n != 1 || held != 1 {
			t.Errorf("%d topics, %d held, want those of the other session", n, held)
		}
		other.leave()
		pass(15 * time.Second)
		if n, held := len(g.router.all()), g.ledger.census().total[resourceTopics]; n != 0 || held != 0 {
			t.Errorf("%d topics, %d held, want none", n, held)
		}
	})
}

// A peer that ends each circuit at once and says nothing is as good as one that cannot be reached.
// Joining again had it dialed 37 times a second for each session.
func TestHangUpIsAFailure(t *testing.T) {
	for _, restart := range []bool{false, true} { // of the topic
		inBubble(t, Config{Idle: 100 * time.Hour, NewTopics: -1}, func(t *testing.T, g *bubble) {
			c := g.connect()
			p := g.lan.peer("1")
			p.answers(nil)
			start := time.Now()
			for range 200 {
				c.join(wtproto.JoinLookUp, 0)
				g.lan.see(p.sighting())
				for range 10 { // it is dialed when its back-off is over
					for len(p.ends) > 0 {
						reset(p.circuit(), wtproto.CodeApplication)
						synctest.Wait()
					}
					pass(10 * time.Millisecond)
				}
				c.leave()
				for len(p.ends) > 0 {
					reset(p.circuit(), wtproto.CodeApplication)
				}
				if restart {
					pass(15 * time.Second)
				}
			}
			low := time.Second
			for i, gap := range gaps(p.dialed()) {
				if gap < low {
					t.Errorf("restart %v: dial %d after %v, want %v at least", restart, i+2, gap, low)
				}
				low = min(2*low, time.Minute)
			}
			if n := len(p.dialed()); n < 4 {
				t.Errorf("restart %v: %d dials in %v", restart, n, time.Since(start))
			}
		})
	}
}

// A stranger that opened circuits and ended them at once used up what a client may fail to dial, so
// that the client was kept from all its peers.
func TestStrangersThatHangUp(t *testing.T) {
	inBubble(t, Config{NewCircuits: -1, FailedDials: 10}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		for n := range 100 {
			in := g.lan.peer(fmt.Sprint("stranger ", n)).inbound(c.endpoint())
			g.lan.see(in.sighting(0))
			c.circuit()
			reset(in.far, wtproto.CodeApplication)
			synctest.Wait()
		}
		g.lan.see(g.lan.peer("friend").sighting())
		pass(100 * time.Millisecond)
		if n := c.streams(); n != 1 {
			t.Errorf("%d circuits with the friend, want 1", n)
		}
	})
}

// A client that ends its circuits at once says nothing about the peer.
func TestClientThatHangsUp(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		p := g.lan.peer("1")
		for n := range 10 {
			c := g.connect()
			c.join(wtproto.JoinLookUp, 0)
			if n == 0 {
				g.lan.see(p.sighting())
			}
			x := c.circuit()
			if n%2 == 0 {
				reset(x, wtproto.CodeApplication)
			} else {
				x.CloseWrite()
				p.circuit().CloseWrite()
			}
			synctest.Wait()
			if d := p.dialed(); len(d) != n+1 {
				t.Fatalf("client %d: dialed %d times, want at once", n, len(d))
			}
			c.link.end(nil)
			synctest.Wait()
		}
	})
}

// Dials that fail are limited for a principal and for a topic; clients are connected all the same.
func TestFailedDialsAreLimited(t *testing.T) {
	for _, test := range []struct {
		name  string
		cfg   Config
		most  int
		limit LimitName
	}{
		{"a principal", Config{FailedDials: 60}, 60 + 20, LimitFailedDials},
		{"a topic", Config{}, topicFailuresBurst + 20*topicFailures, LimitFailedDialsTopic},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused := make(map[LimitName]int)
			test.cfg.Observer = &Observer{Refused: func(n LimitName, _ wtproto.Code) { refused[n]++ }}
			inBubble(t, test.cfg, func(t *testing.T, g *bubble) {
				a := g.connect()
				a.join(announceAndLookUp, 0)
				var peers []*fakePeer
				for i := range 900 {
					p := g.lan.peer(fmt.Sprint(i))
					p.refuses(wtproto.CodePeerUnreachable)
					peers = append(peers, p)
					g.lan.see(p.sighting())
				}
				pass(20 * time.Second)
				dials := 0
				for _, p := range peers {
					dials += len(p.dialed())
				}
				if slack := 8; dials > test.most+slack || dials < test.most/2 {
					t.Errorf("%d dials in 20s, want about %d", dials, test.most)
				}
				if refused[test.limit] == 0 {
					t.Errorf("refused %v, want %s", refused, test.limit)
				}
				b := g.connect()
				b.join(announceAndLookUp, 0)
				pairUp(t, a, b)
			})
		})
	}
}

// One principal with many wishes to dial delays another one by one turn.
func TestDialsArePrincipalsInTurn(t *testing.T) {
	q := newDialQueue(-1, -1, 10)
	mine := account{addresses: netip.MustParsePrefix("192.0.2.1/32")}
	other := account{addresses: netip.MustParsePrefix("192.0.2.2/32")}
	for n := range 200 {
		q.push(&dial{account: mine, session: wtproto.SessionID{byte(n)}, topic: numbered(n)})
	}
	running := 0
	for q.next() != nil {
		running++
	}
	if running != 9 {
		t.Errorf("%d dials of one principal run, want 9 of 10", running)
	}
	d := &dial{account: other, session: wtproto.SessionID{1, 1}, topic: numbered(1)}
	q.push(d)
	if got := q.next(); got != d {
		t.Errorf("%+v runs, want the dial of the other principal", got)
	}
}
