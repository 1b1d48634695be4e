package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// pipes is a network with TCP, for one gateway, in a bubble of time.
type pipes struct {
	cut    atomic.Bool // nobody answers
	dialed atomic.Int64
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// dial is the dialTCP of clients.
func (p *pipes) dial(ctx context.Context, network, address string) (net.Conn, error) {
	p.dialed.Add(1)
	conns := p.conns
	if p.cut.Load() {
		conns = nil
	}
	here, there := net.Pipe()
	select {
	case conns <- there:
		return newBuffered(here), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return newBuffered(c), nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return addr{"tcp", "192.0.2.1:4433"} }

// buffered is one end of a net.Pipe whose Write does not wait, as TCP's does not.
type buffered struct {
	net.Conn
	queue chan []byte
	over  context.Context
	end   context.CancelFunc
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, queue: make(chan []byte, 1000)}
	b.over, b.end = context.WithCancel(context.Background())
	go func() {
		defer c.Close()
		for {
			select {
			case p := <-b.queue:
				if _, err := c.Write(p); err != nil {
					return
				}
			case <-b.over.Done():
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.queue <- slices.Clone(p):
		return len(p), nil
	case <-b.over.Done():
		return 0, net.ErrClosed
	}
}

func (b *buffered) SetDeadline(t time.Time) error    { return b.SetReadDeadline(t) }
func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

// Close lets the other end have what was written for another moment.
func (b *buffered) Close() error {
	b.SetReadDeadline(time.Unix(1, 0))
	b.Conn.SetWriteDeadline(time.Now().Add(rtt))
	time.AfterFunc(rtt/2, b.end)
	return nil
}

// narrow is a connection whose Write may have to wait for room.
type narrow struct {
	net.Conn
	full atomic.Pointer[chan struct{}] // nil if there is room; else closed when there is again
}

func (n *narrow) Write(p []byte) (int, error) {
	if full := n.full.Load(); full != nil {
		<-*full
	}
	return n.Conn.Write(p)
}

// withBoth runs f with a gateway that speaks both, each on a network of its own.
func withBoth(t *testing.T, f func(t *testing.T, n *network, p *pipes, g *fake)) {
	t.Helper()
	inBubble(t, func(t *testing.T, n *network) {
		p := newPipes()
		g := newGateway(t, n.gateway)
		g.listenWS(p)
		f(t, n, p, g)
	})
}

// both configures a client for both networks.
func both(n *network, p *pipes) func(*Config) {
	return func(c *Config) {
		c.Transports = nil
		c.ListenPacket, c.dialTCP = n.listen, p.dial
	}
}

// The transport that is there first is used: QUIC at once if it works, WebSocket half a second
// later if not.
func TestTransports(t *testing.T) {
	for _, tt := range []struct {
		name       string
		transports []string
		cutUDP     bool
		cutTCP     bool
		want       string
		after      time.Duration
		tcp        int64 // dials
	}{
		{"both work", nil, false, false, TransportQUIC, 2 * rtt, 0},
		{"no UDP", nil, true, false, TransportWebSocket, TransportStart, 1},
		{"no TCP", nil, false, true, TransportQUIC, 2 * rtt, 0},
		{"WebSocket preferred", []string{TransportWebSocket, TransportQUIC}, false, false, TransportWebSocket, 0, 1},
		{"WebSocket preferred, no TCP", []string{TransportWebSocket, TransportQUIC}, false, true, TransportQUIC, TransportStart + 2*rtt, 1},
		{"WebSocket only", []string{TransportWebSocket}, false, false, TransportWebSocket, 0, 1},
		{"QUIC only", []string{TransportQUIC}, false, false, TransportQUIC, 2 * rtt, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withBoth(t, func(t *testing.T, n *network, p *pipes, g *fake) {
				n.cut.Store(tt.cutUDP)
				p.cut.Store(tt.cutTCP)
				start := time.Now()
				c, r := g.session(func(c *Config) {
					both(n, p)(c)
					c.Transports = tt.transports
				})
				elapsed(t, "connected", start, tt.after)
				if got := c.Session().Transport; got != tt.want {
					t.Errorf("Transport = %q, want %q", got, tt.want)
				}
				if got := p.dialed.Load(); got != tt.tcp {
					t.Errorf("TCP was dialed %d times, want %d", got, tt.tcp)
				}
				topic := r.join(c, topicA, JoinOptions{})
				conn, s := r.circuit(topic, 1)
				echo(t, conn, s)
			})
		})
	}
}

// If neither works, the error says what became of both.
func TestNoTransport(t *testing.T) {
	withBoth(t, func(t *testing.T, n *network, p *pipes, g *fake) {
		n.cut.Store(true)
		refused := errors.New("connection refused")
		cfg := g.config()
		both(n, p)(&cfg)
		cfg.dialTCP = func(context.Context, string, string) (net.Conn, error) { return nil, refused }
		start := time.Now()
		d := <-g.dial(cfg)
		elapsed(t, "Dial returned", start, 10*time.Second)
		wantError(t, "Dial", d.err, wtproto.CodePeerUnreachable, false)
		if d.err == nil || !strings.Contains(d.err.Error(), "websocket: connection refused") {
			t.Errorf("Dial = %v, which does not say what became of WebSocket", d.err)
		}
	})
}

// UDP that is dropped in the middle of a session costs the time in which a gateway is given up, and
// then half a second; for an hour WebSocket is tried first.
func TestTransportIsRemembered(t *testing.T) {
	withBoth(t, func(t *testing.T, n *network, p *pipes, g *fake) {
		c, r := g.session(func(c *Config) {
			both(n, p)(c)
			c.NoReconnect = false
		})
		d := read(t, c)
		nextIs[Connected](d)
		topic := r.join(c, topicA, JoinOptions{})
		r.circuit(topic, 1)
		r.sync()
		n.cut.Store(true)
		start := time.Now()
		next := func(want string, after time.Duration) *remote {
			t.Helper()
			r := g.accept()
			r.changes(1)
			r.send(welcome, wtproto.Joined{Topic: topicA})
			var waited time.Duration
			for e := d.next(); ; e = d.next() {
				if _, ok := e.(Connected); ok {
					break
				}
				if e, ok := e.(Reconnecting); ok {
					waited += e.Delay
				}
			}
			if got := c.Session().Transport; got != want {
				t.Errorf("Transport = %q, want %q", got, want)
			}
			elapsed(t, "connected", start, waited+after)
			return r
		}
		r = next(TransportWebSocket, 25*time.Second-rtt+TransportStart)
		n.cut.Store(false)
		for range 3 {
			start = time.Now()
			r.conn.(*farSession).control.ws.CloseNow()
			r = next(TransportWebSocket, 0)
		}
		c.mu.Lock()
		c.gateways[0].workedAt = time.Now().Add(-transportMemory)
		c.mu.Unlock()
		start = time.Now()
		r.conn.(*farSession).control.ws.CloseNow()
		next(TransportQUIC, 2*rtt)
	})
}

func TestTransportOrder(t *testing.T) {
	now := time.Now()
	all := []string{TransportQUIC, TransportWebSocket}
	for _, tt := range []struct {
		worked string
		ago    time.Duration
		names  []string
		want   []string
	}{
		{"", 0, all, all},
		{TransportQUIC, 0, all, all},
		{TransportWebSocket, 0, all, []string{TransportWebSocket, TransportQUIC}},
		{TransportWebSocket, time.Hour - 1, all, []string{TransportWebSocket, TransportQUIC}},
		{TransportWebSocket, time.Hour, all, all},
		{TransportWebSocket, 0, all[:1], all[:1]},
	} {
		g := gateway{worked: tt.worked, workedAt: now.Add(-tt.ago)}
		if got := g.transports(tt.names, now); !slices.Equal(got, tt.want) {
			t.Errorf("transports of %q %v ago = %q, want %q", tt.worked, tt.ago, got, tt.want)
		}
	}
	if !slices.Equal(all, []string{TransportQUIC, TransportWebSocket}) {
		t.Errorf("the caller's names became %q", all)
	}
}

// A gateway that leaves the WebSocket of a stream open that has ended has it closed after 5 s.
func TestSocketFinish(t *testing.T) {
	withBoth(t, func(t *testing.T, n *network, p *pipes, g *fake) {
		g.sockets.mean.Store(true)
		c, r := g.session(func(c *Config) {
			both(n, p)(c)
			c.Transports = []string{TransportWebSocket}
		})
		conn, s := r.circuit(r.join(c, topicA, JoinOptions{}), 1)
		start := time.Now()
		conn.Reset(wtproto.CodeApplication)
		l := live(c).link.(*wsLink)
		poll(t, "the end of the WebSocket", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.streams) == 0
		})
		elapsed(t, "the end of the WebSocket", start, closeTimeout)
		<-s.Context().Done()
	})
}
