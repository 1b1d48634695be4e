package servertest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

var topic = wtproto.TopicFromName("servertest")

// patience is how long a test waits for what must come.
const patience = time.Minute

func start(t *testing.T) *servertest.Server {
	t.Helper()
	gw := servertest.NewServer(server.Config{})
	t.Cleanup(gw.Close)
	return gw
}

// join returns a topic of a new client, which welcomes streams.
func join(t *testing.T, gw *servertest.Server) *client.Topic {
	t.Helper()
	c, err := client.Dial(limited(t), gw.URL, client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	top, err := c.Join(limited(t), topic, client.JoinOptions{Streams: true})
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func accept(t *testing.T, top *client.Topic) *client.Conn {
	t.Helper()
	conn, err := top.Accept(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// says reports what is not read at one end of a circuit after it was written at the other.
func says(t *testing.T, from, to net.Conn, words string) {
	t.Helper()
	if _, err := from.Write([]byte(words)); err != nil {
		t.Fatalf("Write: %v", err)
	}
	b := make([]byte, len(words))
	to.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(to, b); err != nil || string(b) != words {
		t.Fatalf("Read = %q, %v, want %q", b, err, words)
	}
	to.SetReadDeadline(time.Time{})
}

// wantCode reports an error without a code.
func wantCode(t *testing.T, what string, err error, code wtproto.Code) {
	t.Helper()
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != code || !e.Remote {
		t.Errorf("%s = %v, want %v from afar", what, err, code)
	}
}

// A peer in memory gets a client's first circuit and further ones, and can open some itself.
func TestPeer(t *testing.T) {
	gw := start(t)
	peer := gw.Listen(topic)
	top := join(t, gw)
	first := accept(t, top)
	if p := first.Peer(); !bytes.Equal(p.ID, peer.ID()) || p.Network != peer.Addr().Network() || p.Further {
		t.Errorf("Peer = %+v", p)
	}
	far, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	says(t, first, far, "hello")
	says(t, far, first, "hello yourself")

	further, err := top.Open(limited(t), first.Peer())
	if err != nil {
		t.Fatal(err)
	}
	second, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	says(t, further, second, "one more")
	second.(*servertest.Conn).Reset(wtproto.CodeApplication + 7)
	_, err = further.Read(make([]byte, 1))
	wantCode(t, "Read", err, wtproto.CodeApplication+7)

	third, err := peer.Open(limited(t), far.(*servertest.Conn).Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	back := accept(t, top)
	if p := back.Peer(); !p.Further || p.Initiator {
		t.Errorf("Peer = %+v, want a further one of the peer", p)
	}
	says(t, third, back, "from the peer")
	back.Reset(wtproto.CodeApplication + 8)
	_, err = third.Read(make([]byte, 1))
	wantCode(t, "Read", err, wtproto.CodeApplication+8)
	says(t, first, far, "still here")
	third.Close()
	far.Close()
	if _, err := first.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read = %v, want io.EOF", err)
	}
}

// A peer that leaves is not dialed any more, and one that nobody wants is refused.
func TestPeerCloses(t *testing.T) {
	gw := start(t)
	peer := gw.Listen(topic)
	top := join(t, gw)
	first := accept(t, top)
	far, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer.Close()
	peer.Close()
	if _, err := peer.Accept(); err != net.ErrClosed {
		t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
	}
	_, err = top.Open(limited(t), first.Peer())
	wantCode(t, "Open", err, wtproto.CodePeerUnreachable)
	says(t, first, far, "a circuit lives on")
	far.Close()

	other := gw.Listen(topic)
	_, err = other.Open(limited(t), wtproto.EndpointID{1})
	wantCode(t, "Open to nobody", err, wtproto.CodeDeclined)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gw.Listen(wtproto.TopicFromName("nobody is here")).Open(ctx, wtproto.EndpointID{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, want %v", err, context.Canceled)
	}
}

// Each circuit with a TCP service is a connection of its own.
func TestTCP(t *testing.T) {
	gw := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				io.Copy(c, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		gw.Close() // and all connections
		wg.Wait()
	})
	gw.AddTCP(topic, l.Addr().String())
	top := join(t, gw)
	first := accept(t, top)
	further, err := top.Open(limited(t), first.Peer())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Conn{first, further} {
		says(t, c, c, "echo")
		c.CloseWrite()
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("ReadAll = %q, %v", b, err)
		}
	}
}

// The info document leads to the gateway.
func TestInfoServer(t *testing.T) {
	gw := start(t)
	info := gw.InfoServer()
	defer info.Close()
	u, err := client.Discover(limited(t), info.URL)
	if err != nil || u.String() != gw.URL {
		t.Errorf("Discover = %v, %v, want %s", u, err, gw.URL)
	}
}

// Mistakes panic, as in package httptest.
func TestNewServerPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("NewServer did not panic")
		}
	}()
	servertest.NewServer(server.Config{Networks: []discovery.Network{nil}})
}

// A peer's end is a net.Conn, through a gateway and a client.
func TestConn(t *testing.T) {
	gw := start(t)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		topic := wtproto.TopicFromName(t.Name() + time.Now().String())
		peer := gw.Listen(topic)
		c, err := client.Dial(limited(t), gw.URL, client.Config{})
		if err != nil {
			return nil, nil, nil, err
		}
		top, err := c.Join(limited(t), topic, client.JoinOptions{})
		if err != nil {
			return nil, nil, nil, err
		}
		near, err := top.Accept(limited(t))
		if err != nil {
			return nil, nil, nil, err
		}
		far, err := peer.Accept()
		if err != nil {
			return nil, nil, nil, err
		}
		return near, far, func() { c.Close(); far.Close(); peer.Close() }, nil
	})
}

func TestDeadline(t *testing.T) {
	gw := start(t)
	peer := gw.Listen(topic)
	accept(t, join(t, gw))
	far, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	far.SetDeadline(time.Now().Add(time.Millisecond))
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	far.SetDeadline(time.Time{})
	if _, err := far.Write([]byte("x")); err != nil {
		t.Errorf("Write = %v after the deadline was taken back", err)
	}
}
