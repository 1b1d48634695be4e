package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/swarmgate/swarmgate/wtproto"
)

// testDials is a queue whose dials have names: "Ax1" is session A's first dial on topic x.
type testDials struct {
	*dialQueue
	names map[*dial]string
	dials map[string]*dial
}

func newTestDials(perTopic, perSession, total int) *testDials {
	return &testDials{newDialQueue(perTopic, perSession, total), make(map[*dial]string), make(map[string]*dial)}
}

// add pushes a dial for each name.
func (q *testDials) add(names ...string) {
	for _, name := range names {
		d := &dial{session: wtproto.SessionID{name[0]}, topic: wtproto.Topic{name[1]}}
		d.account.name = map[byte]string{'A': "one", 'B': "two", 'C': "three"}[name[0]] // all others are one principal
		q.names[d], q.dials[name] = name, d
		q.push(d)
	}
}

// started takes all dials that may run.
func (q *testDials) started() string {
	var names []string
	for d := q.next(); d != nil; d = q.next() {
		names = append(names, q.names[d])
	}
	return strings.Join(names, " ")
}

// empty reports whether the queue remembers nothing.
func (q *testDials) empty() bool {
	return len(q.principals) == 0 && len(q.byAccount) == 0 && len(q.bySess) == 0 && q.free == 0 && len(q.topics) == 0 && q.running == 0
}

func TestDialQueueOrder(t *testing.T) {
	for _, test := range []struct{ name, push, want string }{
		{"one session, one topic", "Ax1 Ax2 Ax3", "Ax1 Ax2 Ax3"},
		{"round robin over sessions", "Ax1 Ax2 Ax3 Bx1 Cx1 Cx2", "Ax1 Bx1 Cx1 Ax2 Cx2 Ax3"},
		{"round robin over a session's topics", "Ax1 Ax2 Ax3 Ay1 Ay2 Az1", "Ax1 Ay1 Az1 Ax2 Ay2 Ax3"},
		{"sessions first, then topics", "Ax1 Ay1 Ax2 Bx1 Bx2", "Ax1 Bx1 Ay1 Bx2 Ax2"},
		{"principals first, then sessions", "Dx1 Dx2 Ex1 Ey1 Fx1 Ax1 Ax2", "Dx1 Ax1 Ex1 Ax2 Fx1 Dx2 Ey1"},
		{"a late session waits for one turn", "Ax1 Ax2 Ax3 Ax4 By1", "Ax1 By1 Ax2 Ax3 Ax4"},
	} {
		q := newTestDials(-1, -1, -1)
		q.add(strings.Fields(test.push)...)
		got := q.started()
		if got != test.want {
			t.Errorf("%s: %s in, %s out, want %s", test.name, test.push, got, test.want)
		}
		for _, name := range strings.Fields(got) {
			q.done(q.dials[name])
		}
		if !q.empty() {
			t.Errorf("%s: something is remembered after the last dial: %+v", test.name, q.dialQueue)
		}
	}
}

func TestDialQueueLimits(t *testing.T) {
	const push = "Ax1 Ax2 Ax3 Ay1 Ay2 Bx1 Bx2 By1"
	for _, test := range []struct {
		name                        string
		perTopic, perSession, total int
		want                        string
		done, then                  string // after these have ended, those start
	}{
		{"none", -1, -1, -1, "Ax1 Bx1 Ay1 By1 Ax2 Bx2 Ay2 Ax3", "Ax1", ""},
		{"in all", -1, -1, 3, "Ax1 Bx1 Ay1", "Bx1 Ay1", "By1 Ax2"},
		{"a session", -1, 2, -1, "Ax1 Bx1 Ay1 By1", "Ax1 Ay1", "Ax2 Ay2"},
		{"a topic", 2, -1, -1, "Ax1 Bx1 Ay1 By1", "Ax1 By1", "Ax2 Ay2"},
		{"a topic that is full is passed over", 1, -1, -1, "Ax1 By1", "By1", "Ay1"},
		{"a session that is full is passed over", -1, 1, -1, "Ax1 Bx1", "Bx1", "By1"},
		{"all of them", 3, 2, 3, "Ax1 Bx1 Ay1", "Ax1", "By1"},
	} {
		q := newTestDials(test.perTopic, test.perSession, test.total)
		q.add(strings.Fields(push)...)
		if got := q.started(); got != test.want {
			t.Errorf("%s: %s started, want %s", test.name, got, test.want)
		}
		for _, name := range strings.Fields(test.done) {
			q.done(q.dials[name])
		}
		if got := q.started(); got != test.then {
			t.Errorf("%s: after %s, %s started, want %s", test.name, test.done, got, test.then)
		}
	}
}

func TestDialQueueDrop(t *testing.T) {
	q := newTestDials(-1, 1, -1)
	q.add("Ax1", "Ax2", "Ay1", "Bx1")
	if got := q.started(); got != "Ax1 Bx1" {
		t.Fatalf("%s started, want Ax1 Bx1", got)
	}
	for _, test := range []struct {
		name string
		want bool
	}{{"Ax2", true}, {"Ax2", false}, {"Ax1", false}, {"Bx1", false}} {
		if got := q.drop(q.dials[test.name]); got != test.want {
			t.Errorf("drop(%s) = %v, want %v", test.name, got, test.want)
		}
	}
	if q.drop(&dial{session: wtproto.SessionID{'C'}}) {
		t.Error("a dial of an unknown session was dropped")
	}
	q.done(q.dials["Ax1"])
	q.done(q.dials["Bx1"])
	if got := q.started(); got != "Ay1" {
		t.Errorf("%s started, want Ay1", got)
	}
	q.add("Bz1")
	if !q.drop(q.dials["Bz1"]) {
		t.Error("Bz1 was not dropped")
	}
	q.done(q.dials["Ay1"])
	if !q.empty() {
		t.Errorf("something is remembered after the last dial: %+v", q.dialQueue)
	}
}

// In whatever order calls come: each dial runs once or was dropped, dials of one session on one
// topic keep their order, the limits hold, and no dial waits that could run.
func TestDialQueueProperty(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		limit := func() int { return []int{-1, 1, 2, 5}[random.IntN(4)] }
		q := newTestDials(limit(), limit(), limit())
		var waiting, running []string // in order
		check := func(what string) {
			topics, sessions := make(map[byte]int), make(map[byte]int)
			for _, name := range running {
				if q.dials[name].slow {
					continue
				}
				topics[name[1]]++
				sessions[name[0]]++
			}
			for topic, c := range q.topics {
				if q.perTopic >= 0 && c.slow > slowDials*q.perTopic {
					t.Fatalf("seed %d, %s: %d of topic %v are slow, at most %d", seed, what, c.slow, topic, slowDials*q.perTopic)
				}
			}
			for _, s := range q.bySess {
				if q.perSession >= 0 && s.slow > slowDials*q.perSession {
					t.Fatalf("seed %d, %s: %d of session %v are slow, at most %d", seed, what, s.slow, s.id, slowDials*q.perSession)
				}
			}
			for _, n := range topics {
				if q.perTopic >= 0 && n > q.perTopic {
					t.Fatalf("seed %d, %s: %d of one topic run, at most %d: %q", seed, what, n, q.perTopic, running)
				}
			}
			for _, n := range sessions {
				if q.perSession >= 0 && n > q.perSession {
					t.Fatalf("seed %d, %s: %d of one session run, at most %d: %q", seed, what, n, q.perSession, running)
				}
			}
			if q.total >= 0 && len(running) > q.total {
				t.Fatalf("seed %d, %s: %d run, at most %d", seed, what, len(running), q.total)
			}
		}
		start := func() {
			for d := q.next(); d != nil; d = q.next() {
				name := q.names[d]
				i := slices.IndexFunc(waiting, func(w string) bool { return w[:2] == name[:2] })
				if i < 0 || waiting[i] != name {
					t.Fatalf("seed %d: %s started, and %q wait", seed, name, waiting)
				}
				waiting = slices.Delete(waiting, i, i+1)
				running = append(running, name)
				check("start of " + name)
			}
			for _, name := range waiting {
				d := q.dials[name]
				s := q.bySess[d.session]
				quick := 0
				if c := q.topics[d.topic]; c != nil {
					quick = c.quick
				}
				if p := q.byAccount[d.account]; p.running > 0 && q.total > 0 && q.running >= q.total-q.total/reserved {
					continue
				}
				if within(q.running, q.total) && within(quick, q.perTopic) && within(s.quick, q.perSession) {
					t.Fatalf("seed %d: %s waits, and nothing speaks against it", seed, name)
				}
			}
		}
		for step := range 500 {
			switch op := random.IntN(8); {
			case op < 4 && step < 400:
				name := fmt.Sprintf("%c%c%d", 'A'+random.IntN(4), 'x'+random.IntN(3), step)
				q.add(name)
				waiting = append(waiting, name)
			case op < 5 && len(waiting) > 0:
				i := random.IntN(len(waiting))
				if !q.drop(q.dials[waiting[i]]) {
					t.Fatalf("seed %d: %s waits and was not dropped", seed, waiting[i])
				}
				waiting = slices.Delete(waiting, i, i+1)
			case op < 6 && len(running) > 0:
				name := running[random.IntN(len(running))]
				was := q.dials[name].slow
				if q.slow(q.dials[name]) && was {
					t.Fatalf("seed %d: %s became slow twice", seed, name)
				}
				check("slow " + name)
			case len(running) > 0:
				i := random.IntN(len(running))
				if q.drop(q.dials[running[i]]) {
					t.Fatalf("seed %d: %s runs and was dropped", seed, running[i])
				}
				q.done(q.dials[running[i]])
				running = slices.Delete(running, i, i+1)
			}
			start()
		}
		for len(running) > 0 {
			q.done(q.dials[running[0]])
			running = running[1:]
			start()
		}
		if len(waiting) > 0 || !q.empty() {
			t.Fatalf("seed %d: %q wait for ever, %+v", seed, waiting, q.dialQueue)
		}
	}
}

func TestDialerRunsAndCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wanted, total = 20, 4
		r := newDialer(newDialQueue(-1, -1, total))
		var running, most, ran atomic.Int32
		end := make(chan struct{})
		var dials []*dial
		for range wanted {
			d := &dial{run: func() {
				most.Store(max(most.Load(), running.Add(1)))
				ran.Add(1)
				<-end
				running.Add(-1)
			}}
			dials = append(dials, d)
			r.request(d)
		}
		synctest.Wait()
		if n := running.Load(); n != total {
			t.Errorf("%d dials run, want %d", n, total)
		}
		if r.cancel(dials[0]) {
			t.Error("a dial that runs was cancelled")
		}
		if !r.cancel(dials[wanted-1]) {
			t.Error("a dial that waits was not cancelled")
		}
		close(end)
		r.wg.Wait()
		if ran.Load() != wanted-1 || most.Load() > total {
			t.Errorf("%d dials ran, %d at once, want %d, at most %d at once", ran.Load(), most.Load(), wanted-1, total)
		}
	})
}
