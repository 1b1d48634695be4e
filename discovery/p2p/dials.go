package p2p

import (
	"context"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
)

// maxDials is how many addresses of hosts all topics together dial at once. libp2p dials 160, and
// queues more in the order in which they come. The rest is for walks of the DHT.
const maxDials = 128

// workDial is what metrics call a dial that waits for its turn.
const workDial = "dial"

// lanPayer pays for asking hosts of the LAN about all topics.
type lanPayer struct{}

// dials decides for which payer the next host is dialed. Any number of goroutines may use it. Pure
// accounting.
type dials struct {
	observer *discovery.Observer // constant; may be nil

	mu    sync.Mutex
	queue *fair.Queue[*turn] // guarded by mu
	used  int                // guarded by mu; addresses of the running turns
}

// turn is the right to dial one host, or the wait for that right. The methods of a nil turn do
// nothing.
type turn struct {
	dials *dials           // constant
	start func(*turn) bool // constant; called once when the wait is over
	since time.Time        // constant

	entry *fair.Entry[*turn] // guarded by dials.mu; nil once the turn is over
	takes int                // guarded by dials.mu; addresses at once; 0 while it waits
}

func newDials(o *discovery.Observer) *dials {
	return &dials{observer: o, queue: fair.New[*turn]()}
}

// want asks for a turn for payers. It calls start when the turn comes, perhaps before want
// returns. start must not block, and must not call dials. If it returns false, the turn is over.
// The caller must call done at the end, even if the turn still waits.
func (d *dials) want(r fair.Rank, payers []discovery.Payer, start func(*turn) bool) *turn {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &turn{dials: d, start: start, since: time.Now()}
	t.entry = d.queue.Push(t, r, payers)
	d.startLocked()
	return t
}

// await waits for a turn for payers and returns it, or nil if ctx ends before.
func (d *dials) await(ctx context.Context, r fair.Rank, payers []discovery.Payer) *turn {
	came := make(chan struct{})
	t := d.want(r, payers, func(*turn) bool {
		close(came)
		return true
	})
	select {
	case <-came:
		return t
	case <-ctx.Done():
		t.done()
		return nil
	}
}

// startLocked starts as many turns as there is room for. A share of the room is for payers without
// a running turn.
func (d *dials) startLocked() {
	for d.used <= maxDials-maxAddrs {
		e := d.queue.Pop(d.used >= maxDials-maxDials/reservedWalks)
		if e == nil {
			return
		}
		t := e.What
		t.takes = maxAddrs // until it is known
		d.used += t.takes
		d.observer.NoteTurn(networkDHT, workDial, time.Since(t.since))
		if !t.start(t) {
			t.endLocked()
		}
	}
}

// waiting returns how many turns wait.
func (d *dials) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.Len()
}

// pay sets the payers of t, if it still waits.
func (t *turn) pay(r fair.Rank, payers []discovery.Payer) {
	if t == nil {
		return
	}
	d := t.dials
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.entry != nil && t.takes == 0 {
		d.queue.Drop(t.entry)
		t.entry = d.queue.Push(t, r, payers)
		d.startLocked()
	}
}

// uses sets the number of addresses that the turn dials, if there are fewer than before.
func (t *turn) uses(n int) {
	if t == nil {
		return
	}
	d := t.dials
	d.mu.Lock()
	defer d.mu.Unlock()
	if n < t.takes {
		d.used -= t.takes - n
		t.takes = n
		d.startLocked()
	}
}

// payer returns the widest part of the payer of t, or nil if t has none.
func (t *turn) payer() any {
	if t == nil {
		return nil
	}
	t.dials.mu.Lock()
	defer t.dials.mu.Unlock()
	if t.entry == nil {
		return nil
	}
	return t.entry.Payer()
}

// done ends t, or its wait. It may be called more than once.
func (t *turn) done() {
	if t == nil {
		return
	}
	t.dials.mu.Lock()
	defer t.dials.mu.Unlock()
	t.endLocked()
	t.dials.startLocked()
}

func (t *turn) endLocked() {
	switch d := t.dials; {
	case t.entry == nil:
		return
	case t.takes == 0:
		d.queue.Drop(t.entry)
	default:
		d.used -= t.takes
		d.queue.Done(t.entry)
	}
	t.entry, t.takes = nil, 0
}

// payersOf returns the payers of a topic with state s.
func payersOf(s discovery.State, gateway bool) []discovery.Payer {
	if len(s.For) == 0 && !gateway {
		return nativePayers
	}
	return s.For
}

// nativePayers are those of a native peer.
var nativePayers = []discovery.Payer{{"native"}}
