package crowd

import (
	"net"
	"time"
)

// Config sets up a [Listener]. A negative limit means none.
type Config struct {
	// Total is how many connections have a place at once, and Each how many of them an IPv4
	// address or IPv6 /64 has, as with [New].
	Total, Each int
	// PerSecond is how many connections such a group may begin a second, and Burst how many at
	// once, as with [NewRates].
	PerSecond float64
	Burst     int
	// Shared are networks whose addresses each stand for many parties, as with [New].
	Shared Shared
	// Refused is called for each connection that is closed because of a limit. It may be nil.
	Refused func(Reason)
}

// Listener is a net.Listener whose connections cannot fill it. A connection has a place from
// Accept until it is closed, or given up by Release. If there is no room for a new one, the oldest
// of the busiest group of addresses is closed.
type Listener struct {
	net.Listener
	refused func(Reason)
	crowd   *Crowd[*conn]
	rates   *Rates
}

// NewListener returns a Listener of the connections of l, which it takes over.
func NewListener(l net.Listener, cfg Config) *Listener {
	refused := cfg.Refused
	if refused == nil {
		refused = func(Reason) {}
	}
	return &Listener{Listener: l, refused: refused, crowd: New[*conn](cfg.Total, cfg.Each, cfg.Shared...), rates: NewRates(cfg.PerSecond, cfg.Burst, cfg.Shared...)}
}

// conn is a connection of a Listener.
type conn struct {
	net.Conn
	crowd *Crowd[*conn]
	place *Place[*conn] // constant after Accept
}

// Accept returns the next connection that does not come too often.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := AddrOf(inner.RemoteAddr())
		if !l.rates.Allow(addr, time.Now()) {
			inner.Close()
			l.refused(TooOften)
			continue
		}
		c := &conn{Conn: inner, crowd: l.crowd}
		var out *Eviction[*conn]
		c.place, out = l.crowd.Enter(addr, c)
		if out != nil {
			out.Who.Conn.Close()
			l.refused(out.Reason)
		}
		return c, nil
	}
}

// Renew makes c the newest of its group, for a connection that is in use. c may be a wrapper with
// a NetConn method, such as a *tls.Conn. Connections of other listeners are ignored.
func (l *Listener) Renew(c net.Conn) {
	if c, ok := unwrap(c); ok && c.crowd == l.crowd {
		l.crowd.Renew(c.place)
	}
}

// Release gives the place of c back, because somebody else counts the connection from now on. c
// may be a wrapper as with Renew.
func (l *Listener) Release(c net.Conn) {
	if c, ok := unwrap(c); ok && c.crowd == l.crowd {
		l.crowd.Leave(c.place)
	}
}

// NetConn returns the connection of the listener below.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	c.crowd.Leave(c.place)
	return c.Conn.Close()
}

// unwrap returns the connection of a Listener that c is or wraps.
func unwrap(c net.Conn) (*conn, bool) {
	for {
		switch x := c.(type) {
		case *conn:
			return x, true
		case interface{ NetConn() net.Conn }:
			c = x.NetConn()
		default:
			return nil, false
		}
	}
}
