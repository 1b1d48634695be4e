//go:build benchold

package old

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// swarmgate is the gateway, as its users run it.
type swarmgate struct {
	QUIC        string
	Certificate struct{ Hashes []string }
	pid         int
}

// startSwarmgate runs the gateway until the test ends.
func startSwarmgate(t *testing.T, args ...string) *swarmgate {
	t.Helper()
	binary, err := filepath.Abs("../../bin/bench/server")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, "./cmd/server")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, args...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	g := &swarmgate{pid: cmd.Process.Pid}
	if err := json.NewDecoder(out).Decode(g); err != nil {
		t.Fatalf("the gateway does not say that it is ready: %v", err)
	}
	return g
}

// url returns the address as the gateway prints it for clients.
func (g *swarmgate) url() string { return "swarmgate://" + g.QUIC + "/?h=" + g.Certificate.Hashes[0] }

// wires opens a session, and a circuit for each topic with the service of peer.js.
func (g *swarmgate) wires(t *testing.T, topics []string) (conns []*client.Conn, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hash, err := hex.DecodeString(g.Certificate.Hashes[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(ctx, "https://"+g.QUIC, client.Config{CertHashes: [][32]byte{[32]byte(hash)}, NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	var joined []*client.Topic
	for _, hexed := range topics {
		key, err := hex.DecodeString(hexed)
		if err != nil {
			t.Fatal(err)
		}
		topic, err := c.Join(ctx, wtproto.Topic(key), client.JoinOptions{LookUpOnly: true, Networks: []string{"dat"}})
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, topic)
	}
	for _, topic := range joined {
		conn, err := topic.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1)
		_, err = conn.Write([]byte("h"))
		if _, err2 := io.ReadFull(conn, answer); errors.Join(err, err2) != nil || answer[0] != 'H' {
			t.Fatalf("the service says %q, %v", answer, errors.Join(err, err2))
		}
		conns = append(conns, conn)
	}
	return conns, func() { c.Close() }
}

// bulk returns how fast total bytes come over a circuit for each topic, in MB/s.
func (g *swarmgate) bulk(t *testing.T, topics []string, total int) float64 {
	conns, end := g.wires(t, topics)
	defer end()
	read := make(chan int, 1024)
	stop := make(chan struct{})
	defer close(stop)
	began := time.Now()
	for _, conn := range conns {
		go func() {
			b := make([]byte, 64<<10)
			_, _ = conn.Write([]byte("b"))
			for {
				n, err := conn.Read(b)
				select {
				case read <- n:
				case <-stop:
					return
				}
				if err != nil {
					return
				}
			}
		}()
	}
	got := 0
	for late := time.After(time.Minute); got < total; {
		select {
		case n := <-read:
			got += n
		case <-late:
			t.Fatalf("%d of %d bytes", got, total)
		}
	}
	return float64(got) / 1e6 / time.Since(began).Seconds()
}

// echo returns the round trips of n messages of 64 bytes in ms, beside a bulk stream if there are
// two topics.
func (g *swarmgate) echo(t *testing.T, topics []string, n int) (trips []float64) {
	conns, end := g.wires(t, topics)
	defer end()
	if len(conns) > 1 {
		_, _ = conns[1].Write([]byte("b"))
		if _, err := io.CopyN(io.Discard, conns[1], 4<<20); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, conns[1]) }()
	}
	b := make([]byte, 64)
	_, err := conns[0].Write([]byte("e"))
	for range n {
		began := time.Now()
		if err == nil {
			_, err = conns[0].Write(b)
		}
		if err == nil {
			_, err = io.ReadFull(conns[0], b)
		}
		if err != nil {
			t.Fatal(err)
		}
		trips = append(trips, time.Since(began).Seconds()*1000)
	}
	return trips
}

// memory returns a line of /proc/PID/status in MiB, such as VmRSS.
func memory(t *testing.T, pid int, field string) float64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == field+":" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	t.Fatalf("no %s", field)
	return 0
}
