package static

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func newPolicy(t *testing.T) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// join collects what a join yields until it has n peers, and ends it.
func join(t *testing.T, n *Network, topic wtproto.Topic, peers int) []discovery.Sighting {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []discovery.Sighting
	works := false
	for s, err := range n.Join(ctx, topic, discovery.Native()) {
		if err != nil {
			t.Errorf("Join yields %v", err)
		}
		if s.Peer.ID == "" {
			works = true
		} else {
			got = append(got, s)
		}
		if len(got) == peers {
			cancel()
		}
	}
	if !works {
		t.Error("Join never said that the network works")
	}
	return got
}

func TestJoinAndDial(t *testing.T) {
	ln := listen(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	a, b := wtproto.TopicFromName("a"), wtproto.TopicFromName("b")
	n, err := New(Config{Policy: newPolicy(t), Peers: []Peer{
		{a, "localhost:" + port}, {b, ln.Addr().String()}, {a, ln.Addr().String()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()

	got := join(t, n, a, 2)
	if len(got) != 2 {
		t.Fatalf("%d peers, want 2", len(got))
	}
	ids := make(map[string]bool)
	for i, want := range []string{"tcp://localhost:" + port, "tcp://" + ln.Addr().String()} {
		s := got[i]
		if s.Peer.Network != n.Name() || s.Peer.Address != want || s.Holds >= 0 || s.Gone || s.Dial == nil || s.Further == nil || len(s.Peer.ID) != 16 {
			t.Errorf("sighting %d = %+v, want %s for ever", i, s, want)
		}
		ids[s.Peer.ID] = true
	}
	ids[join(t, n, b, 1)[0].Peer.ID] = true
	if len(ids) != 3 {
		t.Errorf("%d ids for 3 peers", len(ids))
	}
	if again := join(t, n, a, 2); again[0].Peer.ID != got[0].Peer.ID {
		t.Error("a peer's id changed")
	}

	for _, s := range got {
		stream, err := s.Dial(t.Context(), wtproto.EndpointID{})
		if err != nil {
			t.Fatal(err)
		}
		peer, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		peer.Close()
		if text, err := io.ReadAll(stream); err != nil || string(text) != "hello" {
			t.Errorf("read %q, %v from %s", text, err, s.Peer.Address)
		}
		stream.Close()
	}
}

func TestDialForbidden(t *testing.T) {
	own := listen(t)
	policy := newPolicy(t)
	policy.AddOwn(own.Addr().(*net.TCPAddr).AddrPort())
	topic := wtproto.TopicFromName("a")
	n, err := New(Config{Policy: policy, Peers: []Peer{{topic, own.Addr().String()}, {topic, "169.254.169.254:80"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, s := range join(t, n, topic, 2) {
		_, err := s.Dial(t.Context(), wtproto.EndpointID{})
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeForbidden {
			t.Errorf("dial %s = %v, want %v", s.Peer.Address, err, wtproto.CodeForbidden)
		}
	}
}

func TestClose(t *testing.T) {
	ln := listen(t)
	topic := wtproto.TopicFromName("a")
	n, err := New(Config{Policy: newPolicy(t), Peers: []Peer{{topic, ln.Addr().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, n, topic, 1)[0]
	stream, err := s.Dial(t.Context(), wtproto.EndpointID{})
	if err != nil {
		t.Fatal(err)
	}
	joined, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		for range n.Join(context.Background(), wtproto.Topic{}, discovery.Native()) {
			close(joined)
		}
	}()
	<-joined
	if err := n.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	<-left
	if _, err := stream.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read of a circuit after Close = %v", err)
	}
	_, err = s.Dial(t.Context(), wtproto.EndpointID{})
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeShutdown {
		t.Errorf("Dial after Close = %v, want %v", err, wtproto.CodeShutdown)
	}
}

func TestNewMistakes(t *testing.T) {
	_, err := New(Config{Peers: []Peer{{Address: "nowhere"}, {Address: "host:80"}, {Address: "host:0"}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no policy", "tcp://nowhere: want HOST:PORT", `port "0"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
