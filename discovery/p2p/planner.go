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
	"github.com/swarmgate/swarmgate/internal/backoff"
)

// reservedWalks is the share of the walks at once that is kept for those who have none: one in so
// many.
const reservedWalks = 8

// walker walks a DHT: a table, or what a test has instead.
type walker interface {
	// empty reports whether no other host is known, so that walks are over at once.
	empty() bool
	// find yields the hosts that have announced a topic.
	find(ctx context.Context, digest [32]byte) iter.Seq[target]
	// provide announces one topic.
	provide(ctx context.Context, digest [32]byte) error
	// closest returns the hosts that keep the record of a topic, none if the DHT is empty, and how
	// many bits of its key those topics share of which they keep the records too.
	closest(ctx context.Context, digest [32]byte) (peers []peer.ID, shared int, err error)
	// put announces topics to the hosts that keep their records, and returns an error or nil for
	// each.
	put(ctx context.Context, peers []peer.ID, digests [][32]byte) []error
}

// planner decides when a topic is looked up, announced and tended, and whose turn it is if too
// many are to be. It owns the goroutines that announce; those that look up are the topic's. Make
// it with newPlanner.
type planner struct {
	// constant after newPlanner
	walker   walker // nil without a DHT
	log      *slog.Logger
	observer *discovery.Observer
	settings *settings
	walks    taskGroup // of the goroutines that announce
	wake     chan struct{}

	mu      sync.Mutex
	all     map[*errands]struct{}      // guarded by mu, like all below
	agenda  agenda                     // what will be due
	queues  [numWalks]*fairQueue[*job] // what is due and waits for its turn
	running [numWalks]int              // walks
	most    [numWalks]int              // walks at once; constant
	rate    *rate.Limiter              // of walks of both kinds
	turn    chore                      // the kind of walk that is asked first
	keys    []*job                     // announcements, by the keys of their topics
	shared  int                        // bits of a key in the last answer of closest
	dirty   []*errands                 // of whom the client may have to be told something
}

// newPlanner returns a planner, which does nothing before run.
func newPlanner(w walker, s *settings) *planner {
	p := &planner{
		walker: w, log: s.Logger, observer: s.Observer, settings: s,
		wake: make(chan struct{}, 1),
		all:  make(map[*errands]struct{}),
		most: [numWalks]int{chLookUp: s.LookUps, chAnnounce: s.Announcements},
		rate: rate.NewLimiter(rate.Limit(s.WalkRate), s.WalkBurst),
	}
	for c := range p.queues {
		p.queues[c] = newFairQueue[*job]()
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

// update says what the host is on the topic now.
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
				p.queues[c].drop(j.entry)
				j.entry = p.queues[c].push(j, rankOf(j.rounds), p.payers(e))
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

// stopLocked takes j out of the agenda and the queue.
func (p *planner) stopLocked(j *job) {
	p.agenda.clear(j)
	if !j.since.IsZero() {
		p.queues[j.chore].drop(j.entry)
		p.waitedLocked(j)
		j.entry = nil
	}
}

// hurryLocked has j done soon, if it is wanted, and often at first.
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

// needLocked has a topic looked up that is in need, even if it is at rest: those that were found
// may be the wrong ones.
func (p *planner) needLocked(j *job, now time.Time) {
	if at := now.Add(jitter(p.settings.LookUpEvery)); j.wanted && j.due.After(at) {
		p.agenda.set(j, at)
	}
}

// soon has hosts looked for soon, because one was lost.
func (p *planner) soon(e *errands) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.hurryLocked(&e.jobs[chLookUp], now)
	p.hurryLocked(&e.jobs[chTend], now)
}

// back says that the host is in the DHT again, which may have forgotten it.
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

// leave drops the errands of a topic. Those that run end with the context.
func (p *planner) leave(e *errands) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.gone = true
	delete(p.all, e)
	for c := range e.jobs {
		p.wantLocked(&e.jobs[c], false, time.Time{})
	}
}

// waiting returns how many look-ups and announcements wait for their turn.
func (p *planner) waiting() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := make(map[string]int)
	for c := range numWalks {
		n[c.String()] = p.queues[c].len()
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

// asked is a job about which a client is asked, without the lock.
type asked struct {
	*job
	want int
	yes  bool
}

// step does what is due, and returns when something will be, or the zero time.
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
		e.client.waits(e.reportedWaiting) // which only step changes
	}
	return next
}

// dueLocked queues the walks that are due, and returns the jobs that their clients are to be asked
// about.
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

// answeredLocked goes on with a job after its client was asked about it.
func (p *planner) answeredLocked(a asked, now time.Time) {
	j := a.job
	switch {
	case !j.wanted, !j.due.IsZero(): // it ended, and may have begun anew
	case j.chore == chTend:
		p.ranLocked(j, now, nil, false)
	case a.yes && !j.again && !j.of.state.Need:
		p.agenda.set(j, now.Add(jitter(p.settings.LookUpRest/2)+p.settings.LookUpRest/2))
	default:
		j.again = false
		p.queueLocked(j, now)
	}
}

// queueLocked has j wait for its turn.
func (p *planner) queueLocked(j *job, now time.Time) {
	j.since = now
	if j.first = j.rounds == 0; j.first {
		p.firstsLocked(j.of, 1)
	}
	j.entry = p.queues[j.chore].push(j, rankOf(j.rounds), p.payers(j.of))
}

// waitedLocked says that j waits no more.
func (p *planner) waitedLocked(j *job) {
	j.since = time.Time{}
	if j.first {
		p.firstsLocked(j.of, -1)
	}
}

// firstsLocked counts jobs of e whose first time waits.
func (p *planner) firstsLocked(e *errands, n int) {
	e.firsts += n
	if !e.dirty {
		e.dirty = true
		p.dirty = append(p.dirty, e)
	}
}

// newlyWaitingLocked returns those whose clients are to be told whether they wait.
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

// startLocked starts the walks whose turn it is, and returns when one may start for which there is
// only the rate in the way, or the zero time. With free the walks cost nothing.
func (p *planner) startLocked(ctx context.Context, now time.Time, free bool) time.Time {
	for again := true; again; {
		again = false
		for i := range numWalks {
			c := (p.turn + i) % numWalks
			if p.queues[c].len() == 0 || p.running[c] >= p.most[c] {
				continue
			}
			if !free && p.rate.TokensAt(now) < 1 {
				r := p.rate.ReserveN(now, 1)
				defer r.CancelAt(now)
				return now.Add(max(r.DelayFrom(now), time.Millisecond))
			}
			e := p.queues[c].pop(p.running[c] >= p.most[c]-p.most[c]/reservedWalks)
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
func (p *planner) walkLocked(ctx context.Context, e *entry[*job], now time.Time) {
	j := e.what
	p.observer.NoteTurn(networkDHT, j.chore.String(), now.Sub(j.since))
	p.waitedLocked(j)
	j.running = true
	p.running[j.chore]++
	ok := false
	if j.chore == chLookUp {
		ok = j.of.tasks.start(func() {
			for t := range p.walker.find(j.of.ctx, j.of.digest) {
				j.of.client.addTarget(t)
			}
			p.done([]*job{j}, []error{nil}, false)
		})
	} else {
		ok = p.walks.start(func() { p.announce(ctx, j) })
	}
	if !ok { // it has just ended
		p.doneLocked(j)
	}
}

// done says that jobs have run, of which only the first one walked. With empty there was no other
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

// doneLocked says that j runs no more.
func (p *planner) doneLocked(j *job) {
	j.running = false
	if j.entry != nil {
		p.queues[j.chore].done(j.entry)
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
		if empty { // it is stored here for those who come, and announced once somebody is known
			delay = min(delay, p.settings.LookUpEvery)
		}
	}
	if err != nil {
		p.log.Debug("announcing failed", "digest", fmt.Sprintf("%x", j.of.digest[:4]), "error", err)
	}
	p.agenda.set(j, now.Add(delay))
}
