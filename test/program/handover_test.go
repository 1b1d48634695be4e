package program

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// supervisor holds the sockets of a gateway and hands them to each process of it, as systemd does
// for a .socket unit.
type supervisor struct {
	addr  string
	files []*os.File
	args  []string
}

// supervise opens the sockets, on a free port.
func supervise(t *testing.T, args ...string) *supervisor {
	t.Helper()
	s := &supervisor{addr: freeport.Address(t), args: args}
	socket, err := net.ListenPacket("udp4", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	listener, err := net.Listen("tcp4", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, open := range []func() (*os.File, error){socket.(*net.UDPConn).File, listener.(*net.TCPListener).File} {
		f, err := open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		s.files = append(s.files, f)
	}
	return s
}

// start starts a process with the sockets.
func (s *supervisor) start(t *testing.T) *program.Program {
	t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$@"`, "sh", binary}, s.args...)...)
	cmd.ExtraFiles = s.files
	p := program.StartCommand(t, cmd)
	if p.QUIC != s.addr {
		t.Errorf("it listens on %s, want %s, which was handed over", p.QUIC, s.addr)
	}
	return p
}

// A restart refuses nobody if something else holds the sockets, as systemd does: clients that come
// while one process drains, or between two, are let in by the next one. A gateway that draining
// refuses them says SHUTDOWN, and one that is not there refuses TCP.
func TestRestartRefusesNobody(t *testing.T) {
	t.Parallel()
	const restarts = 3
	hold := gateway.Listen(t, func(c *net.TCPConn) { // a circuit that lasts until it is cut off
		c.Write([]byte("x"))
		io.Copy(io.Discard, c)
	})
	s := supervise(t, "--dht", "off", "--no-lan", "--drain", "1s", "--state-dir", t.TempDir(), "--log-level", "warn",
		"--handshakes-per-address", "-1", "--static", "held=tcp://"+hold.Addr().String())
	p := s.start(t)
	hash, err := hex.DecodeString(p.Certificate.Hashes[0])
	if err != nil {
		t.Fatal(err)
	}
	config := client.Config{CertHashes: [][32]byte{[32]byte(hash)}}
	stays, err := client.Dial(gateway.Context(t), s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	top := gateway.Join(t, stays, wtproto.TopicFromName("held"), client.JoinOptions{})

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var comers sync.WaitGroup
	defer comers.Wait()
	defer stop()
	var came [2]atomic.Int64
	for i, transport := range []string{client.TransportQUIC, client.TransportWebSocket} {
		cfg := config
		cfg.Transports, cfg.NoReconnect = []string{transport}, true
		for range 3 {
			comers.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					c, err := client.Dial(gateway.Context(t), s.addr, cfg)
					if err != nil {
						t.Errorf("a client over %s was refused after %v: %v", transport, time.Since(began).Round(time.Millisecond), err)
						return
					}
					c.Close()
					came[i].Add(1)
				}
			})
		}
	}
	for range restarts {
		conn := gateway.Accept(t, top)
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("the circuit of the client that stays: %v", err)
		}
		before := [2]int64{came[0].Load(), came[1].Load()}
		began := time.Now()
		p.Terminate(t)
		ended := time.Now()
		p = s.start(t)
		gateway.Eventually(t, "clients come again over both transports", func() bool {
			return came[0].Load() > before[0] && came[1].Load() > before[1]
		})
		t.Logf("drained for %v, back after %v, clients again after %v", ended.Sub(began).Round(time.Millisecond),
			time.Since(ended).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	t.Logf("%d sessions over QUIC and %d over WebSocket", came[0].Load(), came[1].Load())
}
