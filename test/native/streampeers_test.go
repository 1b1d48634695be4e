//go:build !race

package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// streamsPeers are one of each kind.
var streamsPeers = []streamsPeer{
	{
		name: "TCP service", // which knows no codes: RST stands for a reset
		start: func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide) {
			side := new(goStreams)
			cfg.Networks = []discovery.Network{gateway.Static(t, topic, side.service(t))}
			return gateway.Start(t, cfg), side
		},
		asked: wtproto.CodePeerReset, asker: wtproto.CodePeerReset,
	},
	{
		name: "swarm peer", // the program, with a TCP service behind it
		start: func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide) {
			side := new(goStreams)
			seed := gateway.Seed(t)
			binary, err := program.BuildSwarm()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(binary, "peer", topic.String(), "--dht", "private", "--dht-seed", seed,
				"--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--allow-private", "--forward", side.service(t))
			cmd.Stderr = t.Output()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				cmd.Process.Kill()
				cmd.Wait()
			})
			cfg.Networks = []discovery.Network{gateway.Host(t, true, seed)}
			return gateway.Start(t, cfg), side
		},
		asked: wtproto.CodePeerReset, asker: wtproto.CodePeerReset,
	},
	{
		name: "js-libp2p", // which neither sends nor reads codes
		start: func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide) {
			seed := startP2P(t, false, nil)
			js := startJS(t, topic, seed, "announce")
			cfg.Networks = []discovery.Network{gateway.Host(t, true, seed.Addrs()[0])}
			return gateway.Start(t, cfg), jsStreams{js}
		},
		opens: true,
		asked: wtproto.CodePeerReset, asker: wtproto.CodePeerReset, opened: wtproto.CodePeerReset,
	},
	{
		name: "native peer in Go",
		start: func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide) {
			seed := gateway.Seed(t)
			side := newNativeStreams(t, gateway.Host(t, false, seed), topic)
			cfg.Networks = []discovery.Network{gateway.Host(t, true, seed)}
			return gateway.Start(t, cfg), side
		},
		opens: true,
		asked: askedCode, asker: askerCode, opened: askedCode,
	},
	{
		name: "client of the same gateway",
		start: func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide) {
			g := gateway.Start(t, cfg)
			return g, newGoStreams(t, gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true}))
		},
		opens: true,
		asked: askedCode, asker: askerCode, opened: askedCode,
	},
	{
		name: "client of another gateway",
		start: func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide) {
			seed := gateway.Seed(t)
			far := gateway.Start(t, server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed)}})
			side := newGoStreams(t, gateway.Join(t, far.Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true}))
			cfg.Networks = []discovery.Network{gateway.Host(t, true, seed)}
			return gateway.Start(t, cfg), side
		},
		opens: true,
		asked: askedCode, asker: askerCode, opened: askedCode,
	},
}

// stream is a stream with a peer: a client's, a native peer's, or a TCP connection.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	Reset(code wtproto.Code)
}

// goStreams is the side of a Go program. The zero value only serves.
type goStreams struct {
	open func(context.Context) (stream, error)
	ends chan error // takes what a stream ended with that the other side did not read
}

// serve does with a stream what its first byte says.
func (s *goStreams) serve(c stream) {
	defer c.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return
	}
	switch first[0] {
	case 'e':
		if _, err := io.Copy(c, c); err == nil {
			c.CloseWrite()
		}
	case 'h':
		if b, err := io.ReadAll(c); err == nil {
			c.Write(b)
			c.CloseWrite()
		}
	case 'x':
		c.Reset(askedCode)
	case 'w':
		_, err := c.Write(make([]byte, streamUnread))
		s.ends <- err
	}
}

func (s *goStreams) hundred(t *testing.T) (got streamsOpened) {
	ctx := gateway.Context(t)
	var mu sync.Mutex // guards got
	one := func(purpose byte, do func(stream) error) {
		c, err := s.open(ctx)
		if err == nil {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Reset(wtproto.CodeInternal) })() // what takes too long fails
			if _, err = c.Write([]byte{purpose}); err == nil {
				err = do(c)
			}
		}
		if err != nil {
			mu.Lock()
			got.Failed = append(got.Failed, fmt.Sprintf("%c: %v", purpose, err))
			mu.Unlock()
		}
	}
	one('w', func(stalled stream) error {
		var wg sync.WaitGroup
		for i := range streamsAtOnce {
			wg.Go(func() {
				switch i % 10 {
				case 1:
					one('h', func(c stream) error { return sentBack(c, i, &mu, &got.Halves) })
				case 2:
					one('x', func(c stream) error {
						_, err := c.Read(make([]byte, 1))
						code, _ := gateway.Code(err)
						mu.Lock()
						defer mu.Unlock()
						got.Codes = append(got.Codes, code)
						return nil
					})
				default:
					one('e', func(c stream) error { return sentBack(c, i, &mu, &got.Echoed) })
				}
			})
		}
		wg.Wait()
		_, err := io.ReadFull(stalled, make([]byte, 1))
		got.Stalled = err == nil
		stalled.Reset(askerCode)
		return err
	})
	return got
}

// sentBack sends bytes and the end, wants the same, and counts that in n.
func sentBack(c stream, i int, mu *sync.Mutex, n *int) error {
	data := make([]byte, streamSize-i)
	rand.NewChaCha8([32]byte{byte(i)}).Read(data)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	b, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(b, data) {
		err = fmt.Errorf("%d bytes came back of %d, or others", len(b), len(data))
	}
	if err = errors.Join(err, <-sent); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	*n++
	return nil
}

func (s *goStreams) unread(t *testing.T) wtproto.Code {
	select {
	case err := <-s.ends:
		if err == nil {
			t.Error("a stream that nobody read took all")
		}
		code, ok := gateway.Code(err)
		if !ok {
			return wtproto.CodePeerReset // TCP's
		}
		return code
	case <-gateway.Context(t).Done():
		t.Error("the stream that was not read has not ended")
		return wtproto.CodeNone
	}
}

// newGoStreams returns the side of a client, which meets one peer.
func newGoStreams(t *testing.T, top *client.Topic) *goStreams {
	met := make(chan client.Peer, 1)
	peer := sync.OnceValue(func() client.Peer { return <-met })
	s := &goStreams{ends: make(chan error, 1), open: func(ctx context.Context) (stream, error) {
		c, err := top.Open(ctx, peer())
		if err == nil && (!c.Peer().Further || !c.Peer().Initiator) {
			err = fmt.Errorf("PEER = %+v", c.Peer())
		}
		return c, err
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for c, err := range top.Conns(ctx) {
			switch {
			case err != nil:
				return
			case !c.Peer().Further:
				met <- c.Peer()
			case c.Peer().Initiator:
				t.Errorf("PEER = %+v of a stream that the other side has opened", c.Peer())
			default:
				wg.Go(func() { s.serve(c) })
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

// newNativeStreams returns the side of a native peer, which sees one client.
func newNativeStreams(t *testing.T, h interface {
	discovery.Network
}, topic wtproto.Topic,
) *goStreams {
	seen := make(chan discovery.Sighting, 1)
	further := sync.OnceValue(func() discovery.Sighting { return <-seen })
	s := &goStreams{ends: make(chan error, 1), open: func(ctx context.Context) (stream, error) {
		return further().Further(ctx, wtproto.EndpointID{})
	}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		told := false
		for sighting, err := range h.Join(ctx, topic, discovery.Native()) {
			switch {
			case err != nil:
			case sighting.Inbound != nil:
				wg.Go(func() {
					if c, err := sighting.Inbound.Accept(); err == nil {
						s.serve(c)
					}
				})
			case sighting.Peer.Client && !told:
				told = true
				seen <- sighting
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		h.Close()
		wg.Wait()
	})
	return s
}

// tcpStream is a connection of a TCP service.
type tcpStream struct{ *net.TCPConn }

// Reset resets the connection, which has no codes.
func (c tcpStream) Reset(wtproto.Code) {
	c.SetLinger(0)
	c.Close()
}

// service starts a TCP service, and returns its address.
func (s *goStreams) service(t *testing.T) string {
	s.ends = make(chan error, 1)
	return gateway.Listen(t, func(c *net.TCPConn) { s.serve(tcpStream{c}) }).Addr().String()
}

// jsStreams is the side of a peer on js-libp2p.
type jsStreams struct{ *jsPeer }

func (s jsStreams) hundred(t *testing.T) (got streamsOpened) {
	s.await("opened", func(e map[string]any) bool { return e["further"] == false })
	s.do(fmt.Sprintf("hundred %d %d", streamsAtOnce, streamSize))
	e := s.await("hundred", func(map[string]any) bool { return true })
	got.Echoed, got.Halves, got.Stalled = int(e["echoed"].(float64)), int(e["halves"].(float64)), e["stalled"].(bool)
	for range int(e["resets"].(float64)) {
		got.Codes = append(got.Codes, wtproto.CodePeerReset)
	}
	for _, f := range e["failed"].([]any) {
		got.Failed = append(got.Failed, f.(string))
	}
	return got
}

func (s jsStreams) unread(t *testing.T) wtproto.Code {
	s.do("unread")
	if e := s.await("unread", func(map[string]any) bool { return true }); e["error"] != "StreamResetError" {
		t.Errorf("peer.mjs says %v of its stream that was not read", e)
	}
	return wtproto.CodePeerReset
}
