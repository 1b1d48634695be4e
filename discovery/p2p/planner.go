package p2p

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
	"github.com/swarmgate/swarmgate/internal/backoff"
)

// reservedWalks is the share of the walks at once that is kept for payers without a walk: one in
// so many.
const reservedWalks = 8

// walker walks a DHT: a table, or what a test has instead.
type walker interface {
	// empty reports whether no other host of the DHT is known. Then walks end at once.
	empty() bool
	// find yields the hosts that have announced a topic.
	find(ctx context.Context, digest [32]byte) iter.Seq[target]
	// provide announces one topic.
	provide(ctx context.Context, digest [32]byte) error
	// closest returns the hosts that keep the record of a topic, or none if the DHT is empty. They
	// keep the records of all topics that share so many bits of the key.
	closest(ctx context.Context, digest [32]byte) (peers []peer.ID, shared int, err error)
	// put announces topics to the hosts that keep their records. It returns an error or nil for
	// each topic.
	put(ctx context.Context, peers []peer.ID, digests [][32]byte) []error
}

// planner decides when to look up, announce and tend each topic, and whose turn it is if there is
// too much to do. It owns the goroutines that announce. Those that look up belong to the topic.
// Make it with newPlanner.
type planner struct {
	// constant after newPlanner
	walker   walker // nil without a DHT
	log      *slog.Logger
	observer *discovery.Observer
	settings *settings
	walks    taskGroup // of the goroutines that announce
	wake     chan struct{}

	mu      sync.Mutex
	all     map[*errands]struct{}       // guarded by mu, like all below
	agenda  agenda                      // jobs that will be due
	queues  [numWalks]*fair.Queue[*job] // jobs that are due and wait for their turn
	running [numWalks]int               // running walks
	most    [numWalks]int               // walks at once at most; constant
	rate    *rate.Limiter               // of walks of both kinds
	turn    chore                       // the kind of walk that gets the next turn first
	keys    []*job                      // announcements, by the keys of their topics
	shared  int                         // bits of a key in the last answer of closest
	dirty   []*errands                  // for whose clients a call of waits may be due
}

// newPlanner returns a planner. It does nothing before run.
func newPlanner(w walker, s *settings) *planner {
	p := &planner{
		walker: w, log: s.Logger, observer: s.Observer, settings: s,
		wake: make(chan struct{}, 1),
		all:  make(map[*errands]struct{}),
		most: [numWalks]int{chLookUp: s.LookUps, chAnnounce: s.Announcements},
		rate: rate.NewLimiter(rate.Limit(s.WalkRate), s.WalkBurst),
	}
	for c := range p.queues {
		p.queues[c] = fair.New[*job]()
	}
	if s.Mode == Public {
		p.shared = publicShared
	}
	return p
}

// enter adds the errands of a topic.
func (p *planner) enter(e *errands, s discovery.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[e] = struct{}{}
	st := p.settings
	e.jobs[chLookUp].pace = backoff.New(st.LookUpMin, st.LookUpRest)
	e.jobs[chTend].pace = backoff.New(st.LookUpMin, st.LookUpEvery)
	e.jobs[chAnnounce].pace = backoff.New(min(time.Second, st.AnnounceEvery), st.AnnounceEvery)
	p.updateLocked(e, s)
}

// update sets the state of the host on the topic.
func (p *planner) update(e *errands, s discovery.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !e.gone {
		p.updateLocked(e, s)
	}
}

func (p *planner) updateLocked(e *errands, s discovery.State) {
	now := time.Now()
	before := e.state
	e.state = s
	p.wantLocked(&e.jobs[chTend], s.LookUp, now)
	if p.walker != nil {
		dht := s.Wants(networkDHT)
		p.wantLocked(&e.jobs[chLookUp], s.LookUp && dht, now)
		p.wantLocked(&e.jobs[chAnnounce], s.Announce && dht, now)
	}
	if !discovery.SamePayers(before.For, s.For) {
		for c := range numWalks {
			if j := &e.jobs[c]; !j.since.IsZero() {
				p.queues[c].Drop(j.entry)
				j.entry = p.queues[c].Push(j, fair.RankOf(j.rounds), p.payers(e))
			}
		}
	}
	switch {
	case gained(before, s):
		p.hurryLocked(&e.jobs[chLookUp], now)
	case s.Need && !before.Need:
		p.needLocked(&e.jobs[chLookUp], now)
	}
	wake(p.wake)
}

// wantLocked begins or ends a job.
func (p *planner) wantLocked(j *job, wanted bool, now time.Time) {
	if j.wanted == wanted {
		return
	}
	j.wanted, j.rounds, j.last, j.again = wanted, 0, time.Time{}, false
	j.pace.Reset()
	if j.chore == chAnnounce {
		p.indexLocked(j)
	}
	switch {
	case !wanted:
		p.stopLocked(j)
	case j.running:
		j.again = true
	default:
		p.agenda.set(j, now)
	}
}

// stopLocked removes j from the agenda and the queue.
func (p *planner) stopLocked(j *job) {
	p.agenda.clear(j)
	if !j.since.IsZero() {
		p.queues[j.chore].Drop(j.entry)
		p.waitedLocked(j)
		j.entry = nil
	}
}

// hurryLocked makes j due soon, if it is wanted, and then often at first.
func (p *planner) hurryLocked(j *job, now time.Time) {
	if !j.wanted || !j.since.IsZero() {
		return
	}
	j.pace.Reset()
	if j.due.IsZero() { // it runs, or its client is being asked
		j.again = true
		return
	}
	at := now
	if soonest := j.last.Add(p.settings.LookUpMin); soonest.After(at) {
		at = soonest
	}
	if j.due.After(at) {
		p.agenda.set(j, at)
		wake(p.wake)
	}
}

// needLocked looks up a topic in need, even if it is at rest: the hosts found so far may be the
// wrong ones.
func (p *planner) needLocked(j *job, now time.Time) {
	if at := now.Add(jitter(p.settings.LookUpEvery)); j.wanted && j.due.After(at) {
		p.agenda.set(j, at)
	}
}

// soon looks for hosts soon, because one was lost.
func (p *planner) soon(e *errands) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.hurryLocked(&e.jobs[chLookUp], now)
	p.hurryLocked(&e.jobs[chTend], now)
}

// back notes that the host is in the DHT again, which may have forgotten its announcements.
func (p *planner) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for e := range p.all {
		for c := range e.jobs {
			p.hurryLocked(&e.jobs[c], now)
		}
	}
}

// leave removes the errands of a topic, and ends those that run.
func (p *planner) leave(e *errands) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.gone = true
	delete(p.all, e)
	for c := range e.jobs {
		p.wantLocked(&e.jobs[c], false, time.Time{})
		e.jobs[c].endLocked()
	}
}

// waiting returns how many look-ups and announcements wait for their turn.
func (p *planner) waiting() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := make(map[string]int)
	for c := range numWalks {
		n[c.String()] = p.queues[c].Len()
	}
	return n
}

// run does what is due until ctx ends. Then no topic may enter any more.
func (p *planner) run(ctx context.Context) {
	defer p.walks.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		if next := p.step(ctx); !next.IsZero() {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
	}
}

// asked is a job about which step asks the client, without the lock.
type asked struct {
	*job
	want int
	yes  bool
}

// step does the work that is due. It returns when the next work will be due, or the zero time.
func (p *planner) step(ctx context.Context) time.Time {
	now := time.Now()
	free := p.walker != nil && p.walker.empty()
	p.mu.Lock()
	asks := p.dueLocked(now)
	p.mu.Unlock()

	for i := range asks {
		if a := &asks[i]; a.chore == chTend {
			a.of.client.tend()
		} else {
			a.yes = a.of.client.satisfied(a.want)
		}
	}

	p.mu.Lock()
	for _, a := range asks {
		p.answeredLocked(a, now)
	}
	next := p.startLocked(ctx, now, free)
	if at := p.agenda.next(); next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	changed := p.newlyWaitingLocked()
	p.mu.Unlock()
	for _, e := range changed {
		e.client.waits(e.reportedWaiting) // only step changes the field
	}
	return next
}

// dueLocked queues the walks that are due, and returns the jobs about which to ask the clients.
func (p *planner) dueLocked(now time.Time) (asks []asked) {
	for j := p.agenda.pop(now); j != nil; j = p.agenda.pop(now) {
		switch {
		case j.chore == chTend, j.chore == chLookUp && j.rounds > 0 && j.of.state.Want > 0:
			asks = append(asks, asked{job: j, want: j.of.state.Want})
		default:
			p.queueLocked(j, now)
		}
	}
	return asks
}

// answeredLocked continues with a job after its client has answered.
func (p *planner) answeredLocked(a asked, now time.Time) {
	j := a.job
	switch {
	case !j.wanted, !j.due.IsZero(): // the job was stopped, and may have begun anew
	case j.chore == chTend:
		p.ranLocked(j, now, nil, false)
	case a.yes && !j.again && !j.of.state.Need:
		p.agenda.set(j, now.Add(jitter(p.settings.LookUpRest/2)+p.settings.LookUpRest/2))
	default:
		j.again = false
		p.queueLocked(j, now)
	}
}

// queueLocked lets j wait for its turn.
func (p *planner) queueLocked(j *job, now time.Time) {
	j.since = now
	if j.first = j.rounds == 0; j.first {
		p.firstsLocked(j.of, 1)
	}
	j.entry = p.queues[j.chore].Push(j, fair.RankOf(j.rounds), p.payers(j.of))
}

// waitedLocked notes that j does not wait any more.
func (p *planner) waitedLocked(j *job) {
	j.since = time.Time{}
	if j.first {
		p.firstsLocked(j.of, -1)
	}
}

// firstsLocked adds n to the jobs of e whose first time waits.
func (p *planner) firstsLocked(e *errands, n int) {
	e.firsts += n
	if !e.dirty {
		e.dirty = true
		p.dirty = append(p.dirty, e)
	}
}

// newlyWaitingLocked returns the errands for whose clients a call of waits is due.
func (p *planner) newlyWaitingLocked() (changed []*errands) {
	for _, e := range p.dirty {
		if e.dirty = false; !e.gone && e.reportedWaiting != (e.firsts > 0) {
			e.reportedWaiting = e.firsts > 0
			changed = append(changed, e)
		}
	}
	clear(p.dirty)
	p.dirty = p.dirty[:0]
	return changed
}

// payers returns for whom e is.
func (p *planner) payers(e *errands) []discovery.Payer { return payersOf(e.state, p.settings.Gateway) }

// startLocked starts the walks whose turn it is. If only the rate delays a walk, it returns when
// that may start, otherwise the zero time. With free the rate does not count.
func (p *planner) startLocked(ctx context.Context, now time.Time, free bool) time.Time {
	for again := true; again; {
		again = false
		for i := range numWalks {
			c := (p.turn + i) % numWalks
			if p.queues[c].Len() == 0 || p.running[c] >= p.most[c] {
				continue
			}
			if !free && p.rate.TokensAt(now) < 1 {
				r := p.rate.ReserveN(now, 1)
				defer r.CancelAt(now)
				return now.Add(max(r.DelayFrom(now), time.Millisecond))
			}
			e := p.queues[c].Pop(p.running[c] >= p.most[c]-p.most[c]/reservedWalks)
			if e == nil {
				continue
			}
			if !free {
				p.rate.AllowN(now, 1)
			}
			p.walkLocked(ctx, e, now)
			p.turn, again = c+1, true
			break
		}
	}
	return time.Time{}
}

// walkLocked starts a walk.
func (p *planner) walkLocked(ctx context.Context, e *fair.Entry[*job], now time.Time) {
	j := e.What
	p.observer.NoteTurn(networkDHT, j.chore.String(), now.Sub(j.since))
	p.waitedLocked(j)
	j.running = true
	p.running[j.chore]++
	ok := false
	walk, cancel := context.WithCancel(ctx)
	j.cancel = cancel
	if j.chore == chLookUp {
		ok = j.of.tasks.start(func() {
			for t := range p.walker.find(walk, j.of.digest) {
				j.of.client.addTarget(t)
			}
			p.done([]*job{j}, []error{nil}, false)
		})
	} else {
		ok = p.walks.start(func() { p.announce(ctx, walk, j) })
	}
	if !ok { // the topic has just ended
		p.doneLocked(j)
	}
}

// done notes that jobs have run. Only the first one has walked. empty says that there was no other
// host.
func (p *planner) done(jobs []*job, errs []error, empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for i, j := range jobs {
		p.doneLocked(j)
		p.ranLocked(j, now, errs[i], empty)
	}
	wake(p.wake)
}

// doneLocked notes that j does not run any more.
func (p *planner) doneLocked(j *job) {
	j.running = false
	j.endLocked()
	if j.entry != nil {
		p.queues[j.chore].Done(j.entry)
		p.running[j.chore]--
		j.entry = nil
	}
}

// ranLocked decides when j is due again.
func (p *planner) ranLocked(j *job, now time.Time, err error, empty bool) {
	j.rounds++
	j.last = now
	if !j.wanted {
		return
	}
	var delay time.Duration
	switch {
	case j.again:
		j.again = false
		if j.chore != chAnnounce {
			delay = p.settings.LookUpMin
		}
	case j.chore != chAnnounce || err != nil:
		if delay = j.pace.Next(); j.chore == chLookUp && j.of.state.Need {
			delay = min(delay, jitter(p.settings.LookUpEvery))
		}
	default:
		j.pace.Reset()
		delay = jitter(p.settings.AnnounceEvery)
		if empty { // the record is stored here for hosts that come, and announced when a host is known
			delay = min(delay, p.settings.LookUpEvery)
		}
	}
	if err != nil {
		p.log.Debug("announcing failed", "digest", fmt.Sprintf("%x", j.of.digest[:4]), "error", err)
	}
	p.agenda.set(j, now.Add(delay))
}
