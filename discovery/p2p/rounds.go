package p2p

import (
	"math/rand/v2"
	"time"

	"github.com/swarmgate/swarmgate/internal/backoff"
)

// watch reports what becomes of the DHT.
func (t *topic) watch() {
	for {
		_, changed, _ := t.h.table.status.get()
		t.mu.Lock()
		t.reportLocked()
		t.mu.Unlock()
		select {
		case <-changed:
		case <-t.ctx.Done():
			return
		}
	}
}

// announce keeps the topic announced on the DHT while the presence says so.
func (t *topic) announce() {
	retry := backoff.New(min(time.Second, t.h.AnnounceEvery), t.h.AnnounceEvery)
	for t.ctx.Err() == nil {
		state, changed := t.presence.State()
		if !state.Announce {
			t.wait(changed)
			continue
		}
		_, moved, _ := t.h.table.status.get()
		again := jitter(t.h.AnnounceEvery)
		if t.h.table.empty() {
			// It is stored here for those who come, and announced once somebody is known.
			again = min(again, t.h.LookUpEvery)
		}
		if err := t.h.table.provide(t.ctx, t.digest); err == nil {
			retry.Reset()
		} else {
			again = retry.Next()
			t.log.Debug("announcing failed", "error", err)
		}
		timer := time.NewTimer(again)
		for due := false; !due; {
			select {
			case <-timer.C:
				due = true
			case <-moved:
				due, moved, _ = t.h.table.status.get() // back in the DHT, which may have forgotten us
			case <-changed:
				state, changed = t.presence.State()
				due = !state.Announce
			case <-t.ctx.Done():
				due = true
			}
		}
		timer.Stop()
	}
}

// wait waits until c is closed or the topic ends.
func (t *topic) wait(c <-chan struct{}) {
	select {
	case <-c:
	case <-t.ctx.Done():
	}
}

// lookUp looks for hosts while the presence says so: often at first, and when something has changed.
func (t *topic) lookUp() {
	pace := backoff.New(t.h.LookUpMin, t.h.LookUpEvery)
	asked := false
	for t.ctx.Err() == nil {
		state, changed := t.presence.State()
		if !state.LookUp {
			t.wait(changed)
			asked = false
			continue
		}
		if !asked {
			asked = true
			pace.Reset()
		}
		var moved <-chan struct{}
		if t.h.table != nil {
			_, moved, _ = t.h.table.status.get()
		}
		t.round()
		timer := time.NewTimer(pace.Next())
		for due := false; !due; {
			select {
			case <-timer.C:
				due = true
			case <-moved:
				due = true
				pace.Reset()
			case <-t.again:
				due = true
				pace.Reset()
			case <-changed:
				state, changed = t.presence.State()
				due = !state.LookUp
			case <-t.ctx.Done():
				due = true
			}
		}
		timer.Stop()
	}
}

// round tries all hosts that are known from somewhere, and looks for others on the DHT.
func (t *topic) round() {
	for _, s := range t.h.static[t.key] {
		t.found(s)
	}
	t.retry()
	if t.h.table == nil {
		return
	}
	for p := range t.h.table.find(t.ctx, t.digest) {
		t.found(p)
	}
}

// jitter returns a duration up to a tenth shorter than d.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}
