package main

import (
	"io"
	"net"
	"sync"
)

// feedSize is how many bytes a feed holds at most.
const feedSize = 1 << 20

// feed gives many readers, called cursors, what comes from one source, each at its own pace. It
// holds at most size bytes, so the slowest cursor holds up the source, and without cursors the
// feed reads no more than that. A new cursor begins at the first byte if the feed has dropped
// nothing yet, and otherwise at the next byte that comes.
type feed struct {
	size int // constant

	mu      sync.Mutex
	changed *sync.Cond       // with mu; something below has changed
	buf     []byte           // guarded by mu
	base    int64            // guarded by mu; the place of buf[0] in what was read
	cursors map[*cursor]bool // guarded by mu
	err     error            // guarded by mu; what ended the reader, io.EOF at its end
}

func newFeed(size int) *feed {
	f := &feed{size: size, cursors: make(map[*cursor]bool)}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// run reads src until it or the feed ends. It returns the error of src, nil for io.EOF.
func (f *feed) run(src io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if !f.write(buf[:n]) {
			return nil
		}
		if err != nil {
			f.end(err)
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// write waits until the feed has room for all of b. It reports false if the feed ends first.
func (f *feed) write(b []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.err == nil {
		n := min(len(b), f.size-len(f.buf))
		f.buf = append(f.buf, b[:n]...)
		b = b[n:]
		f.changed.Broadcast()
		if len(b) == 0 {
			return true
		}
		if !f.forgetLocked() {
			f.changed.Wait()
		}
	}
	return false
}

// forgetLocked drops what all cursors have read, and reports whether there was anything.
func (f *feed) forgetLocked() bool {
	if len(f.cursors) == 0 {
		return false
	}
	low := f.base + int64(len(f.buf))
	for c := range f.cursors {
		low = min(low, c.at)
	}
	if low == f.base {
		return false
	}
	f.buf = f.buf[low-f.base:]
	f.base = low
	return true
}

// end makes err the end of the feed, behind the bytes that it holds. Only the first call counts.
func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.changed.Broadcast()
}

// cursor reads a feed.
type cursor struct {
	feed *feed

	// guarded by feed.mu
	at     int64
	closed bool
}

// cursor returns a reader of the feed. The caller closes it.
func (f *feed) cursor() *cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &cursor{feed: f}
	if f.base > 0 {
		c.at = f.base + int64(len(f.buf))
	}
	f.cursors[c] = true
	f.changed.Broadcast()
	return c
}

// Read waits for the next bytes. After close it fails with net.ErrClosed.
func (c *cursor) Read(b []byte) (int, error) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if c.closed {
			return 0, net.ErrClosed
		}
		if rest := f.buf[c.at-f.base:]; len(rest) > 0 {
			n := copy(b, rest)
			c.at += int64(n)
			f.changed.Broadcast()
			return n, nil
		}
		if f.err != nil {
			return 0, f.err
		}
		f.changed.Wait()
	}
}

// close ends Read, also a call that waits. It may be called more than once.
func (c *cursor) close() {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	c.closed = true
	delete(f.cursors, c)
	f.changed.Broadcast()
}
