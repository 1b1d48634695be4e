package urgency

import (
	"net"
	"os"
	"sync"
	"time"
)

// gatherSize is how many bytes of short Writes are sent together, at most. As many may wait behind
// them. A Write of fewer bytes is short.
const gatherSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// gathered are the bytes of short Writes that wait to be sent together. A goroutine, [Writer.flush],
// sends them while there are any. Nobody else writes to the stream meanwhile.
type gathered struct {
	changed chan struct{} // takes one; wakes a Write that waits

	mu       sync.Mutex
	busy     bool              // guarded by mu; flush runs
	failed   bool              // guarded by mu; the stream fails
	fin      bool              // guarded by mu; the stream is to be closed after next
	bytes    int               // guarded by mu; in next
	next     *[gatherSize]byte // guarded by mu; nil unless busy
	spare    *[gatherSize]byte // guarded by mu; nil while flush sends what is in it, and unless busy
	deadline time.Time         // guarded by mu; of Writes
}

// gather takes p if it is short and other streams have much to send too. Else it returns when
// nobody else writes to the stream, and the caller is to write p. The error is that of a Write.
func (w *Writer) gather(p []byte) (taken bool, err error) {
	g := w.gathered
	g.mu.Lock()
	defer g.mu.Unlock()
	short := len(p) > 0 && len(p) < gatherSize
	for {
		switch {
		case g.fin:
			return false, net.ErrClosed
		case !g.busy && !(short && w.startLocked()):
			return false, nil
		case !g.deadline.IsZero() && !time.Now().Before(g.deadline):
			return false, os.ErrDeadlineExceeded
		case short && g.bytes+len(p) <= gatherSize:
			g.bytes += copy(g.next[g.bytes:], p)
			return true, nil
		}
		g.waitLocked()
	}
}

// startLocked starts flush, and reports whether it has. It does not if no other stream has much to
// send, because nothing would be gained.
func (w *Writer) startLocked() bool {
	g := w.gathered
	if w.sent < muchSize || g.failed || !g.deadline.IsZero() || w.turns.writing.Load() == 0 || !w.turns.start(w.flush) {
		return false
	}
	g.busy, g.bytes = true, 0
	g.next, g.spare = buffers.Get().(*[gatherSize]byte), buffers.Get().(*[gatherSize]byte)
	return true
}

// waitLocked waits for a change or the deadline.
func (g *gathered) waitLocked() {
	deadline := g.deadline
	g.mu.Unlock()
	defer g.mu.Lock()
	if deadline.IsZero() {
		<-g.changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-g.changed:
	case <-timer.C:
	}
}

// wake has a Write that waits look again.
func (g *gathered) wake() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// flush sends what is gathered, until there is nothing or the stream fails. Later Writes fail as
// well then.
func (w *Writer) flush() {
	w.turns.writing.Add(1)
	defer w.turns.writing.Add(-1)
	g := w.gathered
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.bytes > 0 && !g.failed {
		sending, n := g.next, g.bytes
		g.next, g.spare, g.bytes = g.spare, nil, 0
		g.wake()
		g.mu.Unlock()
		_, err := w.send(sending[:n])
		g.mu.Lock()
		g.spare, g.failed = sending, err != nil
	}
	g.busy = false
	buffers.Put(g.next)
	buffers.Put(g.spare)
	g.next, g.spare = nil, nil
	if g.fin {
		_ = w.stream.Close() // fails if the stream was reset, which it tells otherwise too
	} else if !g.deadline.IsZero() {
		_ = w.stream.SetWriteDeadline(g.deadline) // never fails
	}
	g.wake()
}

// send writes b in a turn, unless it is short.
func (w *Writer) send(b []byte) (int, error) {
	if w.turns == nil || len(b) < leastSize {
		return w.stream.Write(b)
	}
	return w.writeInTurn(b[:min(turnSize, len(b))])
}

// SetWriteDeadline has Writes fail at t, one in progress too. The zero time means never. What a
// Write has taken is sent nevertheless. Any goroutine may call it.
func (w *Writer) SetWriteDeadline(t time.Time) error {
	if w.turns == nil {
		return w.stream.SetWriteDeadline(t)
	}
	w.Hurry(!t.IsZero())
	g := w.gathered
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deadline = t
	if g.busy {
		g.wake()
		return nil
	}
	return w.stream.SetWriteDeadline(t)
}

// Close closes the stream behind what was written, and does not wait for that. It must not be
// called while a Write is in progress.
func (w *Writer) Close() error {
	if w.turns == nil {
		return w.stream.Close()
	}
	g := w.gathered
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy {
		g.fin = true
		return nil
	}
	return w.stream.Close()
}
