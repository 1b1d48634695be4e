// Package splice copies bytes from one stream to another. A copy takes a buffer from a shared pool
// when bytes are moving. It gives the buffer back after [ErrIdle], and needs little of a stack if it
// goes on in a new goroutine then.
package splice

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// BufferSize is what a copy takes from a pool while bytes are moving.
	BufferSize = 32 << 10
	// LargeSize is what it takes instead, if growAfter reads in a row have filled the buffer and each
	// was written within quick. So both ends are woken more seldom. Once a Write takes half as long
	// as a slow one, it goes back to BufferSize.
	LargeSize = 128 << 10
	growAfter = 4
	quick     = slow / 2 * BufferSize / LargeSize
	// smallSize is what a copy reads into at first. A message up to this size passes without a
	// pooled buffer.
	smallSize = 512
	// parkSize is the same, if nothing has moved for long.
	parkSize = 64
	// slow is how long a Write must have taken for the next ones to be of stepSize bytes, so that
	// Stalled sees what a destination takes that takes little at a time.
	slow     = 250 * time.Millisecond
	stepSize = 2 << 10
)

var (
	smalls  = sync.Pool{New: func() any { return new([smallSize]byte) }}
	buffers = newBuffers(BufferSize)
	larges  = newBuffers(LargeSize)
)

// newBuffers returns a pool of *[]byte.
func newBuffers(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}
}

// Source is what a [Copy] reads. A Read that reaches its deadline returns an error that is
// os.ErrDeadlineExceeded and loses nothing. SetReadDeadline fails only after the source's end, of
// which Read says more.
type Source interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// ErrIdle is what [Copy.Run] returns at a deadline of its source that somebody else has set. Nothing
// was lost, and Run is to be called again.
var ErrIdle = errors.New("splice: nothing moves")

// Copy is one direction of a spliced pair. The zero value is ready. One goroutine at a time calls
// Run, one Idle, and any goroutine the other methods at any time.
type Copy struct {
	// Total is told of each byte that the destination takes, if it is set before Run. Copies may
	// share it.
	Total *atomic.Int64

	moved   atomic.Int64
	writing atomic.Int64  // unix nanoseconds at which the current Write began; 0 outside of one
	pooled  atomic.Int64  // the length of the pooled buffer that is in use, or 0
	parked  atomic.Bool   // Run was called again, and nothing has moved since, or it has returned
	took    time.Duration // by the last Write; owned by Run
	again   bool          // Run was called before; owned by Run
	seen    int64         // what Idle saw the last time, and one more; owned by it
	park    [parkSize]byte
}

// Error is the end of a copy other than the end of its source.
type Error struct {
	Write bool // the destination failed, else the source
	Err   error
}

// Error returns the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Moved returns how many bytes the destination has taken.
func (c *Copy) Moved() int64 { return c.moved.Load() }

// Held returns how many bytes the copy has room for at the moment, and so may hold.
func (c *Copy) Held() int64 {
	return max(c.pooled.Load(), smallSize)
}

// Stalled returns since when the destination has been taking nothing, or the zero time.
func (c *Copy) Stalled() time.Time {
	if n := c.writing.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Idle reports whether nothing has moved since the last call of Idle. A deadline of the source, in
// the past, has Run return [ErrIdle] then, which is worth it once for each time in which nothing
// moves. Who has many copies asks them once a second.
func (c *Copy) Idle() bool {
	seen := c.seen
	c.seen = c.Moved() + 1
	return c.seen == seen && !c.parked.Load()
}

// Run copies src to dst until src ends, which returns nil, or one of the two fails, which returns
// an [*Error], or until a deadline of src, which returns [ErrIdle]. It closes neither; to end it
// early, make both fail.
func (c *Copy) Run(dst io.Writer, src Source) error {
	var small *[smallSize]byte
	b := c.park[:]
	if !c.again {
		small = smalls.Get().(*[smallSize]byte)
		b = small[:]
	}
	c.parked.Store(c.again)
	c.again = true
	n, err := src.Read(b)
	c.parked.Store(false)
	err = c.wake(dst, src, small, n, err)
	c.parked.Store(true)
	return err
}

// wake goes on after a Read that may have waited for long, into small, or into park if that is nil.
// It is not a part of Run, which needs little of a stack in that Read.
//
//go:noinline
func (c *Copy) wake(dst io.Writer, src Source, small *[smallSize]byte, n int, err error) error {
	var b []byte
	if small != nil {
		b = small[:n]
	} else {
		b = c.park[:n]
		small = smalls.Get().(*[smallSize]byte)
	}
	defer smalls.Put(small)
	for {
		if werr := c.write(dst, b); werr != nil {
			return werr
		}
		if err == nil && len(b) == len(small) { // there is probably more
			return end(src, c.bulk(dst, src))
		}
		if err != nil {
			return end(src, err)
		}
		n, err = src.Read(small[:])
		b = small[:n]
	}
}

// end returns what Run returns after err.
func end(src Source, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		src.SetReadDeadline(time.Time{})
		return ErrIdle
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return &Error{Err: err}
}

// bulk copies with a pooled buffer until src or dst fails.
func (c *Copy) bulk(dst io.Writer, src Source) error {
	pool := buffers
	buf := c.take(pool)
	defer func() { c.giveBack(pool, buf) }()
	full := 0 // how many reads in a row have filled buf and were written quickly
	for {
		n, err := src.Read(*buf)
		if werr := c.write(dst, (*buf)[:n]); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
		want := pool
		switch full++; {
		case pool == larges && c.took > slow/2:
			want, full = buffers, 0
		case pool == larges:
		case n < len(*buf) || c.took > quick:
			full = 0
		case full == growAfter:
			want = larges
		}
		if want != pool {
			c.giveBack(pool, buf)
			pool, buf = want, c.take(want)
		}
	}
}

// take returns a buffer of a pool.
func (c *Copy) take(pool *sync.Pool) *[]byte {
	buf := pool.Get().(*[]byte)
	c.pooled.Store(int64(len(*buf)))
	return buf
}

func (c *Copy) giveBack(pool *sync.Pool, buf *[]byte) {
	c.pooled.Store(0)
	pool.Put(buf)
}

func (c *Copy) write(dst io.Writer, b []byte) error {
	for len(b) > 0 {
		step := b
		if c.took > slow {
			step = b[:min(stepSize, len(b))]
		}
		began := time.Now()
		c.writing.Store(began.UnixNano())
		n, err := dst.Write(step)
		c.writing.Store(0)
		c.moved.Add(int64(n))
		if c.Total != nil {
			c.Total.Add(int64(n))
		}
		if err != nil {
			return &Error{Write: true, Err: err}
		}
		b = b[len(step):]
		c.took = time.Since(began)
	}
	return nil
}
