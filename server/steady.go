package server

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// steadyConn is the connection of a WebSocket. A write to it ends with an error if nothing of it
// can be sent for some time, however much there is of it.
type steadyConn struct {
	net.Conn
	patience time.Duration // with a write of which nothing is sent

	heard   atomic.Int64 // unix nanoseconds at which something came last
	writing atomic.Int32 // writes in progress

	mu     sync.Mutex
	latest time.Time // guarded by mu; when writes end at the latest; zero for never
}

// writePiece is how much is written at once. A record of TLS holds as much.
const writePiece = 16 << 10

func (c *steadyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *steadyConn) Write(b []byte) (n int, err error) {
	c.writing.Add(1)
	defer c.writing.Add(-1)
	for err == nil && n < len(b) {
		c.mu.Lock()
		by := c.latest
		if by.IsZero() {
			by = time.Now().Add(c.patience)
		}
		c.Conn.SetWriteDeadline(by)
		c.mu.Unlock()
		var k int
		k, err = c.Conn.Write(b[n:min(n+writePiece, len(b))])
		n += k
	}
	return n, err
}

// heardSince reports whether something has come since t.
func (c *steadyConn) heardSince(t time.Time) bool { return c.heard.Load() >= t.UnixNano() }

// hurry ends all writes within d, also one in progress.
func (c *steadyConn) hurry(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by := time.Now().Add(d); c.latest.IsZero() || by.Before(c.latest) {
		c.latest = by
		c.Conn.SetWriteDeadline(by)
	}
}

// abort cuts the connection. Closing TLS would first write, and may have to wait for that.
func (c *steadyConn) abort() {
	if t, ok := c.Conn.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	c.Conn.Close()
}

// steadyWriter makes the connection steady that a library takes from a ResponseWriter.
type steadyWriter struct {
	http.ResponseWriter
	conn *steadyConn // its Conn is set by Hijack
}

// Hijack is that of [http.Hijacker].
func (w *steadyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn.Conn = conn
	rw.Writer.Reset(w.conn)
	return w.conn, rw, nil
}
