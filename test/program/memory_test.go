//go:build linux && !race

package program

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// One client with 16 sessions once had the gateway killed, in a cgroup of 256 MiB and with default
// settings, after it had sent 156 MiB on circuits of which nobody read the other ends. Here one
// address has 64 sessions and sends as much as it can. The program stays below the limit, and
// another address keeps both a circuit that moves and one that it does not read.
func TestUploadThatNobodyReads(t *testing.T) {
	const limit, lasts = 256 << 20, 12 * time.Second
	attack, err := program.Build("./test/attack")
	if err != nil {
		t.Fatal(err)
	}
	moving, paused := wtproto.TopicFromName("moving"), wtproto.TopicFromName("paused")
	echo, numbers := gateway.Listen(t, gateway.Echo), gateway.Listen(t, sendNumbers)
	args := []string{
		"--listen", "127.0.0.1:0", "--dht", "private", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--allow-private", "--log-level", "warn",
		"--static", fmt.Sprintf("%v=tcp://%v", moving, echo.Addr()), "--static", fmt.Sprintf("%v=tcp://%v", paused, numbers.Addr()),
	}
	group := newCgroup(t, limit)
	if group == "" { // then the program is told what a cgroup would say, and nobody kills it
		args = append(args, "--memory", strconv.Itoa(limit))
	}
	p := program.StartIn(t, group, args...)

	hash, err := hex.DecodeString(p.Certificate.Hashes[0])
	if err != nil {
		t.Fatal(err)
	}
	honest, err := client.Dial(gateway.Context(t), "https://"+p.QUIC, client.Config{
		CertHashes: [][32]byte{[32]byte(hash)}, NoReconnect: true,
		Transports:   []string{client.TransportQUIC},
		ListenPacket: func() (net.PacketConn, error) { return udp.Listen("udp", "127.0.0.7:0") },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer honest.Close()
	m := gateway.Accept(t, gateway.Join(t, honest, moving, client.JoinOptions{}))
	unread := gateway.Accept(t, gateway.Join(t, honest, paused, client.JoinOptions{}))
	first := readNumbers(t, unread, 0, 1000)

	ctx, cancel := context.WithTimeout(t.Context(), lasts+time.Minute)
	defer cancel()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		cmd := exec.CommandContext(ctx, attack, "-name", "upload", "-quic", p.QUIC, "-p2p", p.P2P.Addrs[0], "-from", "127.0.0.66", "-for", lasts.String())
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		t.Logf("the attack: %s%v", out, err)
	})
	trips := 0
	in, out := make([]byte, 1024), bytes.Repeat([]byte("echo"), 256)
	for over := false; !over; trips++ {
		select {
		case <-done:
			over = true // and once more
		case <-time.After(10 * time.Millisecond):
		}
		if _, err = m.Write(out); err == nil {
			_, err = io.ReadFull(m, in)
		}
		if err != nil || !bytes.Equal(in, out) {
			t.Fatalf("the circuit that moves, after %d messages: %v", trips, err)
		}
	}
	wg.Wait()
	readNumbers(t, unread, first, 1<<17) // 1 MiB, more than was on its way
	peak := p.Peak(t)
	t.Logf("%d messages; %d MiB at the peak, in cgroup %q", trips, peak>>20, group)
	if peak >= limit {
		t.Errorf("the program had %d MiB, limit %d", peak>>20, limit>>20)
	}
}

// sendNumbers sends 0, 1, 2 and so on, 8 bytes each, until the other side has had enough.
func sendNumbers(c *net.TCPConn) {
	b := make([]byte, 0, 64<<10)
	for n := uint64(0); ; {
		for b = b[:0]; len(b) < cap(b); n++ {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// readNumbers reads n of them, the first of which has to be from, and returns the next.
func readNumbers(t *testing.T, r io.Reader, from uint64, n int) uint64 {
	t.Helper()
	b := make([]byte, 8)
	for range n {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("the circuit that was not read, at %d: %v", from, err)
		}
		if got := binary.BigEndian.Uint64(b); got != from {
			t.Fatalf("the circuit that was not read: %d after %d", got, from-1)
		}
		from++
	}
	return from
}

// newCgroup makes a cgroup with a limit of memory, and returns its directory, or "" if that is not
// allowed here.
func newCgroup(t *testing.T, limit int64) string {
	t.Helper()
	name := fmt.Sprintf("swarmgate-test-%d", os.Getpid())
	for _, kind := range []struct{ parent, file string }{
		{"/sys/fs/cgroup", "memory.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
	} {
		dir := filepath.Join(kind.parent, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		file := filepath.Join(dir, kind.file) // is there only if the kernel accounts for memory here
		if _, err := os.Stat(file); err == nil && os.WriteFile(file, strconv.AppendInt(nil, limit, 10), 0) == nil {
			return dir
		}
		os.Remove(dir)
	}
	return ""
}
