package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A gateway is taken out of service while it still has bytes for a peer that does not read: the
// client, which has closed the circuit and has another gateway, leaves it the time to deliver
// them.
func TestSlowPeerOfGatewayThatGoesAway(t *testing.T) {
	topic := wtproto.TopicFromName("slow")
	read, got := make(chan struct{}), make(chan int64, 1)
	peer := Listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(64 << 10)
		c.CloseWrite()
		<-read
		n, err := io.Copy(io.Discard, c)
		if err != nil {
			t.Errorf("the peer read: %v", err)
		}
		got <- n
	})
	first, second := newPlace(t), newPlace(t)
	s, _ := first.run(Static(t, topic, peer.Addr().String()))
	second.run()
	c := first.dial(client.Config{Gateways: []string{second.addr}, CertHashes: [][32]byte{second.hash()}})
	told := events(t, c)
	until[client.Connected](t, told)
	conn := Accept(t, Join(t, c, topic, client.JoinOptions{}))
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	down := make(chan error, 1)
	ctx := Context(t)
	go func() { down <- s.Shutdown(ctx) }()
	until[client.Connected](t, told)
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	size, err := conn.Write(make([]byte, 64<<20)) // until the peer holds it up
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write = %v, want that the peer holds it up", err)
	}
	conn.Close()
	<-time.After(3 * time.Second) // longer than a goodbye takes
	close(read)
	if n := <-got; n != int64(size) {
		t.Errorf("%d of %d bytes arrived", n, size)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}
