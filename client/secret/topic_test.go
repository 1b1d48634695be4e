package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// limited ends what a busy machine does not finish.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, gw *servertest.Server) *client.Client {
	t.Helper()
	c, err := client.Dial(limited(t), gw.URL, client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func start(t *testing.T) *servertest.Server {
	t.Helper()
	gw := servertest.NewServer(server.Config{})
	t.Cleanup(gw.Close)
	return gw
}

// enter joins a room of a fixed secret as a client of its own.
func enter(t *testing.T, gw *servertest.Server, opts client.JoinOptions) *Topic {
	t.Helper()
	top, err := testRoom().Join(limited(t), dial(t, gw), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { top.Close() })
	return top
}

func accept(t *testing.T, top *Topic) *Conn {
	t.Helper()
	c, err := top.Accept(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends words over both directions of a circuit.
func exchange(t *testing.T, a, b io.ReadWriter) {
	t.Helper()
	for _, way := range [][2]io.ReadWriter{{a, b}, {b, a}} {
		const words = "words"
		if _, err := io.WriteString(way[0], words); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(words))
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != words {
			t.Fatalf("read %q, %v", got, err)
		}
	}
}

// Two clients of a gateway have a first circuit and further ones, each sealed by itself.
func TestRoomThroughAGateway(t *testing.T) {
	gw := start(t)
	a := enter(t, gw, client.JoinOptions{Streams: true})
	b := enter(t, gw, client.JoinOptions{Streams: true})
	first, second := accept(t, a), accept(t, b)
	exchange(t, first, second)
	if first.Key() != b.Room().Key() || second.Key() != a.Room().Key() || first.Binding() != second.Binding() {
		t.Errorf("keys %v, %v, bindings %x, %x", first.Key(), second.Key(), first.Binding(), second.Binding())
	}
	bindings := map[[32]byte]bool{first.Binding(): true}
	for range 5 {
		type result struct {
			c   *Conn
			err error
		}
		came := make(chan result)
		go func() {
			c, err := b.Accept(limited(t))
			came <- result{c, err}
		}()
		near, err := a.Open(limited(t), first.Peer())
		if err != nil {
			t.Fatal(err)
		}
		far := <-came
		if far.err != nil {
			t.Fatal(far.err)
		}
		exchange(t, near, far.c)
		if bindings[near.Binding()] || !near.Peer().Further || near.Key() != first.Key() {
			t.Errorf("binding %x, peer %v, key %v", near.Binding(), near.Peer(), near.Key())
		}
		bindings[near.Binding()] = true
		if err := near.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := far.c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Read = %d, %v", n, err)
		}
		near.Close()
		far.c.Close()
	}
	exchange(t, first, second)
	const code = wtproto.CodeApplication + 3
	first.Reset(code)
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, &wtproto.Error{Code: code, Remote: true}) {
		t.Errorf("Read after a reset = %v", err)
	}
}

// Somebody on the topic who never answers delays no circuit with others, and gets none.
func TestSilentMemberDelaysNobody(t *testing.T) {
	gw := start(t)
	a := enter(t, gw, client.JoinOptions{})
	silent, err := dial(t, gw).Join(limited(t), testRoom().Topic(), client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Accept(limited(t)); err != nil { // it has a circuit with a
		t.Fatal(err)
	}
	b := enter(t, gw, client.JoinOptions{})
	start := time.Now()
	first, second := accept(t, a), accept(t, b)
	if d := time.Since(start); d >= handshakeTime {
		t.Errorf("it took %v", d)
	}
	exchange(t, first, second)
	if len(a.Topic().Peers()) != 2 {
		t.Errorf("%d peers, want the silent one too", len(a.Topic().Peers()))
	}
}

// A gateway that connects a further circuit with another member than was asked for is found out.
func TestFurtherCircuitHasTheSameKey(t *testing.T) {
	gw := start(t)
	a := enter(t, gw, client.JoinOptions{})
	b := enter(t, gw, client.JoinOptions{Streams: true})
	first := accept(t, a)
	accept(t, b)
	a.mu.Lock()
	a.keys[first.Peer().String()] = Key{1}
	a.mu.Unlock()
	_, err := a.Open(limited(t), first.Peer())
	wantProtocol(t, err)
	if !errors.Is(err, errOtherKey) {
		t.Errorf("error %v", err)
	}
}

// A program that only opens circuits keeps its peers, though nobody accepts their first circuits.
func TestDialContext(t *testing.T) {
	gw := start(t)
	a := enter(t, gw, client.JoinOptions{LookUpOnly: true})
	b := enter(t, gw, client.JoinOptions{AnnounceOnly: true})
	l := b.Listen()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if c.(*Conn).Peer().Further {
				go func() {
					io.Copy(c, c)
					c.Close()
				}()
			}
		}
	}()
	declined := &wtproto.Error{Code: wtproto.CodeDeclined, Remote: true}
	for range 3 {
		c, err := a.DialContext(limited(t), "", "")
		for errors.Is(err, declined) { // the gateway has not heard of l yet
			c, err = a.DialContext(limited(t), "", "")
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		c.(*Conn).CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if n := len(a.Topic().Peers()); n != 1 {
		t.Errorf("%d peers", n)
	}
	l.Close()
	l.Close()
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept after Close = %v", err)
	}
	_, err := a.Open(limited(t), a.Topic().Peers()[0])
	if !errors.Is(err, declined) {
		t.Errorf("Open without a listener = %v", err)
	}
}

// The end of a topic ends Accept, and resets what nobody has accepted.
func TestTopicEnds(t *testing.T) {
	gw := start(t)
	a, b := enter(t, gw, client.JoinOptions{}), enter(t, gw, client.JoinOptions{})
	far := accept(t, b)
	if err := a.Leave(limited(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Accept(limited(t)); err != net.ErrClosed {
		t.Errorf("Accept = %v", err)
	}
	for range a.Conns(limited(t)) {
		t.Error("a circuit came")
	}
	_, err := far.Read(make([]byte, 1))
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || !e.Remote {
		t.Errorf("Read = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Accept(ctx); err != context.Canceled {
		t.Errorf("Accept = %v", err)
	}
}

// Much passes through a gateway, and neither end nor the gateway holds many of them.
func TestMuchThroughAGateway(t *testing.T) {
	gw := start(t)
	a, b := enter(t, gw, client.JoinOptions{}), enter(t, gw, client.JoinOptions{})
	from, to := accept(t, a), accept(t, b)
	const size = 32 << 20
	chunk := make([]byte, 256<<10)
	for i := range chunk {
		chunk[i] = byte(i * i >> 4)
	}
	want, got := sha256.New(), sha256.New()
	sent := make(chan error, 1)
	go func() {
		for n := 0; n < size; n += len(chunk) {
			want.Write(chunk)
			if _, err := from.Write(chunk); err != nil {
				sent <- err
				return
			}
		}
		sent <- from.CloseWrite()
	}()
	var m runtime.MemStats
	var most uint64
	for left := int64(size); left > 0; left -= 4 << 20 {
		if _, err := io.CopyN(got, to, 4<<20); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
	}
	if n, err := to.Read(chunk); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		t.Error("other bytes came than were sent")
	}
	if most > 128<<20 {
		t.Errorf("%d bytes of heap", most)
	}
	t.Logf("%d bytes of heap at most", most)
}

// What a sealed circuit had taken, and not yet given to the circuit below, was lost when the client
// shut down, and the peer saw a reset.
func TestShutdownOfSealed(t *testing.T) {
	for name, closed := range map[string]bool{"closed": true, "open": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gw := start(t)
			c := dial(t, gw)
			a, err := testRoom().Join(limited(t), c, client.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			b := enter(t, gw, client.JoinOptions{})
			near, far := accept(t, a), accept(t, b)
			want := bytes.Repeat([]byte("sealed"), 230<<10/6) // more than the circuit takes while nobody reads
			written, shut := make(chan struct{}), make(chan error, 1)
			go func() {
				if _, err := near.Write(want); err != nil {
					t.Error(err)
				}
				close(written)
				if closed {
					near.Close()
				}
				shut <- c.Shutdown(limited(t))
			}()
			<-written
			<-time.After(2 * time.Second) // longer than Close takes
			if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the peer got %d bytes and %v, want %d and the end", len(got), err, len(want))
			}
			far.Close()
			if err := <-shut; err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		})
	}
}
