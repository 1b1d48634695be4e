package gateway

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// rebound is a UDP socket whose port changes now and then, as that of a client behind a NAT does.
type rebound struct {
	net.PacketConn // the first; for LocalAddr

	mu     sync.Mutex
	socket net.PacketConn // guarded by mu
	closed bool           // guarded by mu
}

func rebindable(t testing.TB) *rebound {
	t.Helper()
	r := &rebound{}
	r.rebind(t)
	r.PacketConn = r.current()
	return r
}

func (r *rebound) current() net.PacketConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.socket
}

// rebind gives the socket another port.
func (r *rebound) rebind(t testing.TB) {
	t.Helper()
	next, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	old := r.socket
	r.socket = next
	r.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (r *rebound) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		socket := r.current()
		n, from, err := socket.ReadFrom(b)
		r.mu.Lock()
		again := errors.Is(err, net.ErrClosed) && !r.closed && socket != r.socket
		r.mu.Unlock()
		if !again {
			return n, from, err
		}
	}
}

func (r *rebound) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := r.current().WriteTo(b, to)
	if errors.Is(err, net.ErrClosed) {
		return len(b), nil // lost on the way
	}
	return n, err
}

func (r *rebound) SetReadDeadline(t time.Time) error { return r.current().SetReadDeadline(t) }

func (r *rebound) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.socket.Close()
}

// A session once survived two changes of its client's address, and not a third: quic-go's server
// took a new connection id of the client for each, and gave none back. So the third reload of
// nginx ended the sessions of a whole fleet, and so did a NAT that forgets. A client's connection
// ids have no length, so there is nothing to run out of.
func TestAddressOfClientChanges(t *testing.T) {
	topic := wtproto.TopicFromName("rebind")
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, Listen(t, Echo).Addr().String())}})
	socket := rebindable(t)
	c := g.Dial(t, client.Config{Transports: []string{client.TransportQUIC}, ListenPacket: func() (net.PacketConn, error) { return socket, nil }})
	conn := Accept(t, Join(t, c, topic, client.JoinOptions{}))
	for i := range 8 {
		if says(t, conn); t.Failed() {
			t.Fatalf("the session is lost after %d changes", i)
		}
		socket.rebind(t)
	}
}
