//go:build !race

package program

import (
	"encoding/hex"
	"flag"
	"io"
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

var kills = flag.Int("kills", 2, "how often the gateway of each client is killed")

// What a busy client does all the time, with a peer that fits.
var businesses = []struct {
	name string
	peer func(*net.TCPConn)
	do   func(*client.Conn) error // until there is an error
}{
	{"talks", gateway.Echo, func(conn *client.Conn) error {
		for b := make([]byte, 8); ; {
			if _, err := conn.Write(b); err != nil {
				return err
			}
			if _, err := io.ReadFull(conn, b); err != nil {
				return err
			}
			<-time.After(10 * time.Millisecond)
		}
	}},
	{"receives", func(c *net.TCPConn) {
		for b := make([]byte, 1<<16); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}, func(conn *client.Conn) error {
		_, err := io.Copy(io.Discard, conn)
		return err
	}},
	{"receives slowly", func(c *net.TCPConn) {
		for b := make([]byte, 1000); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
	}, func(conn *client.Conn) error {
		_, err := io.Copy(io.Discard, conn)
		return err
	}},
	{"sends", func(c *net.TCPConn) { io.Copy(io.Discard, c) }, func(conn *client.Conn) error {
		for b := make([]byte, 1<<16); ; {
			if _, err := conn.Write(b); err != nil {
				return err
			}
		}
	}},
}

// A client noticed once only after 10 s that its gateway had been killed and started again: all
// that it sent were probes too short for a stateless reset to answer. Mostly it took nearly 2 s, or
// longer if the gateway had been away for longer. make test kills it twice below each client; the
// flag -kills says another number.
func TestKilledGatewayIsNoticed(t *testing.T) {
	t.Parallel()
	const soon = 2 * time.Second // after it is back
	for _, b := range businesses {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			args := []string{
				"--listen", freeport.Address(t), "--dht", "off", "--no-lan", "--state-dir", t.TempDir(), "--log-level", "warn",
				"--static", "busy=tcp://" + gateway.Listen(t, b.peer).Addr().String(),
			}
			p := program.Start(t, args...)
			hash, err := hex.DecodeString(p.Certificate.Hashes[0])
			if err != nil {
				t.Fatal(err)
			}
			for i := range *kills {
				c, err := client.Dial(gateway.Context(t), p.QUIC, client.Config{
					CertHashes: [][32]byte{[32]byte(hash)}, Transports: []string{client.TransportQUIC}, NoReconnect: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				top := gateway.Join(t, c, wtproto.TopicFromName("busy"), client.JoinOptions{})
				conn := gateway.Accept(t, top)
				ended := make(chan error, 1)
				go func() { ended <- b.do(conn) }()
				<-time.After(300 * time.Millisecond)
				p.Kill()
				killed := time.Now()
				if i%2 == 1 { // long enough for what was sent first to be lost
					<-time.After(2500 * time.Millisecond)
				}
				p = program.Start(t, args...)
				back := time.Now()
				<-c.Done()
				took := time.Since(back)
				t.Logf("back after %v, noticed %v later: %v", back.Sub(killed).Round(time.Millisecond), took.Round(time.Millisecond), c.Err())
				if took > soon {
					t.Errorf("noticed %v after it was back", took)
				}
				<-ended
				c.Close()
			}
		})
	}
}

// A client that knows another gateway once noticed only by silence, after 5 s, that its own had been
// killed for good. Its machine says so as soon as it is asked.
func TestKilledGatewayIsLeft(t *testing.T) {
	t.Parallel()
	peer := gateway.Listen(t, gateway.Echo).Addr().String()
	start := func() (*program.Program, [32]byte) {
		p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--no-lan", "--state-dir", t.TempDir(), "--log-level", "warn",
			"--static", "busy=tcp://"+peer)
		hash, err := hex.DecodeString(p.Certificate.Hashes[0])
		if err != nil {
			t.Fatal(err)
		}
		return p, [32]byte(hash)
	}
	p, hash := start()
	other, otherHash := start()
	c, err := client.Dial(gateway.Context(t), p.QUIC, client.Config{
		Gateways: []string{other.QUIC}, CertHashes: [][32]byte{hash, otherHash}, Transports: []string{client.TransportQUIC},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	top := gateway.Join(t, c, wtproto.TopicFromName("busy"), client.JoinOptions{})
	conn := gateway.Accept(t, top)
	go businesses[0].do(conn)
	first := c.Session().Gateway
	p.Kill()
	killed := time.Now()
	gateway.Eventually(t, "another gateway", func() bool { return c.Session().Gateway != first })
	took := time.Since(killed)
	t.Logf("left after %v", took)
	if took >= 5*time.Second {
		t.Errorf("left after %v, as if nothing but silence had said it", took)
	}
	if _, err := gateway.Accept(t, top).Write([]byte("hello")); err != nil {
		t.Error(err)
	}
}
