//go:build !race

package program

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

var soakTime = flag.Duration("soak", time.Minute, "how long TestSoak moves bytes")

// 100 sessions with 20 circuits each lose no byte, and leave neither goroutines nor memory behind.
func TestSoak(t *testing.T) {
	const sessions, circuits = 100, 20
	topic := wtproto.TopicFromName("soak")
	var addrs []string
	for range circuits {
		addrs = append(addrs, gateway.Listen(t, gateway.Echo).Addr().String())
	}
	g := gateway.Start(t, server.Config{
		IsolateClients:          true,
		MaxSessionsPerPrincipal: -1,
		HandshakesPerAddress:    -1,
		Networks:                []discovery.Network{gateway.Static(t, topic, addrs...)},
		Logger:                  slog.New(slog.DiscardHandler),
	})
	// round runs all sessions for a while and returns how many bytes came back.
	round := func(d time.Duration) int64 {
		var echoed atomic.Int64
		var all sync.WaitGroup
		clients := make([]*client.Client, sessions)
		for i := range clients {
			c, err := client.Dial(gateway.Context(t), g.URL, client.Config{CertHashes: [][32]byte{g.Hash}})
			if err != nil {
				t.Fatal(err)
			}
			clients[i] = c
		}
		stop := time.Now().Add(d)
		for i, c := range clients {
			top := gateway.Join(t, c, topic, client.JoinOptions{})
			for j := range circuits {
				conn := gateway.Accept(t, top)
				all.Go(func() {
					n, err := pingPong(conn, uint64(i*circuits+j), stop)
					echoed.Add(n)
					if err != nil {
						t.Errorf("session %d, circuit %d, after %d bytes: %v", i, j, n, err)
					}
				})
			}
		}
		all.Wait()
		for _, c := range clients {
			c.Close()
		}
		gateway.Eventually(t, "all sessions and circuits end", func() bool {
			for _, s := range g.Topics() {
				if s.Circuits > 0 || s.Subscribers > 0 {
					return false
				}
			}
			return g.Sessions() == 0
		})
		return echoed.Load()
	}
	round(5 * time.Second)
	memory, goroutines := settle(t)
	n := round(*soakTime)
	after, left := settle(t)
	t.Logf("%d MiB echoed; memory %.1f MiB after the first round, %.1f after the second; goroutines %d, %d",
		n>>20, mib(memory), mib(after), goroutines, left)
	if limit := memory + memory/10 + 8<<20; after > limit {
		t.Errorf("heap and stacks: %.1f MiB, at most %.1f", mib(after), mib(limit))
	}
	if left > goroutines+10 {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", left, goroutines, buf[:runtime.Stack(buf, true)])
	}
}

// pingPong sends random messages, each after the echo of the one before, until stop, and then the
// end.
func pingPong(conn *client.Conn, seed uint64, stop time.Time) (n int64, err error) {
	defer conn.Close()
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	out, in := make([]byte, 8<<10), make([]byte, 8<<10)
	for time.Now().Before(stop) {
		rng.Read(out)
		if _, err := conn.Write(out); err != nil {
			return n, err
		}
		m, err := io.ReadFull(conn, in)
		n += int64(m)
		if err != nil {
			return n, err
		}
		if !bytes.Equal(in, out) {
			return n, io.ErrNoProgress
		}
	}
	if err := conn.CloseWrite(); err != nil {
		return n, err
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		return n, err
	}
	return n, nil
}

// settle returns heap and stacks after two collections, and how many goroutines there are, once
// both have stopped falling.
func settle(t *testing.T) (memory uint64, goroutines int) {
	sample := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	memory, goroutines = 1<<62, 1<<30
	quiet := 0
	gateway.Eventually(t, "memory and goroutines settle", func() bool {
		runtime.GC()
		runtime.GC()
		metrics.Read(sample)
		m, g := sample[0].Value.Uint64()+sample[1].Value.Uint64(), runtime.NumGoroutine()
		if m >= memory-memory/100 && g >= goroutines {
			quiet++
		} else {
			quiet = 0
		}
		memory, goroutines = min(memory, m), min(goroutines, g)
		return quiet > 50
	})
	return memory, goroutines
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }
