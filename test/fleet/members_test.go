//go:build !race

package fleet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fleet is several gateways, each a process, on a private DHT that they entered by a seed.
type fleet struct {
	t       *testing.T
	seed    *program.Program
	members []*member
}

// member is where one gateway runs after the other: with the same ports and the same state
// directory.
type member struct {
	*program.Program
	args []string
}

// startMembers starts a fleet of n gateways.
func startMembers(t *testing.T, n int) *fleet {
	t.Helper()
	common := []string{"--dht", "private", "--allow-private", "--log-level", "warn"}
	f := &fleet{t: t, seed: program.Start(t, append(common, "--listen", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0")...)}
	dir := t.TempDir()
	for i := range n {
		m := &member{args: append(common, "--dht-seed", f.seed.P2P.Addrs[0], "--state-dir", filepath.Join(dir, fmt.Sprint(i)),
			"--listen", freeport.Address(t), "--p2p-listen", fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", freeport.Ports(t, 1)))}
		m.Program = program.Start(t, m.args...)
		f.members = append(f.members, m)
	}
	return f
}

// restart starts a gateway that has ended once more.
func (f *fleet) restart(m *member) {
	f.t.Helper()
	m.Program = program.Start(f.t, m.args...)
}

// dial opens a session that ends with the test. The client knows the members from first on, in
// turn; it begins with the first.
func (f *fleet) dial(first, known int) *client.Client {
	f.t.Helper()
	var cfg client.Config
	var addresses []string
	for i := range known {
		m := f.members[(first+i)%len(f.members)]
		addresses = append(addresses, m.QUIC)
		for _, h := range m.Certificate.Hashes {
			b, err := hex.DecodeString(h)
			if err != nil {
				f.t.Fatal(err)
			}
			cfg.CertHashes = append(cfg.CertHashes, [32]byte(b))
		}
	}
	cfg.Gateways = addresses[1:]
	c, err := client.Dial(gateway.Context(f.t), addresses[0], cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// endpointOf returns the endpoint of the client at the other end of a circuit, whichever gateway
// it is at.
func endpointOf(conn *client.Conn) (e wtproto.EndpointID) {
	id := conn.Peer().ID
	copy(e[:], id[max(0, len(id)-len(e)):])
	return e
}

// A client whose gateway is killed is at another one within 10 s, with circuits to whom it had
// circuits to.
func TestFleetLosesAGateway(t *testing.T) {
	const within = 10 * time.Second
	f := startMembers(t, 3)
	topic := wtproto.TopicFromName("a gateway of a fleet is killed")
	c := f.dial(0, 2) // it knows the first two, and is at the first
	top := gateway.Join(t, c, topic, client.JoinOptions{})
	for i := range 4 { // two at each of the others
		other := gateway.Join(t, f.dial(1+i%2, 1), topic, client.JoinOptions{})
		go func() {
			for {
				conn, err := other.Accept(t.Context())
				if err != nil {
					return
				}
				go func() {
					io.Copy(conn, conn)
					conn.Close()
				}()
			}
		}()
	}
	// meet accepts circuits until there is one with each of the four, and tries each.
	meet := func() map[wtproto.EndpointID]bool {
		t.Helper()
		met := make(map[wtproto.EndpointID]bool)
		for len(met) < 4 {
			conn := gateway.Accept(t, top)
			conn.SetDeadline(time.Now().Add(gateway.Patience))
			conn.Write([]byte("word"))
			if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
				t.Fatalf("a circuit with %v: %v", endpointOf(conn), err)
			}
			met[endpointOf(conn)] = true
		}
		return met
	}
	before := meet()
	killed := time.Now()
	f.members[0].Kill()
	after := meet()
	took := time.Since(killed)
	t.Logf("circuits with all four %v after SIGKILL", took)
	for e := range before {
		if !after[e] {
			t.Errorf("no circuit with %v at the other gateway", e)
		}
	}
	if took > within {
		t.Errorf("it took %v, want at most %v", took, within)
	}
}

// Three gateways restart one after the other while 30 clients send without a pause. Each is told
// to go before its gateway ends, goes to another one, meets its partner there, and loses nothing
// of what it sent before.
func TestFleetRollingRestart(t *testing.T) {
	const pairs = 15
	f := startMembers(t, 3)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var all []*rider
	var wg sync.WaitGroup
	for i := range pairs {
		topic := wtproto.TopicFromName(fmt.Sprintf("pair %d", i))
		for side := range 2 {
			r := &rider{t: t, c: f.dial(i+side, 3), talks: make(map[wtproto.EndpointID]context.CancelFunc)}
			r.top = gateway.Join(t, r.c, topic, client.JoinOptions{})
			all = append(all, r)
			wg.Go(func() { r.watch(ctx) })
			wg.Go(func() { r.run(ctx) })
		}
	}
	met := func(times int) func() bool {
		return func() bool {
			for _, r := range all {
				if r.count().met < times {
					return false
				}
			}
			return true
		}
	}
	gateway.Eventually(t, "each meets its partner", met(1))
	for n, m := range f.members {
		there := make(map[*rider]count)
		for _, r := range all {
			if at := r.count(); at.gateway == m.QUIC {
				there[r] = at
			}
		}
		if len(there) == 0 {
			t.Errorf("nobody is at gateway %d", n)
		}
		began := time.Now()
		m.Terminate(t)
		t.Logf("gateway %d with %d clients ended after %v", n, len(there), time.Since(began))
		f.restart(m)
		for r, at := range there {
			gateway.Eventually(t, "the client is at another gateway, with its partner", func() bool {
				now := r.count()
				return now.gateway != m.QUIC && now.met > at.met
			})
			if r.count().goaways == at.goaways {
				t.Errorf("a client of gateway %d was not told that it goes away", n)
			}
		}
	}
	end()
	wg.Wait()
	var bytes, circuits int64
	var longest time.Duration
	for _, r := range all {
		now := r.count()
		bytes, circuits, longest = bytes+now.bytes, circuits+int64(now.met), max(longest, now.without)
	}
	t.Logf("%d circuits, %d KiB; a client was without a gateway for %v at most", circuits, bytes>>10, longest)
	if longest > 2*time.Second {
		t.Errorf("a client was without a gateway for %v, want at most 2s", longest)
	}
}

// rider is a client that talks with its partner, whichever gateways both are at.
type rider struct {
	t   *testing.T
	c   *client.Client
	top *client.Topic

	mu      sync.Mutex
	talks   map[wtproto.EndpointID]context.CancelFunc // guarded by mu; ends the newest circuit with a partner
	counted count                                     // guarded by mu
}

// count is what became of a rider.
type count struct {
	gateway string        // where it is
	goaways int           // how often it was told to go
	met     int           // circuits
	bytes   int64         // received
	without time.Duration // the longest time without a gateway
}

func (r *rider) count() count {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counted
}

// add changes what is counted.
func (r *rider) add(f func(c *count)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.counted)
}

// watch counts what happens to the session.
func (r *rider) watch(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var lost time.Time
	for e := range r.c.Events(ctx) {
		switch e := e.(type) {
		case client.Connected:
			r.add(func(c *count) {
				c.gateway = e.Gateway
				if !lost.IsZero() {
					c.without = max(c.without, time.Since(lost))
				}
			})
			lost = time.Time{}
		case client.GoingAway:
			r.add(func(c *count) { c.goaways++ })
		case client.Disconnected:
			lost = time.Now()
			r.t.Logf("a session was lost: %v", e.Err)
		}
	}
}

// run talks on each circuit until there is a newer one with the same partner, or ctx ends.
func (r *rider) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := r.top.Accept(ctx)
		if err != nil {
			return
		}
		talk, end := context.WithCancel(ctx)
		r.mu.Lock()
		if before := r.talks[endpointOf(conn)]; before != nil {
			before()
		}
		r.talks[endpointOf(conn)] = end
		r.counted.met++
		r.mu.Unlock()
		wg.Go(func() {
			defer end()
			conn.SetDeadline(time.Now().Add(10 * gateway.Patience)) // it may last until the last restart
			n, err := converse(talk, end, conn)
			r.add(func(c *count) { c.bytes += n })
			if err != nil {
				r.t.Errorf("a circuit that had time to end, after %d bytes: %v", n, err)
			}
			conn.Close()
		})
	}
}

const (
	blockSize  = 1 << 10
	blockEvery = 10 * time.Millisecond
)

// Each block begins with one of these; the last one is the SHA-256 and the number of all before.
const (
	more byte = iota
	last
)

// converse sends random blocks until ctx ends, and reads those of the other side until its end,
// which calls end. It returns how many bytes came, and an error unless they are what the other
// side has sent.
func converse(ctx context.Context, end func(), conn *client.Conn) (n int64, err error) {
	wrote := make(chan error, 1)
	go func() { wrote <- speak(ctx, conn) }()
	n, err = listen(conn)
	end()
	return n, errors.Join(err, <-wrote)
}

// speak sends blocks until ctx ends, and the last one after them.
func speak(ctx context.Context, conn *client.Conn) error {
	sum, n := sha256.New(), int64(0)
	block := make([]byte, 1+blockSize)
	tick := time.NewTicker(blockEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		rand.Read(block[1:])
		if _, err := conn.Write(block); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		sum.Write(block[1:])
		n += blockSize
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if _, err := conn.Write(closing(sum, n)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return conn.CloseWrite()
}

// listen reads blocks up to the last one and the end.
func listen(conn *client.Conn) (n int64, err error) {
	sum, in := sha256.New(), bufio.NewReader(conn)
	block := make([]byte, blockSize)
	for {
		kind, err := in.ReadByte()
		if err != nil {
			return n, fmt.Errorf("read: %w", err)
		}
		if kind == last {
			break
		}
		if _, err := io.ReadFull(in, block); err != nil {
			return n, fmt.Errorf("read: %w", err)
		}
		sum.Write(block)
		n += blockSize
	}
	rest, err := io.ReadAll(in)
	if err == nil && !bytes.Equal(rest, closing(sum, n)[1:]) {
		err = errors.New("it is not what the other side has sent")
	}
	return n, err
}

// closing returns the last block.
func closing(sum hash.Hash, n int64) []byte {
	return binary.BigEndian.AppendUint64(sum.Sum([]byte{last}), uint64(n))
}
