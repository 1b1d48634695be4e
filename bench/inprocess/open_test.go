package inprocess

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// BenchmarkOpen measures from Topic.Open to the first byte that comes back from the peer, and
// beside it the same on a stream of quic-go without a gateway.
func BenchmarkOpen(b *testing.B) {
	topic := wtproto.TopicFromName("open")
	b.Run("quic-go", func(b *testing.B) {
		conn := rawQUIC(b)
		openings(b, func() (io.ReadWriteCloser, error) {
			s, err := conn.OpenStreamSync(b.Context())
			return s, err
		})
	})
	for name, start := range map[string]func(b *testing.B, g *gateway.Gateway){
		"peer": func(b *testing.B, g *gateway.Gateway) { serveEcho(b, g.Listen(topic)) },
		"tcp": func(b *testing.B, g *gateway.Gateway) {
			g.AddTCP(topic, gateway.Listen(b, gateway.Echo).Addr().String())
		},
		"client": func(b *testing.B, g *gateway.Gateway) {
			serveEcho(b, gateway.Join(b, g.Dial(b, client.Config{}), topic, client.JoinOptions{Streams: true}).Listen())
		},
	} {
		b.Run(name, func(b *testing.B) {
			g := gateway.Start(b, quiet(server.Config{}))
			start(b, g)
			top := gateway.Join(b, g.Dial(b, client.Config{}), topic, client.JoinOptions{})
			who := gateway.Accept(b, top).Peer()
			openings(b, func() (io.ReadWriteCloser, error) {
				conn, err := top.Open(b.Context(), who)
				return conn, err
			})
		})
	}
}

// openings measures how long a stream takes until a byte has come back on it.
func openings(b *testing.B, open func() (io.ReadWriteCloser, error)) {
	var all []time.Duration
	for b.Loop() {
		for range 10 * rounds {
			began := time.Now()
			s, err := open()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.Write([]byte("x")); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(began))
			s.Close()
			io.Copy(io.Discard, s)
		}
	}
	report(b, all)
}

// serveEcho sends back what comes on the circuits of l, until the benchmark ends.
func serveEcho(b *testing.B, l net.Listener) {
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
}

// rawQUIC returns a connection whose streams send back what comes.
func rawQUIC(b *testing.B) *quic.Conn {
	l, err := quic.ListenAddr("127.0.0.1:0",
		&tls.Config{Certificates: []tls.Certificate{gateway.Certificate(b)}, NextProtos: []string{"echo"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept(context.Background())
		for err == nil {
			var s *quic.Stream
			if s, err = conn.AcceptStream(context.Background()); err == nil {
				go func() {
					io.Copy(s, s)
					s.Close()
				}()
			}
		}
	}()
	conn, err := quic.DialAddr(b.Context(), l.Addr().String(),
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"echo"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.CloseWithError(0, "") })
	return conn
}
