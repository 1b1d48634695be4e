package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// What a direction of a circuit holds at most while its far end takes nothing, in bytes.
const (
	heldFromClient = streamWindow + 32<<10 // the receive window of the client's stream, and the copy buffer
	heldFromPeer   = 1<<20 + 32<<10        // the largest receive window of a peer's stream, and the copy buffer
)

// stall is a circuit of which a direction, or both, have not moved for a while.
type stall struct {
	circuit *circuit
	since   time.Time // of the direction that has stalled longer
	held    int64
}

// overBudget returns the stalls to end so that the others hold no more than budget: those that have lasted longest.
func overBudget(stalls []stall, budget int64) []stall {
	var held int64
	for _, s := range stalls {
		held += s.held
	}
	slices.SortFunc(stalls, func(a, b stall) int { return cmp.Compare(a.since.UnixNano(), b.since.UnixNano()) })
	var n int
	for ; n < len(stalls) && held > budget; n++ {
		held -= stalls[n].held
	}
	return stalls[:n]
}

// stallWatch keeps what all stalled circuits hold together within a budget.
type stallWatch struct {
	budget int64 // bytes

	mu       sync.Mutex
	circuits map[*circuit]struct{} // guarded by mu
}

func newStallWatch(budget int64) *stallWatch {
	return &stallWatch{budget: budget, circuits: make(map[*circuit]struct{})}
}

func (w *stallWatch) add(c *circuit) {
	w.mu.Lock()
	w.circuits[c] = struct{}{}
	w.mu.Unlock()
}

func (w *stallWatch) remove(c *circuit) {
	w.mu.Lock()
	delete(w.circuits, c)
	w.mu.Unlock()
}

// run looks after the circuits once a second until ctx ends.
func (w *stallWatch) run(ctx context.Context) {
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, s := range overBudget(w.stalled(now.Add(-every)), w.budget) {
				s.circuit.over.end(wtproto.Errorf(wtproto.CodeStalled, "not read since %v", now.Sub(s.since).Round(time.Second)))
			}
		}
	}
}

// stalled returns the circuits of which a direction has not moved since before.
func (w *stallWatch) stalled(before time.Time) []stall {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []stall
	for c := range w.circuits {
		s := stall{circuit: c}
		s.add(c.toPeer.Stalled(), before, c.heldToPeer)
		s.add(c.toClient.Stalled(), before, c.heldToClient)
		if s.held > 0 {
			all = append(all, s)
		}
	}
	return all
}

// add counts a direction that has stalled since a time, zero for never, if that is before before.
func (s *stall) add(since, before time.Time, held int64) {
	if since.IsZero() || !since.Before(before) {
		return
	}
	s.held += held
	if s.since.IsZero() || since.Before(s.since) {
		s.since = since
	}
}
