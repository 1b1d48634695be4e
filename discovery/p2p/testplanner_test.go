package p2p

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeTopic is a client of a planner.
type fakeTopic struct {
	*errands
	tasks taskGroup
	state discovery.State

	mu       sync.Mutex
	seen     int // hosts found
	meetings int
	tended   []time.Time
	waited   []bool
}

func (f *fakeTopic) addTarget(target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
}

func (f *fakeTopic) tend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tended = append(f.tended, time.Now())
}

func (f *fakeTopic) satisfied(want int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.meetings >= want
}

func (f *fakeTopic) waits(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waited = append(f.waited, yes)
}

// testPlanner is a planner that runs in a bubble.
type testPlanner struct {
	*planner
	w *fakeWalker
	n int
}

// newTestPlanner starts a planner with the settings of a gateway in a mode.
func newTestPlanner(t *testing.T, w *fakeWalker, m Mode, change func(*settings)) *testPlanner {
	t.Helper()
	s, err := Config{Mode: m, Gateway: true, Policy: private(t), Logger: slog.New(slog.DiscardHandler)}.read()
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&s)
	}
	p := &testPlanner{planner: newPlanner(w, &s), w: w}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// join adds a topic that is looked up and announced for payers.
func (p *testPlanner) join(t *testing.T, payers ...string) *fakeTopic {
	t.Helper()
	f := &fakeTopic{state: discovery.State{LookUp: true, Announce: true, Endpoints: []wtproto.EndpointID{endpoint(1)}}}
	for _, who := range payers {
		f.state.For = append(f.state.For, of(who))
	}
	p.enterTopic(t, f)
	return f
}

// enterTopic adds a topic in the state that it has.
func (p *testPlanner) enterTopic(t *testing.T, f *fakeTopic) {
	t.Helper()
	p.n++
	f.errands = newErrands(f, wtproto.TopicFromName(fmt.Sprint("planner test ", p.n)).Digest(), &f.tasks)
	p.enter(f.errands, f.state)
	t.Cleanup(func() { p.end(f) })
}

// end ends a topic, and waits for it.
func (p *testPlanner) end(f *fakeTopic) {
	p.leave(f.errands)
	f.tasks.close()
}

// change gives a topic another state.
func (p *testPlanner) change(f *fakeTopic, c func(*discovery.State)) {
	c(&f.state)
	p.update(f.errands, f.state)
}

// wantFirst fails if the first look-up or announcement of a topic that was joined at a time did
// not begin within a time.
func (p *testPlanner) wantFirst(t *testing.T, what string, f *fakeTopic, joined time.Time, within time.Duration) {
	t.Helper()
	lookUps, announcements := p.w.times(f.digest, joined)
	if len(lookUps) == 0 || lookUps[0] > within {
		t.Errorf("%s: first look-up after %v, want within %v", what, lookUps, within)
	}
	if len(announcements) == 0 || announcements[0] > within+p.w.took { // the time of one that goes with others is its end
		t.Errorf("%s: first announcement after %v, want within %v", what, announcements, within+p.w.took)
	}
	if f.mu.Lock(); f.seen == 0 {
		t.Errorf("%s: found nobody", what)
	}
	f.mu.Unlock()
}

func (p *testPlanner) wantBegun(t *testing.T, f *fakeTopic, after time.Duration) {
	t.Helper()
	if lookUps, _ := p.w.times(f.digest, time.Now()); len(lookUps) == 0 {
		t.Errorf("not looked up after %v", after)
	}
}
