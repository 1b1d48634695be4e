// Package logwriter writes a log to a file that may block or fail, such as a pipe whose reader has
// stopped to read or has gone, without holding up whoever logs. See [Writer].
package logwriter

import (
	"io"
	"sync"
	"time"
)

// limit is how many bytes wait to be written at most.
const limit = 1 << 20

// Writer passes on what it is given, on a goroutine of its own. Errors of the file below do not
// matter to who writes: a log whose reader has gone is lost. Any number of goroutines may use it.
type Writer struct {
	to   io.Writer
	lost func(lines int) // constant

	wake chan struct{} // has a value if there is something to do
	done chan struct{} // is closed when run has returned

	mu      sync.Mutex
	waiting []byte // guarded by mu; not taken by run yet
	missed  int    // guarded by mu; writes that found no room since lost was called
	closed  bool   // guarded by mu
}

// New returns a Writer to a file, which only the Writer uses until Close. If 1 MiB waits, further
// lines are lost; when there is room again, lost is called with their number, on the goroutine of
// the Writer, to which it may write. The caller closes the Writer, not the file.
func New(to io.Writer, lost func(lines int)) *Writer {
	w := &Writer{to: to, lost: lost, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes whole lines. It never waits for the file, and returns no error.
func (w *Writer) Write(lines []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.waiting)+len(lines) > limit {
		w.missed++
		return len(lines), nil
	}
	w.waiting = append(w.waiting, lines...)
	w.signal()
	return len(lines), nil
}

// Close waits until everything is written, but not longer than atMost: if the file blocks then, the
// goroutine of the Writer waits for it still. What is written afterwards is lost.
func (w *Writer) Close(atMost time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.signal()
	w.mu.Unlock()
	timeout := time.NewTimer(atMost)
	defer timeout.Stop()
	select {
	case <-w.done:
	case <-timeout.C:
	}
}

// signal has run look again.
func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes until the Writer is closed and nothing is left.
func (w *Writer) run() {
	defer close(w.done)
	var batch []byte
	for range w.wake {
		for {
			w.mu.Lock()
			batch, w.waiting = w.waiting, batch[:0]
			missed, closed := w.missed, w.closed
			w.missed = 0
			w.mu.Unlock()
			if len(batch) == 0 && missed == 0 {
				if closed {
					return
				}
				break
			}
			if len(batch) > 0 {
				_, _ = w.to.Write(batch) // nobody could be told
			}
			if missed > 0 && !closed {
				w.lost(missed)
			}
		}
	}
}
