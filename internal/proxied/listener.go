// Package proxied accepts connections through load balancers, which name the client's address with
// the PROXY protocol, version 1 or 2
// (https://www.haproxy.org/download/2.3/doc/proxy-protocol.txt).
package proxied

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

const (
	// headerWithin is how long the header of a connection may take. Balancers send it at once.
	headerWithin = 5 * time.Second
	// maxHeader is the most bytes of a header.
	maxHeader = 4 << 10
	// maxPending is how many connections may wait for their headers at once.
	maxPending = 1024
)

// Listener is a net.Listener whose connections from trusted balancers have the address of the
// client as their remote address. A connection from there that does not begin with a header is
// closed, because otherwise clients behind a balancer could claim other addresses. The listener
// does not read what others send.
type Listener struct {
	inner    net.Listener
	trusted  crowd.Shared
	accepted chan accepted
	closing  chan struct{} // closed by Close
	wg       sync.WaitGroup

	mu      sync.Mutex
	closed  bool                  // guarded by mu
	pending map[net.Conn]struct{} // guarded by mu; those that wait for their headers
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// Listen returns a Listener of the connections of inner, which it takes over. trusted are the
// networks of the balancers. The caller closes it, which ends its goroutines.
func Listen(inner net.Listener, trusted []netip.Prefix) *Listener {
	l := &Listener{
		inner: inner, trusted: trusted,
		accepted: make(chan accepted), closing: make(chan struct{}), pending: make(map[net.Conn]struct{}),
	}
	l.wg.Go(l.run)
	return l
}

// Accept returns the next connection. It does not wait for those that have not sent their headers.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closing:
		return nil, net.ErrClosed
	}
}

// Addr returns the address of the listener.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close ends the listener, and the connections that Accept has not returned. It may be called
// again.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	for c := range l.pending {
		c.Close()
	}
	l.mu.Unlock()
	close(l.closing)
	err := l.inner.Close()
	l.wg.Wait()
	return err
}

// run takes connections until the listener is closed.
func (l *Listener) run() {
	for {
		c, err := l.inner.Accept()
		switch {
		case err != nil:
			l.give(accepted{err: err})
			if errors.Is(err, net.ErrClosed) {
				return
			}
		case !l.trusted.Contains(crowd.AddrOf(c.RemoteAddr())):
			l.give(accepted{conn: c})
		case !l.enter(c):
			c.Close()
		default:
			l.wg.Go(func() {
				found, err := readHeader(c)
				if l.leave(c); err != nil {
					c.Close()
					return
				}
				l.give(accepted{conn: found})
			})
		}
	}
}

// give hands a over to Accept, unless the listener is closed.
func (l *Listener) give(a accepted) {
	select {
	case l.accepted <- a:
	case <-l.closing:
		if a.conn != nil {
			a.conn.Close()
		}
	}
}

// enter reports whether c may wait for its header.
func (l *Listener) enter(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.pending) >= maxPending {
		return false
	}
	l.pending[c] = struct{}{}
	return true
}

func (l *Listener) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, c)
}

// conn is a connection whose header was read.
type conn struct {
	net.Conn
	rest *bufio.Reader // has what came with the header; nil once that was read
	from net.Addr
}

var errNotTCP = errors.New("proxied: the header is not of a TCP connection")

// readHeader reads the header of c.
func readHeader(c net.Conn) (net.Conn, error) {
	c.SetReadDeadline(time.Now().Add(headerWithin))
	r := bufio.NewReaderSize(c, maxHeader)
	h, err := proxyproto.Read(r)
	if err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Time{})
	from := c.RemoteAddr() // a balancer that looks whether the port is open speaks for itself
	if !h.Command.IsLocal() {
		client, _, ok := h.TCPAddrs()
		if !ok {
			return nil, errNotTCP
		}
		from = client
	}
	return &conn{Conn: c, rest: r, from: from}, nil
}

// Read reads what follows the header. One goroutine at a time may call it.
func (c *conn) Read(b []byte) (int, error) {
	if c.rest != nil && c.rest.Buffered() > 0 {
		return c.rest.Read(b)
	}
	c.rest = nil
	return c.Conn.Read(b)
}

// RemoteAddr returns the address of the client.
func (c *conn) RemoteAddr() net.Addr { return c.from }

// NetConn returns the connection with the balancer.
func (c *conn) NetConn() net.Conn { return c.Conn }
