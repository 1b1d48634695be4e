package server

import (
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxFailures is how many peers that failed are remembered beyond their topics.
const maxFailures = 16 << 10

// failures keeps the back-off of peers that a topic forgets, and of all peers of a topic that
// ends, for some time after it is over: who leaves and joins again does not have them dialed
// sooner or more often. The zero value is empty. Any number of goroutines may use it.
type failures struct {
	mu  sync.Mutex
	all map[failureKey]failure // guarded by mu; at most maxFailures
}

type failureKey struct {
	topic wtproto.Topic
	peer  string
}

// failure is what is kept of a peer.
type failure struct {
	retry   backoff.Backoff
	retryAt time.Time
	refused bool
	code    wtproto.Code
}

// over reports whether f says nothing any more.
func (f *failure) over(now time.Time) bool { return !f.retryAt.Add(retryMax).After(now) }

// keep notes f until it is over. If there are too many, it is forgotten.
func (l *failures) keep(topic wtproto.Topic, peer string, f failure, now time.Time) {
	if f.over(now) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[failureKey]failure)
	}
	if len(l.all) >= maxFailures {
		for key, old := range l.all {
			if old.over(now) {
				delete(l.all, key)
			}
		}
	}
	if len(l.all) < maxFailures {
		l.all[failureKey{topic, peer}] = f
	}
}

// take returns what is kept of a peer, and forgets it.
func (l *failures) take(topic wtproto.Topic, peer string, now time.Time) (failure, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := failureKey{topic, peer}
	f, ok := l.all[key]
	delete(l.all, key)
	return f, ok && !f.over(now)
}
