package inprocess

import (
	"io"
	"net"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

const bulk = 256 << 20

// transports are those of a Go client.
var transports = []string{client.TransportQUIC, client.TransportWebSocket}

// BenchmarkDown: a TCP peer's bytes through the gateway to a Go client, on one circuit.
func BenchmarkDown(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport, func(b *testing.B) { down(b, transport) })
	}
}

func down(b *testing.B, transport string) {
	conn := circuit(b, transport, func(c *net.TCPConn) {
		chunk := make([]byte, 1<<20)
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})
	b.SetBytes(bulk)
	buf := make([]byte, 256<<10)
	for b.Loop() {
		for left := bulk; left > 0; {
			n, err := conn.Read(buf[:min(left, len(buf))])
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
	}
}

// BenchmarkUp: a Go client's bytes through the gateway to a TCP peer, on one circuit.
func BenchmarkUp(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport, func(b *testing.B) { up(b, transport) })
	}
}

func up(b *testing.B, transport string) {
	got := make(chan struct{})
	conn := circuit(b, transport, func(c *net.TCPConn) {
		for {
			if _, err := io.CopyN(io.Discard, c, bulk); err != nil {
				return
			}
			got <- struct{}{}
		}
	})
	b.SetBytes(bulk)
	chunk := make([]byte, 256<<10)
	for b.Loop() {
		for sent := 0; sent < bulk; sent += len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		<-got
	}
}

func circuit(b *testing.B, transport string, serve func(*net.TCPConn)) *client.Conn {
	topic := wtproto.TopicFromName("bench")
	g := gateway.Start(b, quiet(server.Config{
		Networks: []discovery.Network{gateway.Static(b, topic, gateway.Listen(b, serve).Addr().String())},
	}))
	return gateway.Accept(b, gateway.Join(b, g.Dial(b, client.Config{Transports: []string{transport}}), topic, client.JoinOptions{}))
}
