package server

import (
	"crypto/tls"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestStats(t *testing.T) {
	inBubble(t, Config{Dials: 1}, func(t *testing.T, g *bubble) {
		wants := func(when string, want Stats) {
			t.Helper()
			synctest.Wait()
			got := g.Stats()
			if got.MemoryFull <= 0 || got.MemoryOver <= got.MemoryFull {
				t.Errorf("%s: memory is full at %d and short at %d", when, got.MemoryFull, got.MemoryOver)
			}
			got.Memory, got.MemoryFull, got.MemoryOver = 0, 0, 0 // the tests of memory say what these are
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		none := map[string]NetworkStats{}
		wants("at first", Stats{Sessions: map[string]int{}, Networks: none})
		c, other := g.connect(), g.connect()
		wants("with sessions", Stats{Sessions: map[string]int{"fake": 2}, Networks: none, Principals: 1})

		c.join(wtproto.JoinLookUp, 0)
		peer, hangs, next := g.lan.peer("1"), g.lan.peer("2"), g.lan.peer("3")
		g.lan.see(peer.sighting())
		x, y := c.circuit(), peer.circuit()
		hangs.waits()
		g.lan.see(hangs.sighting(), next.sighting())
		talk(t, x, y) // "there", "and back"
		with := Stats{
			Sessions: map[string]int{"fake": 2}, Topics: 1, Places: 1, Dials: 1, DialsWaiting: 1, Principals: 1,
			Networks: map[string]NetworkStats{"lan": {Circuits: 1, ToPeer: 5, ToClient: 8}},
		}
		pass(2 * statusEvery)
		wants("while bytes move", with)

		c.link.end(nil)
		wants("in the grace time", Stats{
			Sessions: map[string]int{"fake": 1}, TopicsInGrace: 1, Principals: 1,
			Networks: map[string]NetworkStats{"lan": {ToPeer: 5, ToClient: 8}},
		})
		pass(g.cfg.Grace)
		other.link.end(nil)
		wants("in the end", Stats{Sessions: map[string]int{}, Networks: map[string]NetworkStats{"lan": {ToPeer: 5, ToClient: 8}}, Principals: 1})
		// It is known until what it used up has come back.
	})
}

// The client of a full outbox reads nothing.
func TestStatsOfOutbox(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		frame := make([]byte, fakeWindow)
		c.session.send(frame)
		synctest.Wait() // the client's window is full
		c.session.send(frame[:10])
		synctest.Wait() // the writer has it, and waits
		c.session.send(frame[:100])
		synctest.Wait()
		if got := g.Stats().Outbox; got != 100 {
			t.Errorf("%d bytes wait, want 100", got)
		}
	})
}

// A principal is at a limit from its first refusal until it gives something back.
func TestPrincipalsAtLimit(t *testing.T) {
	l := testLedger(100, 1)
	wants := func(when string, principals, full int) {
		t.Helper()
		if c := l.census(); c.principals != principals || c.full != full {
			t.Errorf("%s: %d principals, %d at a limit; want %d, %d", when, c.principals, c.full, principals, full)
		}
	}
	ann, bob := byName("ann", auth.Limits{}), from("2001:db8::1")
	wants("at first", 0, 0)
	for _, p := range []*principal{ann, bob} {
		if r := l.take(p, resourceSessions, 1); r != nil {
			t.Fatal(r)
		}
	}
	wants("with one each", 2, 0)
	for range 3 {
		if l.take(ann, resourceSessions, 1) == nil || l.take(from("192.0.2.1"), resourceSessions, 2) == nil {
			t.Fatal("nothing was refused")
		}
	}
	wants("after refusals", 2, 1)
	l.give(bob, resourceSessions, 1)
	wants("after another gave back", 1, 1)
	l.give(ann, resourceSessions, 1)
	wants("after all was given back", 0, 0)
}

// endless gives a byte for each token, and takes all that comes.
type endless struct{ give, took chan struct{} }

func (e endless) Read(b []byte) (int, error) {
	if _, ok := <-e.give; !ok {
		return 0, io.EOF
	}
	return min(len(b), 100), nil
}

func (e endless) Write(b []byte) (int, error)     { e.took <- struct{}{}; return len(b), nil }
func (e endless) SetReadDeadline(time.Time) error { return nil }

// Bytes are counted while they move, and that takes no memory.
func TestMovingBytesTakesNoMemory(t *testing.T) {
	s, err := New(Config{TLS: &tls.Config{}, Observer: (&witness{}).observer()})
	if err != nil {
		t.Fatal(err)
	}
	c := &circuit{topic: &topic{router: s.router}, network: "lan"}
	end := s.router.meters.measure(c)
	e := endless{give: make(chan struct{}), took: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.toPeer.Run(e, e)
	}()
	const runs = 1000
	allocs := testing.AllocsPerRun(runs, func() {
		e.give <- struct{}{}
		<-e.took
	})
	if got := s.Stats().Networks["lan"]; allocs != 0 || got.Circuits != 1 || got.ToPeer < runs*100 || got.ToClient != 0 {
		t.Errorf("%v allocations a write, and %+v; want none, and at least %d bytes", allocs, got, runs*100)
	}
	close(e.give)
	<-done
	end()
	want := NetworkStats{ToPeer: (runs + 1) * 100} // AllocsPerRun begins with one more
	if got := s.Stats().Networks["lan"]; got != want {
		t.Errorf("in the end %+v, want %+v", got, want)
	}
	s.Close()
}

// BenchmarkStats is what a look of the metrics costs with many sessions, topics and principals.
func BenchmarkStats(b *testing.B) {
	s, err := New(Config{TLS: &tls.Config{}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		ses := newSession(s, newFakeLink(), func() {})
		s.live[ses] = struct{}{}
		s.router.topics[wtproto.Topic{byte(i), byte(i >> 8)}] = &topic{subscribers: i % 2}
		s.ledger.rowLocked(account{name: string(rune(i))})
	}
	for b.Loop() {
		s.Stats()
	}
}
