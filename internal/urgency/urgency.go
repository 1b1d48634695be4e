// Package urgency has streams of a QUIC connection that have little to send go before those that
// have much (RFC 9218), so a question and its answer do not wait behind a file.
//
// Streams that have much to send share what is left evenly. QUIC sends a packet of each in turn, so
// the other end would read and pass on one packet at a time, which takes several times as much of
// its processor. So they take [Turns]: each writes some packets, and then the next one does.
// (A priority could say so, "incremental" false. But quic-go asks the first of such streams again
// and again, and none behind it, if the first one has used up its window.)
package urgency

import (
	"io"
	"time"
)

const (
	// muchSize is how many bytes a stream has sent without a pause when it counts as one that has
	// much to send. It is little, because 64 streams that share a bad line need long for it.
	muchSize = 16 << 10
	pause    = 100 * time.Millisecond
)

// Urgencies of RFC 9218, 4.1. A stream has the usual one if nobody sets another.
const (
	first = 1 // of a control stream
	usual = 3
	bulk  = 6 // much to send
)

// Stream is the sending side of a stream of QUIC.
type Stream interface {
	io.Writer
	// WriteWithLimit is Write. It calls limiter for each frame with how many bytes that can have,
	// and limiter returns how many it is to have.
	WriteWithLimit(p []byte, limiter func(maxBytes int) int) (int, error)
	// SetPriority sets the urgency, and whether streams of the same urgency send a packet each in
	// turn.
	SetPriority(urgency int8, incremental bool)
	// SetWriteDeadline and Close are those of a stream of QUIC.
	SetWriteDeadline(t time.Time) error
	Close() error
}

// Writer writes to a stream, and sets its urgency. One goroutine at a time may use it.
type Writer struct {
	stream Stream
	first  bool      // it goes before all others
	much   bool      // it is less urgent
	sent   int       // bytes without a pause, as far as that matters
	at     time.Time // when the last Write ended
	turns  *Turns    // or nil
	turn   turn

	gathered *gathered // nil without turns
}

// NewWriter returns a writer for a stream that nothing was written to. If it has much to send, it
// takes turns with others that have the same turns. Without turns, it is nil.
func NewWriter(s Stream, turns *Turns) *Writer {
	w := &Writer{stream: s, turns: turns}
	if turns != nil {
		w.gathered = &gathered{changed: make(chan struct{}, 1)}
	}
	return w
}

// First has what is written go before what all other streams send. Call it before the first Write.
func (w *Writer) First() {
	w.first = true
	w.stream.SetPriority(first, true)
}

// Write writes p to the stream, and returns what the stream returns. It may write p in parts. With
// turns, it may take a short p that is written soon, see [Turns].
func (w *Writer) Write(p []byte) (n int, err error) {
	if w.first {
		return w.stream.Write(p)
	}
	if w.sent > 0 && time.Since(w.at) > pause {
		w.sent = 0
		w.set(false)
	}
	if w.turns != nil {
		taken, err := w.gather(p)
		if err != nil {
			return 0, err
		}
		if taken {
			w.wrote(len(p))
			return len(p), nil
		}
	}
	if little := muchSize - w.sent; little > 0 {
		n, err = w.stream.Write(p[:min(little, len(p))])
		w.wrote(n)
		if err != nil || n == len(p) {
			return n, err
		}
	}
	w.set(true)
	if w.turns != nil {
		w.turns.writing.Add(1)
		defer w.turns.writing.Add(-1)
	}
	for {
		k, err := w.send(p[n:])
		w.wrote(k)
		if n += k; err != nil || n == len(p) {
			return n, err
		}
	}
}

// Hurry has a Write not wait for its turn, one in progress either, for example because it is to
// fail at a deadline. It does again after Hurry(false). Any goroutine may call it.
func (w *Writer) Hurry(yes bool) {
	if w.turns != nil {
		w.turns.hurry(w, yes)
	}
}

// set sets the urgency of a stream that has much to send, or little.
func (w *Writer) set(much bool) {
	if w.much == much {
		return
	}
	if w.much = much; much {
		w.stream.SetPriority(bulk, true)
	} else {
		w.stream.SetPriority(usual, true)
	}
}

func (w *Writer) wrote(n int) {
	w.sent = min(w.sent+n, muchSize)
	w.at = time.Now()
}
