package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// over is the end of a circuit. It comes once, with the first cause, and every wait of the circuit
// ends with it:
//
//   - what waits in a select (for the answer to an offer, for the client's credit) watches Done;
//   - what waits in a client's stream, which knows deadlines only, has them from [waits];
//   - what waits in a peer's stream is ended by the stream's Reset.
//
// Nothing else cuts a wait of a circuit short. Its methods never block, and any goroutine may call
// them.
//
// It is a context too, which knows no values. The zero value is not over.
type over struct {
	hasEnded atomic.Bool // why is not nil

	mu    sync.Mutex
	why   error         // guarded by mu; nil before the end
	then  func()        // guarded by mu; see atEnd
	ended chan struct{} // guarded by mu; closed at the end; nil before somebody asks for it
}

// errRegular is the cause of an end by FIN both ways.
var errRegular = errors.New("server: a regular end")

// end ends the circuit. A nil cause is a regular end. It reports whether the circuit was not over
// before.
func (o *over) end(cause error) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why != nil {
		return false
	}
	if o.why = cause; cause == nil {
		o.why = errRegular
	}
	o.hasEnded.Store(true) // before then may look
	if o.ended != nil {
		close(o.ended)
	}
	if cause != nil && o.then != nil {
		go o.then()
	}
	return true
}

// atEnd has f called in a goroutine of its own at the end, unless that is a regular one, and in
// place of what was to be called before. A nil f is nothing. It reports whether the circuit is over
// already, and then f is not called.
func (o *over) atEnd(f func()) (late bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why != nil {
		return true
	}
	o.then = f
	return false
}

// is reports whether the circuit is over.
func (o *over) is() bool { return o.hasEnded.Load() }

// cause returns why the circuit is over: nil before its end, and after a regular one.
func (o *over) cause() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why == errRegular {
		return nil
	}
	return o.why
}

// Done is closed when the circuit is over.
func (o *over) Done() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = make(chan struct{})
		if o.why != nil {
			close(o.ended)
		}
	}
	return o.ended
}

// Err is that of a context.
func (o *over) Err() error {
	if o.is() {
		return context.Canceled
	}
	return nil
}

// Deadline is that of a context.
func (o *over) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is that of a context.
func (o *over) Value(any) any { return nil }

// waits is where a circuit waits in a client's stream. Its deadlines are those that were set until
// the circuit is over, and in the past from then on, whatever is set: so a copy that clears its
// own deadline at that very moment wakes all the same.
type waits struct {
	over *over

	mu     sync.Mutex
	stream stream // guarded by mu; nil before there is one
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// in sets the stream.
func (w *waits) in(s stream) {
	w.mu.Lock()
	w.stream = s
	w.mu.Unlock()
	if w.over.is() {
		w.expire()
	}
}

// out gives the stream back: no deadline of it is set any more.
func (w *waits) out() {
	w.mu.Lock()
	w.stream = nil
	w.mu.Unlock()
}

// setRead sets the deadline of Read.
func (w *waits) setRead(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stream.SetReadDeadline(w.untilOver(t))
}

// setWrite sets the deadline of Write.
func (w *waits) setWrite(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stream.SetWriteDeadline(w.untilOver(t))
}

func (w *waits) untilOver(t time.Time) time.Time {
	if w.over.is() {
		return past
	}
	return t
}

// expire ends all waits in the stream. It is called once the circuit is over.
func (w *waits) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream != nil {
		w.stream.SetReadDeadline(past)
		w.stream.SetWriteDeadline(past)
	}
}
