package program

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
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

var shortTime = flag.Duration("short-circuits", 3*time.Second, "how long TestShortCircuits opens circuits, for each network")

// Two of about 108,000 circuits that ended regularly were told to have been reset, and lost their
// last bytes: both ends sent their end in the same moment. So circuits are opened that live for a
// message each way, and each end counts what the other one sent.
func TestShortCircuits(t *testing.T) {
	const peers = 4
	topic := wtproto.TopicFromName("short")
	for _, network := range []struct {
		name string
		// start returns a gateway and has peers on the topic whose circuits go to serve.
		start func(t *testing.T, cfg server.Config, serve func(halfCloser)) *gateway.Gateway
	}{
		{"static", func(t *testing.T, cfg server.Config, serve func(halfCloser)) *gateway.Gateway {
			var addrs []string
			for range peers {
				addrs = append(addrs, gateway.Listen(t, func(c *net.TCPConn) { serve(c) }).Addr().String())
			}
			cfg.Networks = []discovery.Network{gateway.Static(t, topic, addrs...)}
			return gateway.Start(t, cfg)
		}},
		{"dht", func(t *testing.T, cfg server.Config, serve func(halfCloser)) *gateway.Gateway {
			seed := gateway.Seed(t)
			for range peers {
				gateway.Native(t, gateway.Host(t, false, seed), topic, discovery.Native(), func(s discovery.Stream) { serve(s) })
			}
			cfg.Networks = []discovery.Network{gateway.Host(t, true, seed)}
			return gateway.Start(t, cfg)
		}},
		{"client", func(t *testing.T, cfg server.Config, serve func(halfCloser)) *gateway.Gateway {
			cfg.IsolateClients = false
			g := gateway.Start(t, cfg)
			for range peers {
				top := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{AnnounceOnly: true})
				var all sync.WaitGroup
				all.Go(func() {
					for {
						conn, err := top.Accept(t.Context())
						if err != nil {
							return // the test is over
						}
						all.Go(func() {
							defer conn.Close()
							serve(conn)
						})
					}
				})
				t.Cleanup(all.Wait) // after t.Context has ended
			}
			return g
		}},
	} {
		t.Run(network.name, func(t *testing.T) {
			var s shorts
			g := network.start(t, server.Config{
				NewCircuits: -1, HandshakesPerAddress: -1, MaxSessionsPerPrincipal: -1, // one address has them all
				IsolateClients: true, Logger: slog.New(slog.DiscardHandler),
			}, s.serve(t))
			stop := time.Now().Add(*shortTime)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for first := true; first || time.Now().Before(stop); first = false {
						if !s.session(t, g, topic, peers) {
							return
						}
					}
				})
			}
			all.Wait()
			t.Logf("%d circuits, %d bytes each way and back", s.circuits.Load(), s.bytes.Load())
		})
	}
}

// shorts counts circuits, and brings their two ends together.
type shorts struct {
	circuits, bytes atomic.Int64
	arrived         sync.Map // the number of a circuit: chan error of its peer's end
}

// session opens a session that has a circuit with each of the peers, and reports whether all was
// well.
func (s *shorts) session(t *testing.T, g *gateway.Gateway, topic wtproto.Topic, peers int) bool {
	c, err := client.Dial(t.Context(), g.URL, client.Config{CertHashes: [][32]byte{g.Hash}})
	if err != nil {
		t.Errorf("Dial = %v", err)
		return false
	}
	defer c.Close()
	top, err := c.Join(t.Context(), topic, client.JoinOptions{LookUpOnly: true})
	if err != nil {
		t.Errorf("Join = %v", err)
		return false
	}
	ok := true
	var all sync.WaitGroup
	defer all.Wait()
	var mu sync.Mutex
	for range peers {
		conn, err := top.Accept(gateway.Context(t))
		if err != nil {
			t.Errorf("Accept = %v", err)
			return false
		}
		all.Go(func() {
			defer conn.Close()
			if err := s.both(conn); err != nil {
				t.Errorf("with %s peer: %v", conn.Peer().Network, err)
				mu.Lock()
				ok = false
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return ok
}

// both is a client's end of a circuit, and waits for what the peer's end says of it.
func (s *shorts) both(conn halfCloser) error {
	number := rand.Uint64()
	arrived := make(chan error, 1)
	s.arrived.Store(number, arrived)
	defer s.arrived.Delete(number)
	if _, n, err := trade(conn, number); err != nil {
		return fmt.Errorf("the client: %w", err)
	} else {
		s.bytes.Add(int64(n))
	}
	select {
	case err := <-arrived: // the end of the session would cut off what is still on its way
		s.circuits.Add(1)
		return err
	case <-time.After(gateway.Patience):
		return errors.New("the peer got no end")
	}
}

// serve returns a peer's end.
func (s *shorts) serve(t *testing.T) func(halfCloser) {
	return func(conn halfCloser) {
		number, _, err := trade(conn, 0)
		arrived, ok := s.arrived.Load(number)
		switch {
		case ok && err == nil:
			arrived.(chan error) <- nil
		case ok:
			arrived.(chan error) <- fmt.Errorf("the peer: %w", err)
		case !t.Failed():
			t.Errorf("the peer read no number: %v", err)
		}
	}
}

type halfCloser interface {
	io.ReadWriter
	CloseWrite() error
}

// trade sends a message with number and reads one, each up to the end, at the same time. It
// returns the number that it read, and how many bytes.
func trade(conn halfCloser, number uint64) (uint64, int, error) {
	out := message(number)
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(out)
		if err == nil {
			err = conn.CloseWrite()
		}
		sent <- err
	}()
	in, err := io.ReadAll(conn)
	if err != nil {
		err = fmt.Errorf("read %d bytes: %w", len(in), err)
	}
	if e := <-sent; e != nil {
		err = errors.Join(err, fmt.Errorf("sent %d bytes: %w", len(out), e))
	}
	if len(in) < messageHead {
		return 0, len(in), errors.Join(err, fmt.Errorf("read %x, want a whole head", in))
	}
	got := binary.BigEndian.Uint64(in)
	if size := int(binary.BigEndian.Uint32(in[8:])); size != len(in) || !bytes.Equal(in[messageHead:], pattern(size)[messageHead:]) {
		err = errors.Join(err, fmt.Errorf("read %d bytes of %d, or other ones", len(in), size))
	}
	return got, len(in), err
}

const messageHead = 12 // a number and the length of all

// message is one of random length, mostly short.
func message(number uint64) []byte {
	size := messageHead + rand.IntN(256)
	if rand.IntN(8) == 0 {
		size += rand.IntN(64 << 10)
	}
	b := bytes.Clone(pattern(size))
	binary.BigEndian.PutUint64(b, number)
	binary.BigEndian.PutUint32(b[8:], uint32(size))
	return b
}

var noise = func() []byte {
	b := make([]byte, 65<<10)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

// pattern is what a message of size has behind its head.
func pattern(size int) []byte { return noise[:size] }
