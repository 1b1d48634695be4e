package p2p

import (
	"math/rand/v2"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
)

// A topic is the client of a planner, which looks it up and announces it.
var _ client = (*topic)(nil)

// Its presence tells it of changes.
var _ discovery.Watcher = (*topic)(nil)

// begin enters the topic into the planner as its presence says.
func (t *topic) begin() {
	t.h.planner.enter(t.errands, t.presence.Now())
	t.presence.Watch(t)
	t.PresenceChanged() // it may have changed in between
	t.report()
}

// PresenceChanged has the topic act as its presence says now.
func (t *topic) PresenceChanged() {
	t.heeding.wake(&t.tasks, t.heed)
	t.advertising.wake(&t.tasks, t.advertise)
}

// heed tells the planner and the dials what the presence says.
func (t *topic) heed() {
	state := t.presence.Now()
	t.h.planner.update(t.errands, state)
	t.pay(state)
}

// run yields the news of the topic until it ends or the caller breaks.
func (t *topic) run(yield func(discovery.Sighting, error) bool) {
	t.begin()
	for t.ctx.Err() == nil {
		if i, ok := t.news.pull(); !ok {
			select {
			case <-t.more:
			case <-t.ctx.Done():
			}
		} else if !yield(i.sighting, i.err) {
			return
		}
	}
}

// report yields the trouble of the topic, if that has changed.
func (t *topic) report() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reportLocked()
}

// watch reports the status of the DHT to the topics. When the host is back in the DHT, it has them
// looked up and announced again.
func (h *Host) watch() {
	for {
		works, changed, _ := h.table.status.get()
		if works {
			h.planner.back()
		}
		for same := true; same; {
			for _, t := range h.topicsThat(func(*topic) bool { return true }) {
				t.report()
			}
			select {
			case <-changed:
				same = false
			case <-h.table.notes:
			case <-h.ctx.Done():
				return
			}
		}
	}
}

// tend tries all hosts that are known without the DHT.
func (t *topic) tend() {
	for _, s := range t.h.static[t.key] {
		t.addTarget(s)
	}
	t.retry()
}

// satisfied reports whether the met hosts have at least want endpoints.
func (t *topic) satisfied(want int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, r := range t.hosts {
		if r.meeting {
			n += len(r.endpoints)
		}
	}
	return n >= want
}

// waits notes whether the first look-up or announcement of the topic waits for its turn.
func (t *topic) waits(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queued = yes
	t.reportLocked()
}

// jitter returns a duration up to a tenth shorter than d.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}
