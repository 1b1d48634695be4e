package server

import (
	"context"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// memoryEvery is how often the memory in use is looked at.
	memoryEvery = 100 * time.Millisecond
	// restEvery is how often it is looked for circuits on which nothing moves, or can.
	restEvery = 10 * memoryEvery
	// waitsAfter is how long the far end of a circuit must have taken nothing for the circuit to
	// be one that waits.
	waitsAfter = 100 * time.Millisecond
	// giveBack is how long a session whose circuits were ended has to give back what they held.
	// QUIC keeps what has arrived on a stream until the other side answers its STOP_SENDING, and
	// nobody can make it do so.
	giveBack = 2 * time.Second
	// fullFor is how long memory may be full before those make room who hold most, with circuits
	// that have waited for as long: else somebody could hold just as much as keeps newcomers out.
	// Nobody has to who holds less than one in fullShare of it.
	fullFor   = 2 * time.Second
	fullShare = 64
	// memoryLogEvery is the least time between two lines of log about memory.
	memoryLogEvery = time.Minute
)

// memory keeps the program within its budget: while memory is full nobody gets more, and when
// there is too little of it, circuits that wait are ended.
type memory struct {
	budget   budget
	gauge    gauge
	observer *Observer
	log      *slog.Logger

	isFull atomic.Bool
	isOver atomic.Bool
	inUse  atomic.Int64 // when it was looked at last

	// owned by run
	collectAt time.Time         // not before then
	relieved  uint64            // the number of collections when circuits were ended last
	logAt     time.Time         // not before then
	fullSince time.Time         // zero while memory is not full
	debtors   map[*session]debt // whose circuits were ended since memory was short last

	mu       sync.Mutex
	circuits map[*circuit]struct{} // guarded by mu; those that move bytes
}

func newMemory(cfg *Config) *memory {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = cfg.Memory
	}
	return &memory{
		budget: newBudget(cfg.Memory, limit), gauge: newGoHeap(),
		observer: cfg.Observer, log: cfg.Logger,
		circuits: make(map[*circuit]struct{}),
		debtors:  make(map[*session]debt),
	}
}

func (m *memory) add(c *circuit) {
	m.mu.Lock()
	m.circuits[c] = struct{}{}
	m.mu.Unlock()
}

func (m *memory) remove(c *circuit) {
	m.mu.Lock()
	delete(m.circuits, c)
	m.mu.Unlock()
}

// refuse returns why nothing new may begin, or nil. A principal that has nothing yet may begin at
// a higher use of memory still.
func (m *memory) refuse(hasSome bool) *refusal {
	if !m.isFull.Load() || !hasSome && !m.isOver.Load() {
		return nil
	}
	return refuse(LimitMemory, "memory is short")
}

// run looks after the memory until ctx ends.
func (m *memory) run(ctx context.Context) {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.look(time.Now())
			if looks%int(restEvery/memoryEvery) == 0 {
				m.rest()
			}
		}
	}
}

// rest has circuits on which nothing moves take less memory, and ends those that nothing can move
// on any more.
func (m *memory) rest() {
	var idle []*direction
	var stopped []*leg
	m.mu.Lock()
	for c := range m.circuits {
		for _, d := range []*direction{&c.toClient, &c.toPeer} {
			if d.Idle() {
				idle = append(idle, d)
			}
		}
		for _, l := range c.legs() {
			if l.hasStopped() {
				stopped = append(stopped, l)
			}
		}
	}
	m.mu.Unlock()
	for _, d := range idle {
		d.rest()
	}
	for _, l := range stopped {
		go l.stopped()
	}
}

// look measures, and ends circuits if it has to. Between two collections of garbage nobody knows
// how much of what is in use is still needed, so it collects if it must know, but spends at most a
// fifth of the time on that.
func (m *memory) look(now time.Time) {
	u := m.gauge.read()
	if u.now >= m.budget.full && (u.live < m.budget.over || u.collections == m.relieved) && !now.Before(m.collectAt) {
		m.gauge.collect()
		m.collectAt = time.Now().Add(4 * time.Since(now))
		u = m.gauge.read()
	}
	m.inUse.Store(u.live)
	m.isOver.Store(u.live >= m.budget.over)
	switch {
	case u.now < m.budget.full:
		m.isFull.Store(false)
		m.fullSince = time.Time{}
	case u.live >= m.budget.full:
		m.isFull.Store(true)
		if m.fullSince.IsZero() {
			m.fullSince = now
		}
	}
	silence, want, least := waitsAfter, u.live-m.budget.full, int64(0)
	if u.live < m.budget.over {
		if m.fullSince.IsZero() || now.Sub(m.fullSince) < fullFor {
			clear(m.debtors)
			return
		}
		silence, want, least = fullFor, u.live-m.budget.full/8*7, m.budget.full/fullShare
	}
	if u.collections == m.relieved {
		return
	}
	m.relieved = u.collections
	m.claim(now)
	ended := relief(m.waiting(now, silence), want, least)
	if least > 0 && len(ended) == 0 {
		return
	}
	var held int64
	for _, h := range ended {
		held += h.held
		r := refuse(LimitUnread, "not read for %v while memory was short", now.Sub(h.since).Round(time.Millisecond))
		m.observer.refused(r)
		h.circuit.over.end(r.Error)
		d, ok := m.debtors[h.session]
		if !ok {
			d.since = now
		}
		d.held += h.held
		m.debtors[h.session] = d
	}
	if !now.Before(m.logAt) {
		m.logAt = now.Add(memoryLogEvery)
		m.log.Warn("memory is short", "in_use", u.live, "ended_circuits", len(ended), "holding", held)
	}
}

// debt is what the ended circuits of a session held.
type debt struct {
	since time.Time // when the first of them was ended
	held  int64
}

// claim ends the sessions that had the time to give back, and forgets those that are gone.
func (m *memory) claim(now time.Time) {
	for s, d := range m.debtors {
		select {
		case <-s.link.done():
			delete(m.debtors, s)
			continue
		default:
		}
		if now.Sub(d.since) >= giveBack {
			s.cancel(wtproto.Errorf(wtproto.CodeBusy, "memory is short, and ending circuits did not help"))
		}
	}
}

// waiting returns what is held for far ends that have taken nothing for silence, and what is to be
// given back.
func (m *memory) waiting(now time.Time, silence time.Duration) []holding {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []holding
	for s, d := range m.debtors {
		all = append(all, holding{session: s, who: s.principal, since: d.since, held: d.held})
	}
	for c := range m.circuits {
		all = c.waiting(all, now.Add(-silence))
	}
	return all
}

// usage is memory in use, in bytes: the heap, stacks, and what the runtime needs for itself.
type usage struct {
	live        int64 // what was found to be needed at the last collection
	now         int64 // that, and everything allocated since, whether it is needed or not
	collections uint64
}

// gauge measures the memory of the program.
type gauge interface {
	read() usage
	// collect collects the garbage, and returns after that.
	collect()
}

// goHeap is the gauge of Go's runtime. One goroutine uses it.
type goHeap struct{ samples []metrics.Sample }

// Indices of goHeap's samples.
const (
	sampleLive = iota
	sampleObjects
	sampleTotal
	sampleUnused
	sampleFree
	sampleReleased
	sampleCycles
)

func newGoHeap() *goHeap {
	return &goHeap{[]metrics.Sample{
		sampleLive:     {Name: "/gc/heap/live:bytes"},
		sampleObjects:  {Name: "/memory/classes/heap/objects:bytes"},
		sampleTotal:    {Name: "/memory/classes/total:bytes"},
		sampleUnused:   {Name: "/memory/classes/heap/unused:bytes"},
		sampleFree:     {Name: "/memory/classes/heap/free:bytes"},
		sampleReleased: {Name: "/memory/classes/heap/released:bytes"},
		sampleCycles:   {Name: "/gc/cycles/total:gc-cycles"},
	}}
}

func (h *goHeap) read() usage {
	metrics.Read(h.samples)
	value := func(i int) int64 { return int64(h.samples[i].Value.Uint64()) }
	// Unused parts of spans count for nothing, because they are there for what comes next.
	rest := value(sampleTotal) - value(sampleObjects) - value(sampleUnused) - value(sampleFree) - value(sampleReleased)
	return usage{
		live:        value(sampleLive) + rest,
		now:         value(sampleObjects) + rest,
		collections: uint64(value(sampleCycles)),
	}
}

func (h *goHeap) collect() { runtime.GC() }
