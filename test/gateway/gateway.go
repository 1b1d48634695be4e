// Package gateway starts gateways, peers and clients in the test's own process, on loopback.
package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/static"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Patience is how long a test waits for what must come. It is no measure of speed.
const Patience = time.Minute

// Gateway is a running server.
type Gateway struct {
	*servertest.Server
	URL  string // of the gateway, without its hash
	Hash [32]byte
}

// Start runs a gateway until the test ends. cfg needs no TLS.
func Start(t testing.TB, cfg server.Config) *Gateway {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	g := &Gateway{Server: servertest.NewServer(cfg)}
	g.URL, g.Hash = "https://"+g.Addr().String(), g.CertHash
	t.Cleanup(func() {
		g.Server.Close()
		for _, n := range cfg.Networks {
			n.Close()
		}
	})
	return g
}

// Certificate returns a self-signed certificate that is fit for pinning.
func Certificate(t testing.TB) tls.Certificate {
	t.Helper()
	cert, err := servertest.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Dial opens a session that ends with the test. It is over QUIC unless cfg says another transport:
// on a busy machine WebSocket may win the race against it.
func (g *Gateway) Dial(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	cfg.CertHashes = [][32]byte{g.Hash}
	cfg.DialTimeout = cmp.Or(cfg.DialTimeout, Patience)
	if cfg.Transports == nil {
		cfg.Transports = []string{client.TransportQUIC}
	}
	c, err := client.Dial(Context(t), g.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Join joins a topic.
func Join(t testing.TB, c *client.Client, topic wtproto.Topic, opts client.JoinOptions) *client.Topic {
	t.Helper()
	top, err := c.Join(Context(t), topic, opts)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// Accept returns the next circuit of a topic.
func Accept(t testing.TB, top *client.Topic) *client.Conn {
	t.Helper()
	conn, err := top.Accept(Context(t))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return conn
}

// GoingAway waits until the gateway of c says that it goes away.
func GoingAway(t testing.TB, c *client.Client) client.GoingAway {
	t.Helper()
	for e := range c.Events(Context(t)) {
		if e, ok := e.(client.GoingAway); ok {
			return e
		}
	}
	t.Fatal("no GOAWAY")
	return client.GoingAway{}
}

// Status waits until the status of a topic is as it should be, and returns it.
func Status(t testing.TB, top *client.Topic, what string, is func(client.Status) bool) client.Status {
	t.Helper()
	if s := top.Status(); is(s) {
		return s
	}
	for e := range top.Events(Context(t)) {
		if s, ok := e.(client.Status); ok && is(s) {
			return s
		}
	}
	t.Fatalf("%s: the status is %+v", what, top.Status())
	return client.Status{}
}

// Context ends with the test, or when Patience has run out.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// Eventually waits until ok reports true.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v", what, Patience)
		case <-tick.C:
		}
	}
}

// Peer is a plain TCP service on loopback that hands each connection to serve, and closes it when
// serve returns.
type Peer struct {
	net.Listener
	mu    sync.Mutex
	conns int // guarded by mu; accepted in all
}

// Accepted returns how many connections there were.
func (p *Peer) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// Listen starts a Peer that ends with the test.
func Listen(t testing.TB, serve func(*net.TCPConn)) *Peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{Listener: l}
	var wg sync.WaitGroup
	open := make(map[net.Conn]struct{})
	closed := false
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns++
			if closed {
				c.Close()
			}
			open[c] = struct{}{}
			p.mu.Unlock()
			wg.Go(func() {
				serve(c.(*net.TCPConn))
				c.Close()
				p.mu.Lock()
				delete(open, c)
				p.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		closed = true
		for c := range open {
			c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

// Echo is a serve of [Listen] that sends everything back, and the end of the stream too.
func Echo(c *net.TCPConn) {
	io.Copy(c, c)
	c.CloseWrite()
}

// Static returns a network on which topic has the peers at addresses.
func Static(t testing.TB, topic wtproto.Topic, addresses ...string) discovery.Network {
	t.Helper()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	var peers []static.Peer
	for _, a := range addresses {
		p, err := static.Parse(fmt.Sprintf("%v=tcp://%s", topic, a))
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	n, err := static.New(static.Config{Peers: peers, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Code returns the code in err's chain, and whether there is one.
func Code(err error) (wtproto.Code, bool) {
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok {
		return 0, false
	}
	return e.Code, true
}
