package server

import (
	"sync"
	"time"
)

// The window of a stream over WebSocket: how much a client may send that nobody has read yet.
const (
	initialSocketWindow = 64 << 10
	socketWindow        = 1 << 20
	// readFast is how soon half of a window must have been read for the next one to be twice as
	// large, so a window holds what is read in half a second.
	readFast = 250 * time.Millisecond
)

// inflow counts what a client sends on one stream, and decides how much it may send. It does no
// I/O and reads no clock.
type inflow struct {
	received, read int64
	granted        int64 // offset of the first byte that may not be sent
	size           int64 // of the window
	since          time.Time
}

func newInflow(now time.Time) inflow {
	return inflow{granted: initialSocketWindow, size: initialSocketWindow, since: now}
}

// receive counts n bytes that have come, and reports whether they were allowed.
func (f *inflow) receive(n int) bool {
	f.received += int64(n)
	return f.received <= f.granted
}

// take counts n bytes that were read. If half of the window was, it returns the offset of a new
// one, which is larger than the last if mayGrow.
func (f *inflow) take(n int, now time.Time, mayGrow bool) (offset int64, grant bool) {
	f.read += int64(n)
	if f.granted-f.read > f.size/2 {
		return 0, false
	}
	if mayGrow && f.size < socketWindow && now.Sub(f.since) < readFast {
		f.size *= 2
	}
	f.granted, f.since = f.read+f.size, now
	return f.granted, true
}

// inbox holds the bytes of a stream that have come and were not read, in pieces of a pool. One
// goroutine fills it and one reads it, both under a lock but for the filling of a space.
type inbox struct {
	pieces   []*[pieceSize]byte
	from, to int // of the first piece, and in the last one
	n        int
	filling  bool // there is a space
	dropping bool // what comes is not kept
}

const pieceSize = 16 << 10

var piecePool = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// space returns where the next bytes go, until filled.
func (b *inbox) space() []byte {
	b.filling = true
	if len(b.pieces) == 0 || b.to == pieceSize {
		b.pieces = append(b.pieces, piecePool.Get().(*[pieceSize]byte))
		b.to = 0
	}
	return b.pieces[len(b.pieces)-1][b.to:]
}

// filled says that the first n bytes of the space are there.
func (b *inbox) filled(n int) {
	b.filling = false
	if !b.dropping {
		b.to += n
		b.n += n
	}
	b.tidy()
}

// read moves bytes into p.
func (b *inbox) read(p []byte) (n int) {
	for n < len(p) && b.n > 0 {
		end := pieceSize
		if len(b.pieces) == 1 {
			end = b.to
		}
		k := copy(p[n:], b.pieces[0][b.from:end])
		n, b.n, b.from = n+k, b.n-k, b.from+k
		if b.from == pieceSize && len(b.pieces) > 1 {
			piecePool.Put(b.pieces[0])
			b.pieces[0] = nil
			b.pieces, b.from = b.pieces[1:], 0
		}
	}
	b.tidy()
	return n
}

// drop throws away what there is and what will come.
func (b *inbox) drop() {
	b.dropping = true
	for len(b.pieces) > 1 {
		piecePool.Put(b.pieces[0])
		b.pieces = b.pieces[1:]
	}
	b.n, b.from = 0, b.to
	b.tidy()
}

// tidy gives the pieces back if they are empty and nobody fills one.
func (b *inbox) tidy() {
	if b.n > 0 || b.filling {
		return
	}
	for _, p := range b.pieces {
		piecePool.Put(p)
	}
	b.pieces, b.from, b.to = nil, 0, 0
}
