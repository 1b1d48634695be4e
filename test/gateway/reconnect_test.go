package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// place is where one gateway runs after the other: with the same address, certificate and keys.
type place struct {
	t    testing.TB
	addr string
	cert tls.Certificate
	key  [32]byte
}

// newPlace returns a place on a port that is free.
func newPlace(t testing.TB) *place {
	t.Helper()
	return &place{t: t, addr: freeport.Address(t), cert: Certificate(t), key: [32]byte{1, 2, 3}}
}

// hash returns what a client trusts.
func (p *place) hash() [32]byte { return sha256.Sum256(p.cert.Certificate[0]) }

// dial opens a session that ends with the test.
func (p *place) dial(cfg client.Config) *client.Client {
	p.t.Helper()
	cfg.CertHashes = append(cfg.CertHashes, p.hash())
	cfg.DialTimeout = Patience
	c, err := client.Dial(Context(p.t), p.addr, cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// run starts a gateway. kill takes away its socket, so that it cannot say goodbye, and waits for
// its end.
func (p *place) run(networks ...discovery.Network) (s *server.Server, kill func()) {
	p.t.Helper()
	s, err := server.New(server.Config{
		TLS:               &tls.Config{Certificates: []tls.Certificate{p.cert}},
		Networks:          networks,
		StatelessResetKey: &p.key,
		TokenKey:          &p.key,
		Logger:            slog.New(slog.NewTextHandler(p.t.Output(), nil)),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(conn) }()
	var killed atomic.Bool
	end := func() {
		if killed.Swap(true) {
			return
		}
		conn.Close()
		s.Close()
		if err := <-done; err == nil {
			p.t.Error("Serve returned nil")
		}
		for _, n := range networks {
			n.Close()
		}
	}
	p.t.Cleanup(end)
	<-s.Started()
	return s, end
}

// events reads the events of a client.
func events(t testing.TB, c *client.Client) <-chan client.Event {
	all := make(chan client.Event, 256)
	go func() {
		defer close(all)
		for e := range c.Events(Context(t)) {
			all <- e
		}
	}()
	return all
}

// until reads events up to one that is an E.
func until[E client.Event](t testing.TB, events <-chan client.Event) E {
	t.Helper()
	for e := range events {
		if want, ok := e.(E); ok {
			return want
		}
	}
	t.Fatalf("no %T", *new(E))
	panic("unreachable")
}

// says sends a word through a circuit and reads one.
func says(t testing.TB, conn *client.Conn) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(Patience))
	if _, err := conn.Write([]byte("word")); err != nil {
		t.Errorf("Write: %v", err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Errorf("Read: %v", err)
	}
}

// A gateway is killed and started again: its clients are back, joined, and connected to the same
// peers as before, by themselves; and none of them ever meets what the gateway may still remember
// of it.
func TestKilledGateway(t *testing.T) {
	topic := wtproto.TopicFromName("killed gateway")
	peer := Listen(t, Echo)
	p := newPlace(t)
	_, kill := p.run(Static(t, topic, peer.Addr().String()))

	secrets := []wtproto.Secret{{1}, {2}}
	var clients []*client.Client
	var topics []*client.Topic
	var told []<-chan client.Event
	for i := range secrets {
		c := p.dial(client.Config{Secret: &secrets[i]})
		clients = append(clients, c)
		topics = append(topics, Join(t, c, topic, client.JoinOptions{MaxPeers: 8}))
		told = append(told, events(t, c))
	}
	// meet accepts the two circuits of each client: one with the peer, one with the other client.
	meet := func() (conns []*client.Conn) {
		t.Helper()
		for i := range clients {
			networks := make(map[string]bool)
			for range 2 {
				conn := Accept(t, topics[i])
				who := conn.Peer()
				networks[who.Network] = true
				if who.Network == wtproto.NetworkClient && string(who.ID) != string(idOf(secrets[1-i])) {
					t.Errorf("client %d met %x", i, who.ID)
				}
				conns = append(conns, conn)
			}
			if !networks["static"] || !networks[wtproto.NetworkClient] {
				t.Errorf("client %d met %v", i, networks)
			}
		}
		var wg sync.WaitGroup
		for _, conn := range conns {
			wg.Go(func() { says(t, conn) })
		}
		wg.Wait()
		return conns
	}
	before := meet()
	kill()
	s, _ := p.run(Static(t, topic, peer.Addr().String()))
	for i := range clients {
		if e := until[client.Disconnected](t, told[i]); e.Err == nil {
			t.Error("Disconnected without a reason")
		}
		if e := until[client.Reconnecting](t, told[i]); e.Attempt != 1 {
			t.Errorf("%+v, want attempt 1", e)
		}
		if e := until[client.Connected](t, told[i]); e.Session != clients[i].Session().ID {
			t.Errorf("%+v, Session %v", e, clients[i].Session().ID)
		}
	}
	for _, conn := range before {
		conn.SetDeadline(time.Now().Add(Patience))
		_, err := io.Copy(io.Discard, conn)
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodePeerGone || e.Remote {
			t.Errorf("a circuit of the lost session: %v, want PEER_GONE", err)
		}
	}
	meet()
	Eventually(t, "each client is there once", func() bool {
		all := s.Topics()
		return s.Sessions() == 2 && len(all) == 1 && all[0].Subscribers == 2 && all[0].Circuits == 3
	})
}

// line is a socket that can be cut: nothing goes out, and nothing comes in.
type line struct {
	net.PacketConn
	cut atomic.Bool
}

func (l *line) WriteTo(b []byte, to net.Addr) (int, error) {
	if l.cut.Load() {
		return len(b), nil
	}
	return l.PacketConn.WriteTo(b, to)
}

func (l *line) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(b)
		if err != nil || !l.cut.Load() {
			return n, from, err
		}
	}
}

// A client whose line was cut comes back to a gateway that has not noticed: its new session
// replaces the old one, and it does not meet itself.
func TestGhost(t *testing.T) {
	g := Start(t, server.Config{})
	topic := wtproto.TopicFromName("ghost of a cut line")
	secrets := []wtproto.Secret{{1}, {2}}
	lines := make(chan *line, 16)
	cut := g.Dial(t, client.Config{
		Secret:     &secrets[0],
		Silence:    3 * time.Second,
		Transports: []string{client.TransportQUIC},
		ListenPacket: func() (net.PacketConn, error) {
			socket, err := net.ListenPacket("udp", "127.0.0.1:0")
			l := &line{PacketConn: socket}
			lines <- l
			return l, err
		},
	})
	told := events(t, cut)
	here := Join(t, cut, topic, client.JoinOptions{})
	there := Join(t, g.Dial(t, client.Config{Secret: &secrets[1]}), topic, client.JoinOptions{})
	meet := func() (a, b *client.Conn) {
		t.Helper()
		a, b = Accept(t, here), Accept(t, there)
		if string(a.Peer().ID) != string(idOf(secrets[1])) || string(b.Peer().ID) != string(idOf(secrets[0])) {
			t.Errorf("met %x and %x", a.Peer().ID, b.Peer().ID)
		}
		return a, b
	}
	meet()
	(<-lines).cut.Store(true)
	if code, _ := Code(until[client.Disconnected](t, told).Err); code != wtproto.CodeIdle {
		t.Errorf("lost with %v, want IDLE", code)
	}
	until[client.Connected](t, told)
	a, b := meet()
	var wg sync.WaitGroup
	wg.Go(func() { says(t, a) })
	wg.Go(func() { says(t, b) })
	wg.Wait()
	Eventually(t, "each client is there once", func() bool {
		all := g.Topics()
		return g.Sessions() == 2 && len(all) == 1 && all[0].Subscribers == 2 && all[0].Circuits == 1
	})
}

// A gateway is taken out of service: its client goes to the other one, where it has circuits
// before those of the old one end, and nothing of those is lost.
func TestShutdownMovesClients(t *testing.T) {
	topic := wtproto.TopicFromName("moving")
	peer := Listen(t, Echo)
	static := func() discovery.Network { return Static(t, topic, peer.Addr().String()) }
	old, other := newPlace(t), newPlace(t)
	s, _ := old.run(static())
	other.run(static())
	c := old.dial(client.Config{Gateways: []string{other.addr}, CertHashes: [][32]byte{other.hash()}})
	told := events(t, c)
	until[client.Connected](t, told)
	top := Join(t, c, topic, client.JoinOptions{})
	before := Accept(t, top)
	says(t, before)
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(Context(t)) }()
	if e, ok := (<-told).(client.GoingAway); !ok || e.Code != wtproto.CodeShutdown {
		t.Errorf("%+v, want GoingAway with SHUTDOWN", e)
	}
	if e, ok := (<-told).(client.Connected); !ok || e.Gateway != other.addr {
		t.Errorf("%+v, want Connected to %s", e, other.addr)
	}
	after := Accept(t, top)
	says(t, before)
	says(t, after)
	before.CloseWrite()
	if _, err := io.Copy(io.Discard, before); err != nil {
		t.Errorf("the old circuit: %v", err)
	}
	before.Close()
	if err := <-done; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	says(t, after)
	if c.Err() != nil || top.Err() != nil {
		t.Errorf("Err = %v, %v", c.Err(), top.Err())
	}
}
