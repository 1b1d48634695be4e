package secret

import (
	"net"
	"os"
	"sync"
	"time"
)

// outbox is the direction to the peer: records that wait, of which the last one may be filled
// further, and records on their way. While some are on their way, a goroutine runs; it ends with
// what it has to do, or with the circuit. Full records are sealed by the one who writes them,
// meanwhile.
type outbox struct {
	circuit Circuit // constant

	mu       sync.Mutex
	changed  sync.Cond     // with mu: any of the following has
	send     direction     // that of the next record
	waiting  *batch        // from batches; nil while it is empty
	running  bool          // run runs
	ending   bool          // no more data comes: what there is, then the end
	ended    bool          // the circuit has taken the end
	busy     bool          // write writes
	closed   bool          // by Close: nobody waits any more
	finished chan struct{} // set with closed; closed when run has ended
	err      error         // why it takes no more
	deadline *time.Timer   // sets late; nil for none
	late     bool          // the deadline has passed
}

// batch is records that the circuit gets in one piece: sealed ones, and data of one that is not.
type batch struct {
	b      [batchRecords * len(frame{})]byte
	sealed int // bytes of sealed records
	n      int // bytes of data of the next one, after the place for its length
}

// batchRecords is how many full records are written to the circuit at once.
const batchRecords = 2

var batches = sync.Pool{New: func() any { return new(batch) }}

// full reports whether there is no room for another record.
func (b *batch) full() bool { return len(b.b)-b.sealed < len(frame{}) }

// release gives b back.
func (b *batch) release() {
	b.sealed, b.n = 0, 0
	batches.Put(b)
}

func (o *outbox) init(c Circuit, d direction) {
	o.circuit, o.send = c, d
	o.changed.L = &o.mu
}

// write takes p.
func (o *outbox) write(p []byte) (taken int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.busy = false }()
	for {
		switch {
		case o.closed || o.ending:
			return taken, net.ErrClosed
		case o.err != nil:
			return taken, o.err
		case o.late:
			return taken, os.ErrDeadlineExceeded
		case len(p) == 0:
			return taken, nil
		case o.waiting != nil && o.waiting.full():
			o.busy = true
			o.changed.Wait()
			continue
		}
		if o.waiting == nil {
			o.waiting = batches.Get().(*batch)
		}
		n := o.takeLocked(p)
		taken += n
		p = p[n:]
		o.startLocked()
	}
}

// takeLocked takes bytes of p into the record that is being filled, and seals that if it is full.
func (o *outbox) takeLocked(p []byte) int {
	w := o.waiting
	if w.n == 0 && len(p) >= maxData {
		o.sealLocked(w, p[:maxData])
		return maxData
	}
	at := w.sealed + 2
	n := copy(w.b[at+w.n:at+maxData], p)
	w.n += n
	if w.n == maxData {
		o.sealLocked(w, w.b[at:at+maxData])
	}
	return n
}

// sealLocked makes a record of data behind those that w has. data may be that of w.
func (o *outbox) sealLocked(w *batch, data []byte) {
	wire, err := o.send.seal(w.b[:w.sealed], data)
	if err != nil {
		o.stopLocked(err)
		return
	}
	w.sealed, w.n = len(wire), 0
}

// end ends the direction, and waits until the circuit has taken all.
func (o *outbox) end() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return net.ErrClosed
	}
	o.ending = true
	o.startLocked()
	for {
		switch {
		case o.ended:
			return nil
		case o.closed:
			return net.ErrClosed
		case o.err != nil:
			return o.err
		case o.late:
			return os.ErrDeadlineExceeded
		}
		o.changed.Wait()
	}
}

// close ends the direction, and with it what waits for it. finished is closed when the circuit has
// taken all, or never will. whole is false if a write was interrupted.
func (o *outbox) close() (finished <-chan struct{}, whole bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.ending = true, true
	o.finished = make(chan struct{})
	o.setDeadlineLocked(time.Time{})
	o.startLocked()
	if !o.running {
		close(o.finished)
	}
	return o.finished, !o.busy
}

// stop ends the direction with err, unless it has ended. The circuit is reset.
func (o *outbox) stop(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopLocked(err)
}

func (o *outbox) stopLocked(err error) {
	if o.err == nil {
		o.err = err
	}
	if o.waiting != nil {
		o.waiting.release()
		o.waiting = nil
	}
	o.setDeadlineLocked(time.Time{})
	o.changed.Broadcast()
}

func (o *outbox) startLocked() {
	if !o.running && o.err == nil && !o.ended {
		o.running = true
		go o.run()
	}
}

// run writes what there is, and seals what is not.
func (o *outbox) run() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && (o.waiting != nil || o.ending && !o.ended) {
		b, last := o.waiting, o.waiting == nil
		if last {
			b = batches.Get().(*batch)
		}
		o.waiting = nil
		if b.n > 0 || last {
			o.sealLocked(b, b.b[b.sealed+2:b.sealed+2+b.n])
		}
		if o.err != nil {
			b.release()
			break
		}
		o.changed.Broadcast()
		o.mu.Unlock()
		_, err := o.circuit.Write(b.b[:b.sealed])
		if last && err == nil {
			err = o.circuit.CloseWrite()
		}
		b.release()
		o.mu.Lock()
		if err != nil {
			o.stopLocked(err)
		} else if last {
			o.ended = true
		}
	}
	o.running = false
	if o.closed {
		close(o.finished)
	}
	o.changed.Broadcast()
}

func (o *outbox) setDeadline(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.setDeadlineLocked(t)
}

func (o *outbox) setDeadlineLocked(t time.Time) {
	if o.deadline != nil {
		o.deadline.Stop()
		o.deadline = nil
	}
	o.late = !t.IsZero() && !time.Now().Before(t)
	if !t.IsZero() && !o.late {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.deadline == timer {
				o.late = true
				o.changed.Broadcast()
			}
		})
		o.deadline = timer
	}
	o.changed.Broadcast()
}
