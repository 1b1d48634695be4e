package gateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// overEach runs f for each transport of clients, which [client.Config.Transports] takes.
func overEach(t *testing.T, f func(t *testing.T, via []string)) {
	for _, name := range []string{client.TransportQUIC, client.TransportWebSocket} {
		t.Run(name, func(t *testing.T) { f(t, []string{name}) })
	}
}

func TestEcho(t *testing.T) { overEach(t, testEcho) }

func testEcho(t *testing.T, via []string) {
	topic := wtproto.TopicFromName("echo")
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, Listen(t, Echo).Addr().String())}})
	conn := Accept(t, Join(t, g.Dial(t, client.Config{Transports: via}), topic, client.JoinOptions{}))
	if p := conn.Peer(); p.Network != "static" || !p.Initiator || len(p.ID) != 16 || p.Address != "" {
		t.Errorf("Peer = %+v, want a static one without address, we the initiator", p)
	}
	data := random(16<<20 + 1)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("echo of %d bytes: %d bytes, %v", len(data), len(got), err)
	}
}

// One dial for each peer until it answered; then a circuit for each of N subscribers, and no more.
func TestOneCircuitForEachSubscriber(t *testing.T) {
	const n = 20
	topic := wtproto.TopicFromName("many")
	peer := Listen(t, Echo)
	g := Start(t, server.Config{
		IsolateClients: true,
		Networks:       []discovery.Network{Static(t, topic, peer.Addr().String())},
	})
	var wg sync.WaitGroup
	for range n {
		top := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
		wg.Go(func() {
			conn := Accept(t, top)
			conn.Write([]byte("x"))
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := peer.Accepted(); got != n {
		t.Errorf("the peer saw %d connections, want %d", got, n)
	}
	topics := g.Topics()
	if len(topics) != 1 || topics[0].Circuits != n || topics[0].Subscribers != n {
		t.Errorf("Topics = %+v, want one with %d circuits", topics, n)
	}
}

// Two clients are connected whichever joined first, and exactly one of them is the initiator.
func TestClientsMeet(t *testing.T) { overEach(t, testClientsMeet) }

func testClientsMeet(t *testing.T, via []string) {
	g := Start(t, server.Config{})
	topic := wtproto.TopicFromName("meet")
	a, b := g.Dial(t, client.Config{Transports: via}), g.Dial(t, client.Config{Transports: via})
	ta := Join(t, a, topic, client.JoinOptions{})
	tb := Join(t, b, topic, client.JoinOptions{})
	ca, cb := Accept(t, ta), Accept(t, tb)
	if ca.Peer().Initiator == cb.Peer().Initiator {
		t.Errorf("initiator: %v and %v, want exactly one", ca.Peer().Initiator, cb.Peer().Initiator)
	}
	for _, c := range []*client.Conn{ca, cb} {
		if c.Peer().Network != wtproto.NetworkClient || !c.Peer().Client || len(c.Peer().ID) != wtproto.EndpointSize {
			t.Errorf("Peer = %+v", c.Peer())
		}
	}
	data := random(3 << 20)
	for _, pair := range [][2]*client.Conn{{ca, cb}, {cb, ca}} {
		go func() {
			pair[0].Write(data)
			pair[0].CloseWrite()
		}()
		got, err := io.ReadAll(pair[1])
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
		}
	}
}

func TestHalfClose(t *testing.T) { overEach(t, testHalfClose) }

func testHalfClose(t *testing.T, via []string) {
	topic := wtproto.TopicFromName("half-close")
	// A peer that answers only after it has seen the end of the question.
	peer := Listen(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		c.Write(append([]byte("got "), b...))
	})
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, peer.Addr().String())}})
	conn := Accept(t, Join(t, g.Dial(t, client.Config{Transports: via}), topic, client.JoinOptions{}))
	conn.Write([]byte("it"))
	conn.CloseWrite()
	if b, err := io.ReadAll(conn); string(b) != "got it" || err != nil {
		t.Errorf("answer %q, %v", b, err)
	}
}

// A reset by a client arrives at the other client with its code, and both ways.
func TestResetCarriesItsCode(t *testing.T) { overEach(t, testResetCarriesItsCode) }

func testResetCarriesItsCode(t *testing.T, via []string) {
	g := Start(t, server.Config{})
	for _, tt := range []struct{ sent, want wtproto.Code }{
		{wtproto.CodeApplication + 7, wtproto.CodeApplication + 7},
		{1<<32 - 1, 1<<32 - 1},
		{wtproto.CodeDeclined, wtproto.CodeDeclined},
		{wtproto.CodeNone, wtproto.CodePeerReset},
	} {
		topic := wtproto.TopicFromName(tt.sent.String())
		ca := Join(t, g.Dial(t, client.Config{Transports: via}), topic, client.JoinOptions{})
		cb := Join(t, g.Dial(t, client.Config{Transports: via}), topic, client.JoinOptions{})
		a, b := Accept(t, ca), Accept(t, cb)
		a.Write([]byte("x"))
		if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		a.Reset(tt.sent)
		_, err := b.Read(make([]byte, 1))
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != tt.want || !e.Remote {
			t.Errorf("Reset(%v): Read = %v, want %v", tt.sent, err, tt.want)
		}
		Eventually(t, "the write fails", func() bool {
			_, err = b.Write([]byte("x"))
			return err != nil
		})
		if code, _ := Code(err); code != tt.want {
			t.Errorf("Reset(%v): Write = %v, want %v", tt.sent, err, tt.want)
		}
	}
}

// A killed raw TCP peer is a reset with PEER_RESET when its kernel sends RST.
func TestKilledTCPPeer(t *testing.T) { overEach(t, testKilledTCPPeer) }

func testKilledTCPPeer(t *testing.T, via []string) {
	topic := wtproto.TopicFromName("killed")
	peer := Listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	})
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, peer.Addr().String())}})
	conn := Accept(t, Join(t, g.Dial(t, client.Config{Transports: via}), topic, client.JoinOptions{}))
	conn.Write([]byte("x"))
	_, err := conn.Read(make([]byte, 1))
	if code, _ := Code(err); code != wtproto.CodePeerReset {
		t.Errorf("Read = %v, want PEER_RESET", err)
	}
}

// 100 circuits that the client does not read hold no more than their credit, slow their peers
// down, and leave the 101st alone.
func TestStalledCircuits(t *testing.T) { overEach(t, testStalledCircuits) }

func testStalledCircuits(t *testing.T, via []string) {
	const stalled = 100
	topic := wtproto.TopicFromName("stalled")
	var mu sync.Mutex
	var addrs []string
	written := make(map[int]int)
	for i := range stalled {
		p := Listen(t, func(c *net.TCPConn) { // sends for as long as somebody takes it
			b := make([]byte, 64<<10)
			for {
				n, err := c.Write(b)
				mu.Lock()
				written[i] += n
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
		addrs = append(addrs, p.Addr().String())
	}
	live := wtproto.TopicFromName("live")
	g := Start(t, server.Config{Networks: []discovery.Network{
		named{Static(t, topic, addrs...), "stalled"},
		named{Static(t, live, Listen(t, Echo).Addr().String()), "live"},
	}})
	c := g.Dial(t, client.Config{Transports: via})
	top := Join(t, c, topic, client.JoinOptions{MaxPeers: stalled})
	conns := make([]*client.Conn, stalled)
	for i := range conns {
		conns[i] = Accept(t, top)
	}
	// Wait until nothing moves any more.
	sum := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, w := range written {
			n += w
		}
		return n
	}
	last, since := sum(), time.Now()
	Eventually(t, "the peers are slowed down", func() bool {
		if n := sum(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > time.Second
	})
	conn := Accept(t, Join(t, c, live, client.JoinOptions{}))
	data := random(8 << 20)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the 101st circuit: %d bytes, %v; want %d", len(got), err, len(data))
	}
	// The stalled ones are alive: each still brings what it held, and more.
	for _, s := range conns {
		if _, err := io.ReadFull(s, make([]byte, 128<<10)); err != nil {
			t.Fatalf("a stalled circuit, read at last: %v", err)
		}
	}
}

// The same when peers stop reading: 100 circuits on which the client writes and nobody reads, and
// the 101st moves.
func TestStalledPeers(t *testing.T) { overEach(t, testStalledPeers) }

func testStalledPeers(t *testing.T, via []string) {
	const stalled = 100
	topic := wtproto.TopicFromName("stalled peers")
	release := make(chan struct{})
	var addrs []string
	for range stalled {
		addrs = append(addrs, Listen(t, func(c *net.TCPConn) {
			<-release
		}).Addr().String())
	}
	live := wtproto.TopicFromName("live")
	g := Start(t, server.Config{Networks: []discovery.Network{
		named{Static(t, topic, addrs...), "stalled"},
		named{Static(t, live, Listen(t, Echo).Addr().String()), "live"},
	}})
	defer close(release)
	c := g.Dial(t, client.Config{Transports: via})
	top := Join(t, c, topic, client.JoinOptions{MaxPeers: stalled})
	chunk := random(64 << 10)
	var wg sync.WaitGroup
	for range stalled {
		conn := Accept(t, top)
		wg.Go(func() { // write until the circuit takes no more for a while: then its windows are full
			for err := error(nil); err == nil; {
				conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
				_, err = conn.Write(chunk)
			}
			conn.SetWriteDeadline(time.Time{})
		})
	}
	wg.Wait()
	conn := Accept(t, Join(t, c, live, client.JoinOptions{}))
	data := random(8 << 20)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the 101st circuit: %d bytes, %v; want %d", len(got), err, len(data))
	}
}

// named gives a network another name, so that a gateway may have two of a kind.
type named struct {
	discovery.Network
	name string
}

func (n named) Name() string { return n.name }
