//go:build !race

package path

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	flow = 1 << 20 // bytes, after which a transfer is at its full speed
	rest = 1 << 20 // bytes that follow after the way has become narrow
)

// traffic is what a circuit does while its way becomes narrow.
type traffic struct {
	name string // of the peer at the other end
	port string // of that
	// run calls ready once the way may become narrow, goes on until narrow is closed and for rest
	// bytes more, and returns what was wrong with what arrived.
	run func(conn *client.Conn, ready func(), narrow <-chan struct{}) error
}

var traffics = []traffic{
	{"echo", "7007", func(conn *client.Conn, ready func(), narrow <-chan struct{}) error {
		if err := echo(conn); err != nil {
			return fmt.Errorf("before: %w", err)
		}
		ready()
		<-narrow
		return echo(conn)
	}},
	{"sink", "7009", func(conn *client.Conn, ready func(), narrow <-chan struct{}) error {
		sum, err := stream(conn, ready, narrow)
		if err != nil {
			return err
		}
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		got, err := io.ReadAll(conn)
		if err == nil && !bytes.Equal(got, sum.Sum(nil)) {
			err = fmt.Errorf("other bytes arrived than were sent: %x", got)
		}
		return err
	}},
	{"source", "7010", func(conn *client.Conn, ready func(), narrow <-chan struct{}) error {
		sum := sha256.New()
		if _, err := io.CopyN(sum, conn, flow); err != nil {
			return err
		}
		ready()
		stopped := make(chan error, 1)
		go func() {
			<-narrow
			stopped <- conn.CloseWrite() // has the source come to its end
		}()
		last := make([]byte, 0, sha256.Size)
		block := make([]byte, 64<<10)
		for {
			n, err := conn.Read(block)
			last = append(last, block[:n]...)
			if over := len(last) - sha256.Size; over > 0 {
				sum.Write(last[:over])
				last = append(last[:0], last[over:]...)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if !bytes.Equal(last, sum.Sum(nil)) {
			return fmt.Errorf("other bytes arrived than were sent: %x", last)
		}
		return <-stopped
	}},
}

// echo sends rest bytes, and wants them back.
func echo(conn net.Conn) error {
	data := make([]byte, rest)
	rand.Read(data)
	go conn.Write(data) // the other direction says whether it has failed
	got := make([]byte, len(data))
	n, err := io.ReadFull(conn, got)
	if err == nil && !bytes.Equal(got, data) {
		err = fmt.Errorf("other bytes came back")
	}
	if err != nil {
		return fmt.Errorf("%d bytes came back: %w", n, err)
	}
	return nil
}

// stream sends bytes as fast as it can until stop is closed, and then rest bytes more. It calls
// ready after flow bytes, and returns the hash of all.
func stream(to io.Writer, ready func(), stop <-chan struct{}) (hash.Hash, error) {
	sum := sha256.New()
	block := make([]byte, 64<<10)
	rand.Read(block)
	for sent, last := 0, -1; last < 0 || sent < last; sent += len(block) {
		if sent == flow {
			ready()
		}
		select {
		case <-stop:
			if last < 0 {
				last = sent + rest
			}
		default:
		}
		block[0]++ // so that no two blocks are the same for long
		sum.Write(block)
		if _, err := to.Write(block); err != nil {
			return nil, fmt.Errorf("after %d bytes: %w", sent, err)
		}
	}
	return sum, nil
}

// peer listens on port of the gateway's machine, and serves each connection by serve.
func (w *way) peer(port string, serve func(c net.Conn)) {
	w.t.Helper()
	var l net.Listener
	var err error
	w.gateway.Do(w.t, func() { l, err = net.Listen("tcp", "127.0.0.1:"+port) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
}

// sink reads all, and then sends its hash. What went wrong is seen at the other end.
func sink(c net.Conn) {
	sum := sha256.New()
	if _, err := io.Copy(sum, c); err == nil {
		_, _ = c.Write(sum.Sum(nil))
	}
}

// source sends until the other end has ended its direction, and then rest bytes and the hash of all.
func source(c net.Conn) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, c)
	}()
	if sum, err := stream(c, func() {}, ended); err == nil {
		_, _ = c.Write(sum.Sum(nil))
	}
}

// dial opens a session from the client's machine.
func (w *way) dial(addr string) *client.Client {
	w.t.Helper()
	fingerprint, err := hex.DecodeString(w.program.Certificate.Hashes[0])
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := client.Dial(gateway.Context(w.t), net.JoinHostPort(addr, port), client.Config{
		Transports: []string{client.TransportQUIC},
		CertHashes: [][32]byte{[32]byte(fingerprint)},
		ListenPacket: func() (socket net.PacketConn, err error) {
			w.client.Do(w.t, func() { socket, err = udp.Listen("udp", ":0") })
			return socket, err
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// A circuit stalled for good once its way had become narrower than the packets that had passed
// before, as it does if a VPN starts or a router takes another line: quic-go's discovery of the MTU
// only goes up. An upload lost its session, because quic-go does not probe another path while its
// window is full.
func TestWayBecomesNarrow(t *testing.T) {
	t.Parallel()
	var args []string
	for _, kind := range traffics {
		for _, f := range families { // clients of one topic would have circuits with each other
			args = append(args, "--static", kind.name+" over "+f.name+"=tcp://127.0.0.1:"+kind.port)
		}
	}
	w := newWay(t, args...)
	w.slow = true // else the transfers have the whole machine to themselves
	w.peer("7009", sink)
	w.peer("7010", source)
	type result struct {
		what string
		err  error
		took time.Duration
	}
	for _, icmp := range []bool{false, true} {
		for i, where := range []string{"at the client", "in the middle", "at the gateway"} {
			if icmp {
				where += ", with ICMP"
			}
			w.set(-1, true)
			type circuit struct {
				what string
				kind traffic
				conn *client.Conn
			}
			var circuits []circuit
			var clients []*client.Client
			for _, kind := range traffics { // those that send little first
				for _, f := range families {
					c := w.dial(f.addr)
					clients = append(clients, c)
					what := kind.name + " over " + f.name
					conn := gateway.Accept(t, gateway.Join(t, c, wtproto.TopicFromName(what), client.JoinOptions{}))
					circuits = append(circuits, circuit{what, kind, conn})
				}
			}
			n := len(circuits)
			ready, narrow, results := make(chan struct{}, n), make(chan struct{}), make(chan result, n)
			var since time.Time // constant once narrow is closed
			for _, c := range circuits {
				c.conn.SetDeadline(time.Now().Add(gateway.Patience))
				go func() {
					started := false
					err := c.kind.run(c.conn, func() { started = true; ready <- struct{}{} }, narrow)
					if !started {
						ready <- struct{}{}
					}
					<-narrow
					results <- result{c.what, err, time.Since(since)}
				}()
				<-ready
			}
			w.set(i, icmp)
			since = time.Now()
			close(narrow)
			for range clients {
				r := <-results
				if r.err != nil {
					t.Errorf("narrow %s: %s: %v", where, r.what, r.err)
				}
				t.Logf("narrow %s: %s took %v", where, r.what, r.took)
			}
			for _, c := range clients {
				c.Close()
			}
		}
	}
}
