package server

import (
	"context"
	"errors"
	"sync"
	"time"
)

// over is the end of a circuit. It comes once, with the first cause, and every wait of the circuit
// ends with it:
//
//   - what waits in a select (for the answer to an offer, for the client's credit) watches done;
//   - what waits in a client's stream, which knows deadlines only, has them from [waits];
//   - what waits in a peer's stream is ended by the stream's Reset.
//
// Nothing else cuts a wait of a circuit short. Its methods never block, and any goroutine may call
// them.
type over struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// errRegular is the cause of an end by FIN both ways.
var errRegular = errors.New("server: a regular end")

func newOver() *over {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &over{ctx, cancel}
}

// end ends the circuit, unless it is over already. A nil cause is a regular end.
func (o *over) end(cause error) {
	if cause == nil {
		cause = errRegular
	}
	o.cancel(cause)
}

// done is closed when the circuit is over.
func (o *over) done() <-chan struct{} { return o.ctx.Done() }

// then calls f in a goroutine of its own once the circuit is over, unless stop comes first.
func (o *over) then(f func()) (stop func() bool) { return context.AfterFunc(o.ctx, f) }

// cause returns why the circuit is over: nil before its end, and after a regular one.
func (o *over) cause() error {
	if err := context.Cause(o.ctx); err != errRegular {
		return err
	}
	return nil
}

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
	select {
	case <-w.over.done():
		w.expire()
	default:
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
	select {
	case <-w.over.done():
		return past
	default:
		return t
	}
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
