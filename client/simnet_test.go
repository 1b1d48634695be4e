package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/swarmgate/swarmgate/wtproto"
)

// The tests of this file run on a simulated network with virtual time, so that durations are exact.

const rtt = 20 * time.Millisecond

// network has two gateways, and sockets for as many sessions as a test has.
type network struct {
	simnet.PerfectRouter
	cut     atomic.Bool    // drops everything
	cutOff  [2]atomic.Bool // drops what is from or for a gateway
	blocked atomic.Int64   // drops what is from or for this port of the clients
	gateway *simnet.SimConn
	other   *simnet.SimConn

	mu      sync.Mutex
	sockets []*simnet.SimConn // guarded by mu; not yet used
}

var (
	gatewayAddr = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 4433}
	clientIP    = net.IPv4(198, 51, 100, 1).To4()
	otherAddr   = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2).To4(), Port: 4433}
)

func (n *network) SendPacket(p simnet.Packet) error {
	for i, addr := range []*net.UDPAddr{gatewayAddr, otherAddr} {
		if n.cutOff[i].Load() && (p.To.String() == addr.String() || p.From.String() == addr.String()) {
			return nil
		}
	}
	if n.cut.Load() {
		return nil
	}
	for _, addr := range []net.Addr{p.To, p.From} {
		if a := addr.(*net.UDPAddr); a.IP.Equal(clientIP) && a.Port == int(n.blocked.Load()) {
			return nil
		}
	}
	return n.PerfectRouter.SendPacket(p)
}

// listen is the ListenPacket of clients.
func (n *network) listen() (net.PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.sockets) == 0 {
		return nil, errors.New("the network has no more sockets")
	}
	s := n.sockets[0]
	n.sockets = n.sockets[1:]
	return s, nil
}

// transport returns a new socket as what QUIC is spoken on. The caller closes it.
func (n *network) transport(t testing.TB) *quic.Transport {
	t.Helper()
	socket, err := n.listen()
	if err != nil {
		t.Fatal(err)
	}
	return &quic.Transport{Conn: socket}
}

// inBubble runs f with a network, in a bubble of time.
func inBubble(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := new(network)
		sim := &simnet.Simnet{Router: n}
		link := simnet.NodeBiDiLinkSettings{Latency: rtt / 2}
		n.gateway, n.other = sim.NewEndpoint(gatewayAddr, link), sim.NewEndpoint(otherAddr, link)
		for i := range 32 {
			n.sockets = append(n.sockets, sim.NewEndpoint(&net.UDPAddr{IP: clientIP, Port: 1 + i}, link))
		}
		if err := sim.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			sim.Close()
			<-time.After(time.Minute) // quic-go's timers of closed connections
		})
		f(t, n)
	})
}

// session is a session on n.
func (n *network) session(t testing.TB, edit func(*Config)) (*Client, *remote) {
	t.Helper()
	return newGateway(t, n.gateway).session(func(c *Config) {
		c.ListenPacket = n.listen
		if edit != nil {
			edit(c)
		}
	})
}

// elapsed reports a duration since start other than want, give or take the network.
func elapsed(t testing.TB, what string, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got < want-rtt || got > want+2*rtt {
		t.Errorf("%s after %v, want %v", what, got, want)
	}
}

// A client with a circuit asks after 2 s of silence, and gives up after 25 s.
func TestSilentGateway(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		conn, _ := r.circuit(topic, 1)
		r.sync()
		start := time.Now()
		if typ, _ := r.next(); typ != wtproto.TypePing {
			t.Fatalf("got %v, want PING", typ)
		}
		elapsed(t, "PING", start, 2*time.Second)
		r.send(wtproto.Pong{})
		start = time.Now()
		if typ, _ := r.next(); typ != wtproto.TypePing {
			t.Fatalf("got %v, want PING", typ)
		}
		elapsed(t, "second PING", start, 2*time.Second)
		wait(t, "the end of the session", c.Done())
		elapsed(t, "end of the session", start, 25*time.Second)
		wantError(t, "Err", c.Err(), wtproto.CodeIdle, false)
		_, err := conn.Read(make([]byte, 1))
		wantError(t, "Read", err, wtproto.CodeIdle, false)
		if e := r.closed(); wtproto.Code(e.ErrorCode) != wtproto.CodeIdle {
			t.Errorf("session closed with %v, want IDLE", e)
		}
	})
}

// A firewall or a NAT that drops a flow from one moment to the next, because it was restarted or had
// enough of it, ended the session. It goes on from another port, as often as paths are left.
func TestSessionLeavesBlockedPaths(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		r.sync()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				typ, _, err := r.frames.Next()
				if err != nil {
					return
				}
				if typ == wtproto.TypePing {
					r.send(wtproto.Pong{})
				}
			}
		}()
		for port := range maxPaths { // those of clients begin at 1
			n.blocked.Store(int64(port))
			start, got := time.Now(), make([]byte, 1)
			s.Write([]byte{byte(port)})
			if _, err := io.ReadFull(conn, got); err != nil || got[0] != byte(port) {
				t.Fatalf("path %d: Read = %v, %v", port, got, err)
			}
			if took := time.Since(start); port > 0 && (took < 3*time.Second || took > 8*time.Second) {
				t.Errorf("path %d took over after %v", port, took)
			}
			conn.Write(got)
			if _, err := io.ReadFull(s, got); err != nil || got[0] != byte(port) {
				t.Fatalf("path %d: the gateway read %v, %v", port, got, err)
			}
			<-time.After(10 * time.Second)
		}
		if err := c.Err(); err != nil {
			t.Errorf("Err = %v", err)
		}
		n.blocked.Store(maxPaths)
		<-c.Done()
		wantError(t, "Err", c.Err(), wtproto.CodeIdle, false)
		<-ended
	})
}

func TestSilenceIsConfigurable(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, func(c *Config) { c.Silence = 5 * time.Second })
		topic := r.join(c, topicA, JoinOptions{})
		r.circuit(topic, 1)
		r.sync()
		start := time.Now()
		wait(t, "the end of the session", c.Done())
		elapsed(t, "end of the session", start, 5*time.Second)
	})
}

// A session without circuits lives for as long as the gateway answers, and is given up as fast as
// one with circuits.
func TestVanishedGateway(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		for range 40 {
			start := time.Now()
			if typ, _ := r.next(); typ != wtproto.TypePing {
				t.Fatalf("got %v, want PING", typ)
			}
			elapsed(t, "PING", start, 15*time.Second)
			r.send(wtproto.Pong{})
		}
		<-time.After(time.Second)
		if err := c.Err(); err != nil {
			t.Fatalf("Err = %v, though the gateway is there", err)
		}
		n.cut.Store(true)
		start := time.Now()
		<-c.Done()
		elapsed(t, "the end of the session", start, 24*time.Second)
		wantError(t, "Err", c.Err(), wtproto.CodeIdle, false)
	})
}

// A gateway that vanishes while a circuit has much to send and much to be read is given up as well:
// neither holds up the watch over it.
func TestVanishedGatewayWithTraffic(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		for id := wtproto.CircuitID(2); id < 100; id++ {
			conn, s := r.circuit(topic, id)
			s.Write(make([]byte, 64*kib))
			conn.SetReadDeadline(time.Now().Add(time.Second))
			defer io.Copy(io.Discard, conn)
		}
		r.sync()
		n.cut.Store(true)
		start := time.Now()
		go s.Write(make([]byte, mib))
		_, err := conn.Write(make([]byte, 4*mib))
		wantError(t, "Write", err, wtproto.CodeIdle, false)
		<-c.Done()
		elapsed(t, "end of the session", start, 25*time.Second)
	})
}

// A short cut of the line ends nothing.
func TestShortCut(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		r.sync()
		n.cut.Store(true)
		<-time.After(15 * time.Second)
		n.cut.Store(false)
		echo(t, conn, s)
		if err := c.Err(); err != nil {
			t.Errorf("Err = %v", err)
		}
	})
}

// A gateway that was restarted and kept its key answers the next PING with a reset that says that
// the session is gone.
func TestStatelessReset(t *testing.T) {
	for name, after := range map[string]time.Duration{"with a circuit": pingAfter, "without": 15 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g := newGateway(t, n.gateway)
				restart := func() {
					g.tr.Close() // without a word
					g.tr = &quic.Transport{Conn: n.gateway, StatelessResetKey: &quic.StatelessResetKey{1}}
					var err error
					g.ln, err = g.tr.Listen(&tls.Config{Certificates: []tls.Certificate{g.cert}, NextProtos: []string{wtproto.ALPN}}, nil)
					if err != nil {
						t.Fatal(err)
					}
				}
				restart()
				c, r := g.session(func(c *Config) { c.ListenPacket = n.listen })
				topic := r.join(c, topicA, JoinOptions{})
				if after == pingAfter {
					r.circuit(topic, 1)
				}
				r.sync()
				start := time.Now()
				restart()
				<-c.Done()
				elapsed(t, "end of the session", start, after)
				wantError(t, "Err", c.Err(), wtproto.CodePeerGone, false)
			})
		})
	}
}

func TestDialTimeout(t *testing.T) {
	for name, listens := range map[string]bool{"nobody listens": false, "no WELCOME": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				cfg := Config{ListenPacket: n.listen, Transports: []string{TransportQUIC}, DialTimeout: 7 * time.Second}
				if listens {
					g := newGateway(t, n.gateway)
					cfg.CertHashes = g.config().CertHashes
				}
				start := time.Now()
				_, err := Dial(t.Context(), gatewayAddr.String(), cfg)
				elapsed(t, "Dial returned", start, 7*time.Second)
				wantError(t, "Dial", err, wtproto.CodePeerUnreachable, false)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Dial = %v, want %v", err, context.DeadlineExceeded)
				}
			})
		})
	}
}

// A dead address costs 250 ms, and nothing is left of the attempts that lost.
func TestHappyEyeballs(t *testing.T) {
	dead := netip.MustParseAddrPort("203.0.113.1:4433")
	for _, tt := range []struct {
		name string
		to   []netip.AddrPort
		want time.Duration
	}{
		{"alive", []netip.AddrPort{gatewayAddr.AddrPort()}, 0},
		{"alive first", []netip.AddrPort{gatewayAddr.AddrPort(), dead}, 0},
		{"dead first", []netip.AddrPort{dead, gatewayAddr.AddrPort()}, stagger},
		{"two dead", []netip.AddrPort{dead, dead, gatewayAddr.AddrPort(), dead}, 2 * stagger},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g := newGateway(t, n.gateway)
				cfg := g.config().withDefaults()
				tr := n.transport(t)
				defer tr.Close()
				start := time.Now()
				conn, err := dialQUIC(t.Context(), tr, tt.to, tlsConfig(&cfg, "gateway", cfg.CertHashes), func(netip.Addr) *quic.Config { return quicConfig(&cfg, false) })
				if err != nil {
					t.Fatal(err)
				}
				elapsed(t, "connected", start, tt.want)
				if conn.RemoteAddr().String() != gatewayAddr.String() {
					t.Errorf("connected to %v", conn.RemoteAddr())
				}
				conn.CloseWithError(0, "")
			})
		})
	}
}

// An address that refuses is no reason to wait for the next one's turn, and the error tells of all.
func TestAllAddressesFail(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		newGateway(t, n.gateway) // with a certificate that is not trusted
		cfg := Config{CertHashes: make([][32]byte, 1)}.withDefaults()
		tr := n.transport(t)
		defer tr.Close()
		to := gatewayAddr.AddrPort()
		start := time.Now()
		_, err := dialQUIC(t.Context(), tr, []netip.AddrPort{to, to, to}, tlsConfig(&cfg, "gateway", cfg.CertHashes), func(netip.Addr) *quic.Config { return quicConfig(&cfg, false) })
		elapsed(t, "error", start, 3*rtt)
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 3 {
			t.Errorf("error = %v, want three", err)
		}
	})
}

func TestInTurn(t *testing.T) {
	parse := func(texts ...string) (addrs []netip.Addr) {
		for _, s := range texts {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		return addrs
	}
	for _, tt := range []struct{ in, want []netip.Addr }{
		{parse("1.1.1.1"), parse("1.1.1.1")},
		{parse("::1", "::2", "::3", "1.1.1.1"), parse("::1", "1.1.1.1", "::2", "::3")},
		{parse("1.1.1.1", "1.1.1.2", "::1", "::2"), parse("1.1.1.1", "::1", "1.1.1.2", "::2")},
		{parse("::ffff:1.1.1.1", "::1", "1.1.1.2"), parse("1.1.1.1", "::1", "1.1.1.2")},
	} {
		if got := inTurn(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("inTurn(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// A stream that does not say in 5 s what it is, is reset alone.
func TestFirstFrameTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		start := time.Now()
		s := r.open(peer(1).Append(nil)[:10])
		if code := readReset(t, s); code != wtproto.CodeIdle {
			t.Errorf("reset with %v, want %v", code, wtproto.CodeIdle)
		}
		elapsed(t, "reset", start, firstFrameTimeout)
		if code := writeStopped(t, s); code != wtproto.CodeIdle {
			t.Errorf("stopped with %v, want %v", code, wtproto.CodeIdle)
		}
		conn, s := r.circuit(topic, 2)
		time.AfterFunc(2*firstFrameTimeout, func() { s.Write([]byte("x")) }) // PEER came, the timeout is over
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("Read = %v", err)
		}
	})
}

// A peer that goes on sending after Close is stopped after 30 s; what was written has reached it.
func TestCloseLingers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		go func() { // keeps the session alive
			for {
				typ, _, err := r.frames.Next()
				if err != nil {
					return
				}
				if typ == wtproto.TypePing {
					r.control.Write(wtproto.Pong{}.Append(nil))
				}
			}
		}()
		conn.Write([]byte("hello"))
		conn.Close()
		start := time.Now()
		if b, err := io.ReadAll(s); err != nil || string(b) != "hello" {
			t.Errorf("gateway read %q, %v", b, err)
		}
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for s.Context().Err() == nil {
			s.Write([]byte("x"))
			select {
			case <-tick.C:
			case <-s.Context().Done():
			}
		}
		elapsed(t, "STOP_SENDING", start, linger)
		if code := writeStopped(t, s); code != wtproto.CodeNone {
			t.Errorf("stopped with %v, want %v", code, wtproto.CodeNone)
		}
		if n := live(c).places(); n != 0 {
			t.Errorf("%d circuits", n)
		}
	})
}

// ACCEPT arrives though its circuit was reset at once, so that the gateway knows what became of its
// offer.
func TestAcceptSurvivesReset(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		r.send(peer(1))
		<-time.After(time.Millisecond) // PEER is on its way
		n.cut.Store(true)
		conn := accept(t, topic)
		conn.Reset(wtproto.CodeDeclined)
		<-time.After(time.Second)
		n.cut.Store(false)
		s, id := r.accepted()
		if id != 1 {
			t.Errorf("ACCEPT of %d, want 1", id)
		}
		if code := readReset(t, s); code != wtproto.CodeDeclined {
			t.Errorf("reset with %v, want %v", code, wtproto.CodeDeclined)
		}
	})
}
