package server

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// endWithin is how long the end of a server may take: a WebTransport session takes 6 s where the
// client does not react.
const endWithin = 8 * time.Second

// remains counts what a server is in the middle of, so that an end that takes too long can say
// what it waits for. Its methods may be called by any goroutine.
type remains struct {
	mu     sync.Mutex
	counts map[string]int // guarded by mu; what, and how many
}

func newRemains() *remains { return &remains{counts: make(map[string]int)} }

// enter counts one more, until leave.
func (r *remains) enter(what string) {
	r.mu.Lock()
	r.counts[what]++
	r.mu.Unlock()
}

// leave undoes an enter.
func (r *remains) leave(what string) {
	r.mu.Lock()
	if r.counts[what]--; r.counts[what] == 0 {
		delete(r.counts, what)
	}
	r.mu.Unlock()
}

// String lists what there is, as in "open circuit: 1, topic: 2".
func (r *remains) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]string, 0, len(r.counts))
	for what, n := range r.counts {
		list = append(list, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// await waits for done, for endWithin at most, and returns an error that says what remains.
func (r *remains) await(done <-chan struct{}) error {
	timeout := time.NewTimer(endWithin)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return fmt.Errorf("server: not ended in %v (%v)", endWithin, r)
	}
}

// What is counted.
const (
	remainsSession  = "session"
	remainsFarewell = "session being told of its end"
	remainsTopic    = "topic"
	remainsNetworks = "topic that waits for its networks"
	remainsOpening  = "circuit being opened"
	remainsOpen     = "open circuit"
	remainsReset    = "circuit being reset"
)
