package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The codes with which the two ends of a stream reset it.
const askerCode, askedCode = wtproto.CodeApplication + 1, wtproto.CodeApplication + 2

// farStream is a stream with a peer elsewhere: a client's or a native peer's.
type farStream interface {
	io.ReadWriter
	CloseWrite() error
	Reset(code wtproto.Code)
	Close() error
}

// farSide is one of two who open streams with each other.
type farSide struct {
	open func() (farStream, error)
	// resets takes the error of each stream that the other side has reset.
	resets chan error
}

// serve does with a stream what its first byte says.
func (f *farSide) serve(s farStream) {
	defer s.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(s, first); err != nil {
		return
	}
	switch first[0] {
	case 'r': // resets it
		s.Reset(askedCode)
	case 'w': // waits for a reset, and reads nothing before it
		_, err := s.Write(make([]byte, 16<<20))
		f.resets <- err
	default: // sends back what comes
		if _, err := s.Write(first); err == nil {
			if _, err := io.Copy(s, s); err == nil {
				s.CloseWrite()
			}
		}
	}
}

// hundred opens as many streams with the other side at once, beside one that nobody reads.
func (f *farSide) hundred(t testing.TB) {
	t.Helper()
	stalled, err := f.open()
	if err != nil {
		t.Errorf("Open: %v", err)
		return
	}
	stalled.Write([]byte("w"))
	if _, err := io.ReadFull(stalled, make([]byte, 1)); err != nil { // else the reset may come before the other side has read
		t.Errorf("the one that is not read: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			s, err := f.open()
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			defer s.Close()
			if i%10 == 0 {
				s.Write([]byte("r"))
				if _, err := s.Read(make([]byte, 1)); !errors.Is(err, &wtproto.Error{Code: askedCode, Remote: true}) {
					t.Errorf("Read = %v, want the reset with %v", err, askedCode)
				}
				return
			}
			data := append([]byte("echo"), random(50_000+i)...)
			sent := make(chan error, 1)
			go func() {
				_, err := s.Write(data)
				sent <- errors.Join(err, s.CloseWrite())
			}()
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes came back of %d, %v", len(got), len(data), err)
			}
			if err := <-sent; err != nil {
				t.Errorf("sending: %v", err)
			}
		})
	}
	wg.Wait()
	stalled.Reset(askerCode)
}

// clientSide is the side of a client, which has one peer.
func clientSide(t testing.TB, top *client.Topic, peer client.Peer) *farSide {
	f := &farSide{
		open:   func() (farStream, error) { return top.Open(Context(t), peer) },
		resets: make(chan error, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for c, err := range top.Conns(ctx) {
			if err != nil {
				return
			}
			if p := c.Peer(); !p.Further || p.Initiator || !bytes.Equal(p.ID, peer.ID) {
				t.Errorf("accepted %+v, want a further circuit of %+v", p, peer)
			}
			wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return f
}

// bothWays has both sides open streams at the same time.
func bothWays(t testing.TB, a, b *farSide) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() { a.hundred(t) })
	wg.Go(func() { b.hundred(t) })
	wg.Wait()
	for _, f := range []*farSide{a, b} {
		select {
		case err := <-f.resets:
			if !errors.Is(err, &wtproto.Error{Code: askerCode, Remote: true}) {
				t.Errorf("Write of the one that was not read = %v, want the reset with %v", err, askerCode)
			}
		case <-Context(t).Done():
			t.Error("the reset of the one that was not read did not come")
		}
	}
}

// Only one of two gateways opens first circuits. The clients of both open a hundred streams with
// each other at once.
func TestHundredStreamsBetweenGateways(t *testing.T) {
	seed := Seed(t)
	topic := wtproto.TopicFromName(t.Name())
	var tops [2]*client.Topic
	var gateways [2]*Gateway
	for i := range tops {
		gateways[i] = Start(t, server.Config{Networks: []discovery.Network{Host(t, true, seed)}})
		tops[i] = Join(t, gateways[i].Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true})
	}
	var firsts [2]*client.Conn
	var sides [2]*farSide
	for i, top := range tops {
		firsts[i] = Accept(t, top)
		if p := firsts[i].Peer(); p.Further || !p.Client {
			t.Errorf("the first circuit is with %+v", p)
		}
	}
	for i, top := range tops {
		sides[i] = clientSide(t, top, firsts[i].Peer())
	}
	bothWays(t, sides[0], sides[1])
	firsts[0].Write([]byte("x"))
	if _, err := io.ReadFull(firsts[1], make([]byte, 1)); err != nil {
		t.Errorf("the first circuit: %v", err)
	}
	for _, g := range gateways {
		Eventually(t, "the others are gone", func() bool { return g.Topics()[0].Circuits == 1 })
	}

	// After the end of the first one too, which nobody makes again.
	for i, first := range firsts {
		first.Close()
		s, err := sides[i].open()
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("echo"))
		s.CloseWrite()
		if got, err := io.ReadAll(s); err != nil || string(got) != "echo" {
			t.Errorf("after the first: %q, %v", got, err)
		}
	}
}

// Only the gateway opens first circuits with a native peer. Either opens a hundred streams at
// once.
func TestHundredStreamsWithNativePeer(t *testing.T) {
	seed := Seed(t)
	topic := wtproto.TopicFromName(t.Name())
	g := Start(t, server.Config{Networks: []discovery.Network{Host(t, true, seed)}})
	top := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true})

	n := Host(t, false, seed)
	native := &farSide{resets: make(chan error, 1)}
	opener := make(chan func() (farStream, error), 1)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		told := false
		for s, err := range n.Join(ctx, topic, discovery.Native()) {
			switch {
			case err != nil:
			case s.Inbound != nil:
				wg.Go(func() {
					if c, err := s.Inbound.Accept(); err == nil {
						native.serve(c)
					}
				})
			case s.Peer.Client && !told:
				told = true
				if s.Dial != nil || s.Further == nil {
					t.Errorf("a native peer may dial a gateway's client: %v, open further ones: %v", s.Dial != nil, s.Further != nil)
					continue
				}
				opener <- func() (farStream, error) { return s.Further(Context(t), wtproto.EndpointID{}) }
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		n.Close()
		wg.Wait()
	})
	first := Accept(t, top)
	select {
	case native.open = <-opener:
	case <-Context(t).Done():
		t.Fatal("the native peer has not seen the client")
	}
	bothWays(t, clientSide(t, top, first.Peer()), native)
	first.Write([]byte("echo"))
	first.CloseWrite()
	if got, err := io.ReadAll(first); err != nil || string(got) != "echo" {
		t.Errorf("the first circuit: %q, %v", got, err)
	}
}
