package servertest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// window is how many bytes of one direction wait for the other end's Read.
const window = 64 << 10

// Conn is a peer's end of a circuit with a client: a [net.Conn] with half-close and codes. Any
// number of goroutines may use it.
//
// Read returns io.EOF after the client's end, and Read and Write return an [*wtproto.Error] with
// Remote after the client, or the gateway, has reset the circuit, and [net.ErrClosed] after Close
// and Reset.
type Conn struct {
	peer            *Peer
	client          wtproto.EndpointID
	in, out         *half
	readBy, writeBy *deadline
	closed          sync.Once
}

var _ net.Conn = (*Conn)(nil)

// pipe returns the gateway's and the peer's end of a circuit.
func pipe(p *Peer, client wtproto.EndpointID) (near, far *Conn) {
	a, b := newHalf(), newHalf()
	near = &Conn{peer: p, client: client, in: a, out: b, readBy: newDeadline(), writeBy: newDeadline()}
	far = &Conn{peer: p, client: client, in: b, out: a, readBy: newDeadline(), writeBy: newDeadline()}
	return near, far
}

// Endpoint returns the endpoint id of the client, which is the LocalAddr of its client.Conn.
func (c *Conn) Endpoint() wtproto.EndpointID { return c.client }

// LocalAddr returns the address of the peer.
func (c *Conn) LocalAddr() net.Addr { return c.peer.Addr() }

// RemoteAddr returns the endpoint id of the client as an address.
func (c *Conn) RemoteAddr() net.Addr { return addr(c.client.String()) }

// Read reads what the client sent.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p, c.readBy.wait) }

// Write sends p to the client. It waits while 64 KiB are not read.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p, c.writeBy.wait) }

// CloseWrite tells the client that no more comes.
func (c *Conn) CloseWrite() error {
	c.out.change(func(h *half) { h.fin = true })
	return nil
}

// Close ends the circuit: what was written reaches the client, followed by the end, and what it
// still sends is thrown away. It may be called more than once. The error is always nil.
func (c *Conn) Close() error {
	c.closed.Do(func() {
		c.out.change(func(h *half) {
			h.fin = true
			h.fail(nil, net.ErrClosed)
		})
		c.in.change(func(h *half) {
			h.buf, h.discard = nil, true
			h.fail(net.ErrClosed, nil)
		})
	})
	return nil
}

// Reset ends the circuit at once, both ways; the client gets the code.
func (c *Conn) Reset(code wtproto.Code) {
	if code == wtproto.CodeNone {
		code = wtproto.CodePeerReset
	}
	told := &wtproto.Error{Code: code, Remote: true, Reason: "the circuit was reset"}
	c.out.change(func(h *half) { h.buf = nil; h.fail(told, net.ErrClosed) })
	c.in.change(func(h *half) { h.buf = nil; h.fail(net.ErrClosed, told) })
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readBy.set(t)
	c.writeBy.set(t)
	return nil
}

// SetReadDeadline makes Read fail at t. The zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readBy.set(t)
	return nil
}

// SetWriteDeadline makes Write fail at t. The zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.set(t)
	return nil
}

// gatewayStream is the gateway's end as a [discovery.Stream].
type gatewayStream struct{ *Conn }

// Close resets what has not ended.
func (s gatewayStream) Close() error {
	if !s.in.isRead() || !s.out.isWritten() {
		s.Reset(wtproto.CodeNone)
	}
	return nil
}

// half is one direction.
type half struct {
	mu        sync.Mutex
	changed   chan struct{} // guarded by mu; closed when anything of this changes
	buf       []byte        // guarded by mu; written and not read
	fin       bool          // guarded by mu; nothing follows
	discard   bool          // guarded by mu; nobody reads
	readError error         // guarded by mu; of Read, before what is in buf
	wroteErr  error         // guarded by mu; of Write
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

// change runs f with h.mu, and wakes all that wait.
func (h *half) change(f func(h *half)) {
	h.step(func() bool {
		f(h)
		return true
	})
}

// fail sets the errors of Read and Write that are not set yet. The caller holds h.mu.
func (h *half) fail(read, write error) {
	if h.readError == nil {
		h.readError = read
	}
	if h.wroteErr == nil {
		h.wroteErr = write
	}
}

// isWritten reports whether the direction has ended.
func (h *half) isWritten() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fin
}

// isRead reports whether the direction has ended, and all was read.
func (h *half) isRead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fin && len(h.buf) == 0
}

func (h *half) read(p []byte, expired func() <-chan struct{}) (n int, err error) {
	for {
		late := expired()
		var changed chan struct{}
		h.step(func() (again bool) {
			switch {
			case isClosed(late):
				err = os.ErrDeadlineExceeded
			case h.readError != nil:
				err = h.readError
			case len(h.buf) > 0:
				n = copy(p, h.buf)
				h.buf = h.buf[n:]
				return true
			case h.fin:
				err = io.EOF
			case len(p) == 0:
			default:
				changed = h.changed
			}
			return false
		})
		if changed == nil {
			return n, err
		}
		select {
		case <-changed:
		case <-late:
		}
	}
}

func (h *half) write(p []byte, expired func() <-chan struct{}) (n int, err error) {
	for {
		late := expired()
		var changed chan struct{}
		h.step(func() (again bool) {
			switch {
			case isClosed(late):
				err = os.ErrDeadlineExceeded
			case h.wroteErr != nil:
				err = h.wroteErr
			case h.fin:
				err = net.ErrClosed
			case h.discard:
				n += len(p)
				p = nil
			case len(p) > 0 && len(h.buf) < window:
				k := min(len(p), window-len(h.buf))
				h.buf = append(h.buf, p[:k]...)
				n, p = n+k, p[k:]
				again = true
			}
			if len(p) > 0 && err == nil {
				changed = h.changed
			}
			return again
		})
		if changed == nil {
			return n, err
		}
		select {
		case <-changed:
		case <-late:
		}
	}
}

// step runs f with h.mu, and wakes all that wait if f reports a change.
func (h *half) step(f func() bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f() {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}

// deadline is a time that can be changed while somebody waits for it.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer   // guarded by mu; nil if there is no time to come
	late  chan struct{} // guarded by mu; closed at the time
}

func newDeadline() *deadline { return &deadline{late: make(chan struct{})} }

// wait returns a channel that is closed at the time that was set last.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.late // the timer closes it
	}
	d.timer = nil
	if isClosed(d.late) {
		d.late = make(chan struct{})
	}
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(d.late)
	default:
		late := d.late
		d.timer = time.AfterFunc(left, func() { close(late) })
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
