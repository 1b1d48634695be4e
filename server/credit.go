package server

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// credit is the client's leave to send on one circuit: Write passes to the stream below no more
// than the client has granted, and waits for more until the circuit is over (docs/PROTOCOL.md,
// Credit). One goroutine writes; grant may be called by any.
type credit struct {
	w    io.Writer
	over *over

	mu      sync.Mutex
	granted uint64        // guarded by mu; offset of the first byte that may not be sent
	sent    uint64        // guarded by mu
	counted uint64        // guarded by mu; how much of sent is in due
	due     uint64        // guarded by mu; CREDITs that may be answers to what was sent
	more    chan struct{} // guarded by mu; closed when granted grows; nil while nobody waits
	gotMore time.Time     // guarded by mu; when a Write that had waited could send again
}

func newCredit(w io.Writer, granted uint64, o *over) *credit {
	return &credit{w: w, granted: granted, over: o}
}

// errOver is the error of a Write after the end of its circuit.
var errOver = errors.New("server: the circuit is over")

// A client sends CREDIT after reading a quarter of a window, which is minCredit at least. So it
// sends at most one CREDIT for each creditEvery bytes sent. Bytes that it has not read yet fit
// into a window, so at most creditAhead CREDITs are left for them.
const (
	creditEvery = wtproto.MinCredit / 4
	creditAhead = 16
)

// dueLocked returns how many CREDITs may be answers to what was sent, and were not yet.
func (c *credit) dueLocked() uint64 {
	n := (c.sent - c.counted) / creditEvery
	c.counted += n * creditEvery
	c.due = min(c.due+n, creditAhead)
	return c.due
}

// left returns how many CREDITs a client may still send that have crossed the end of the circuit.
func (c *credit) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.dueLocked())
}

// grant raises the offset; a lower one than before changes nothing. It reports whether the CREDIT
// can answer bytes that were sent.
func (c *credit) grant(offset uint64) (due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if due = c.dueLocked() > 0; due {
		c.due--
	}
	if offset <= c.granted {
		return due
	}
	c.granted = offset
	if c.more != nil {
		close(c.more)
		c.more = nil
	}
	return due
}

// progress returns when a Write that had waited for credit last got some, or the zero time.
func (c *credit) progress() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gotMore
}

// take waits until at least one byte may be sent and takes up to want.
func (c *credit) take(want int) (int, error) {
	for waited := false; ; waited = true {
		if c.over.is() {
			return 0, errOver
		}
		c.mu.Lock()
		if room := c.granted - c.sent; room > 0 {
			n := int(min(room, uint64(want)))
			c.sent += uint64(n)
			if waited {
				c.gotMore = time.Now()
			}
			c.mu.Unlock()
			return n, nil
		}
		if c.more == nil {
			c.more = make(chan struct{})
		}
		more := c.more
		c.mu.Unlock()
		select {
		case <-more:
		case <-c.over.Done():
		}
	}
}

// Write sends all of b, in parts as the credit allows.
func (c *credit) Write(b []byte) (int, error) {
	var done int
	for done < len(b) {
		n, err := c.take(len(b) - done)
		if err != nil {
			return done, err
		}
		n, err = c.w.Write(b[done : done+n])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
