package p2p

import (
	"container/heap"
	"slices"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// chore is a kind of work for a topic.
type chore int

const (
	chLookUp   chore = iota // look for it in the DHT
	chAnnounce              // announce it there
	chTend                  // try hosts that are known without the DHT; cheap, so it needs no turn
	numChores
	numWalks = chTend // those before it walk the DHT
)

// String returns what metrics call it.
func (c chore) String() string {
	return [...]string{"lookup", "announcement", "tending"}[c]
}

// client is a topic for which a planner works. The planner calls it without a lock. After leave
// has returned it begins no more calls.
type client interface {
	// addTarget takes a host that was found in the DHT.
	addTarget(target)
	// tend tries the hosts that are known without the DHT.
	tend()
	// satisfied reports whether the topic has met at least want peers.
	satisfied(want int) bool
	// waits notes whether the first look-up or announcement waits for its turn.
	waits(bool)
}

// errands are the work for one topic.
type errands struct {
	// constant after newErrands
	client client
	digest [32]byte
	key    kb.ID      // of the topic's record in the DHT
	tasks  *taskGroup // of the goroutines that look up

	// guarded by planner.mu
	state           discovery.State
	jobs            [numChores]job
	firsts          int  // jobs whose first time waits for its turn
	reportedWaiting bool // the last call of waits said yes
	dirty           bool // a call of waits may be due
	gone            bool
}

// job is one kind of work for one topic. Everything in it is guarded by planner.mu.
type job struct {
	of    *errands
	chore chore

	wanted  bool
	due     time.Time         // zero if it is not in the agenda
	index   int               // there
	entry   *fair.Entry[*job] // in the queue, or running for it
	since   time.Time         // when it was queued; zero if it is not
	first   bool              // it was queued for its first time
	running bool              // in a goroutine
	cancel  func()            // ends its walk; nil without one
	again   bool              // it is due again as soon as it has run
	rounds  int               // how often it has run since it became wanted
	last    time.Time         // when it last ran; zero before
	pace    backoff.Backoff   // between two look-ups, or after an announcement that failed
}

func newErrands(c client, digest [32]byte, g *taskGroup) *errands {
	e := &errands{client: c, digest: digest, key: kb.ConvertKey(string(recordKey(digest).Hash())), tasks: g}
	for c := range e.jobs {
		e.jobs[c].of, e.jobs[c].chore = e, chore(c)
	}
	return e
}

// endLocked ends the walk of j, if there is one.
func (j *job) endLocked() {
	if j.cancel != nil {
		j.cancel()
		j.cancel = nil
	}
}

// gained reports whether b has an endpoint that a does not have.
func gained(a, b discovery.State) bool {
	return slices.ContainsFunc(b.Endpoints, func(id wtproto.EndpointID) bool { return !slices.Contains(a.Endpoints, id) })
}

// agenda has the jobs that will be due, the next one first.
type agenda []*job

// Len, Less, Swap, Push and Pop are for container/heap.
func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

func (a *agenda) Push(x any) {
	j := x.(*job)
	j.index = len(*a)
	*a = append(*a, j)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	j := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return j
}

// set makes j due at a time, which must not be zero.
func (a *agenda) set(j *job, at time.Time) {
	if j.due.IsZero() {
		j.due = at
		heap.Push(a, j)
		return
	}
	j.due = at
	heap.Fix(a, j.index)
}

// clear removes j, if it is in the agenda.
func (a *agenda) clear(j *job) {
	if !j.due.IsZero() {
		heap.Remove(a, j.index)
		j.due = time.Time{}
	}
}

// pop removes and returns a job that is due, or returns nil.
func (a *agenda) pop(now time.Time) *job {
	if len(*a) == 0 || (*a)[0].due.After(now) {
		return nil
	}
	j := heap.Pop(a).(*job)
	j.due = time.Time{}
	return j
}

// next returns when the next job is due, or the zero time.
func (a agenda) next() time.Time {
	if len(a) == 0 {
		return time.Time{}
	}
	return a[0].due
}
