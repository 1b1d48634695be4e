package p2p

import (
	"context"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
)

// maxDials is at how many addresses hosts are dialed at once, for all topics together. libp2p dials
// at 160, and keeps what is more in a queue that is first come, first served. The rest is for walks
// of the DHT.
const maxDials = 128

// workDial is what metrics call a dial that waits for its turn.
const workDial = "dial"

// lanPayer is for whose sake hosts of the LAN are asked about all topics.
type lanPayer struct{}

// dials decides for whose sake the next host is dialed. Any number of goroutines may use it. Pure
// accounting.
type dials struct {
	observer *discovery.Observer // constant; may be nil

	mu    sync.Mutex
	queue *fairQueue[*turn] // guarded by mu
	used  int               // guarded by mu; what the turns that run take
}

// turn is the right to dial one host, or the wait for it. The methods of a nil turn do nothing.
type turn struct {
	dials *dials           // constant
	start func(*turn) bool // constant; called once when the wait is over
	since time.Time        // constant

	entry *entry[*turn] // guarded by dials.mu; nil once the turn is over
	takes int           // guarded by dials.mu; addresses at once; 0 while it waits
}

func newDials(o *discovery.Observer) *dials {
	return &dials{observer: o, queue: newFairQueue[*turn]()}
}

// want waits for a turn for the sake of payers. When it comes, which may be before want returns,
// start is called. It must not block, nor call dials; with false nobody takes the turn. The caller
// ends the turn with done, also if it still waits.
func (d *dials) want(r rank, payers []discovery.Payer, start func(*turn) bool) *turn {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &turn{dials: d, start: start, since: time.Now()}
	t.entry = d.queue.push(t, r, payers)
	d.startLocked()
	return t
}

// await returns a turn for the sake of payers once it comes, or nil if ctx ends before.
func (d *dials) await(ctx context.Context, r rank, payers []discovery.Payer) *turn {
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

// startLocked starts the turns that there is room for. A share of it is for those for whose sake
// nobody is dialed.
func (d *dials) startLocked() {
	for d.used <= maxDials-maxAddrs {
		e := d.queue.pop(d.used >= maxDials-maxDials/reservedWalks)
		if e == nil {
			return
		}
		t := e.what
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
	return d.queue.len()
}

// pay says for whose sake t is now, if it still waits.
func (t *turn) pay(r rank, payers []discovery.Payer) {
	if t == nil {
		return
	}
	d := t.dials
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.entry != nil && t.takes == 0 {
		d.queue.drop(t.entry)
		t.entry = d.queue.push(t, r, payers)
		d.startLocked()
	}
}

// uses says at how many addresses the host is dialed, if these are fewer than before.
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

// payer returns the widest part of the payer whose turn t is, nil if it is nobody's.
func (t *turn) payer() any {
	if t == nil {
		return nil
	}
	t.dials.mu.Lock()
	defer t.dials.mu.Unlock()
	if t.entry == nil || t.entry.taken == nil {
		return nil
	}
	return t.entry.taken.key
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
		d.queue.drop(t.entry)
	default:
		d.used -= t.takes
		d.queue.done(t.entry)
	}
	t.entry, t.takes = nil, 0
}

// payersOf returns for whose sake a host is on a topic with state s.
func payersOf(s discovery.State, gateway bool) []discovery.Payer {
	if len(s.For) == 0 && !gateway {
		return nativePayers
	}
	return s.For
}

// nativePayers are those of a native peer.
var nativePayers = []discovery.Payer{{"native"}}
