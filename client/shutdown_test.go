package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A program that wanted to leave without an error at its peers had to end each circuit, read it to
// its end and wait for all of that; Close lost what was written last, and the peers saw PEER_GONE.
func TestShutdown(t *testing.T) {
	text := bytes.Repeat([]byte("what was written last "), 1000)
	for _, tt := range []struct {
		name  string
		leave func(t *testing.T, near, far *client.Conn) // what is done before Shutdown
		want  []byte
	}{
		{"the peer answers", func(t *testing.T, near, far *client.Conn) {
			if _, err := near.Write(text); err != nil {
				t.Error(err)
			}
		}, text},
		{"the peer has ended before", func(t *testing.T, near, far *client.Conn) {
			far.CloseWrite()
			if _, err := io.Copy(io.Discard, near); err != nil {
				t.Error(err)
			}
			if _, err := near.Write(text); err != nil {
				t.Error(err)
			}
			near.Close()
		}, text},
		{"nothing was said", func(t *testing.T, near, far *client.Conn) {}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gw := startGateway(t, server.Config{})
			other := join(t, gw, client.JoinOptions{})
			top, c := joinWith(t, gw, client.JoinOptions{})
			near, far := first(t, top), first(t, other)
			tt.leave(t, near, far)
			shut := make(chan error, 1)
			go func() { shut <- c.Shutdown(limited(t)) }()
			got, err := io.ReadAll(far)
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("the peer got %d bytes and %v, want %d and the end", len(got), err, len(tt.want))
			}
			far.Close()
			if err := <-shut; err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			if err := c.Err(); err != net.ErrClosed {
				t.Errorf("Err = %v, want net.ErrClosed", err)
			}
			if _, err := c.Join(limited(t), streamsTopic, client.JoinOptions{}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Join = %v, want net.ErrClosed", err)
			}
		})
	}
}

// Circuits that nobody has accepted end regularly too, and one whose peer does not end it waits for
// ctx.
func TestShutdownEndsWithItsContext(t *testing.T) {
	gw := startGateway(t, server.Config{})
	other := join(t, gw, client.JoinOptions{})
	top, c := joinWith(t, gw, client.JoinOptions{})
	far := first(t, other)
	joined(t, top)
	stop := errors.New("no more time")
	ctx, cancel := context.WithCancelCause(t.Context())
	shut := make(chan error, 1)
	go func() { shut <- c.Shutdown(ctx) }()
	if got, err := io.ReadAll(far); err != nil || len(got) > 0 {
		t.Errorf("the peer got %q and %v, want the end", got, err)
	}
	cancel(stop)
	if err := <-shut; err != stop {
		t.Errorf("Shutdown = %v, want %v", err, stop)
	}
	if err := c.Err(); err != net.ErrClosed {
		t.Errorf("Err = %v, want net.ErrClosed", err)
	}
}

// Whoever ended last waited for a second, and then ended the session, though the gateway still had
// bytes for a peer that was slower.
func TestShutdownWaitsForASlowPeer(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{client.TransportQUIC, client.TransportWebSocket} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			gw := startGateway(t, server.Config{})
			other := join(t, gw, client.JoinOptions{})
			c, err := client.Dial(limited(t), gw.URL, client.Config{DialTimeout: patience, Transports: []string{transport}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			top, err := c.Join(limited(t), streamsTopic, client.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			near, far := first(t, top), first(t, other)
			far.CloseWrite()
			if _, err := io.Copy(io.Discard, near); err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("slow"), 90<<10/4) // more than the credit of a circuit that is not read
			if _, err := near.Write(want); err != nil {
				t.Fatal(err)
			}
			shut := make(chan error, 1)
			go func() { shut <- c.Shutdown(limited(t)) }()
			select {
			case err := <-shut:
				t.Errorf("Shutdown = %v before the peer had all", err)
				shut <- err
			case <-time.After(1500 * time.Millisecond):
			}
			if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the peer got %d bytes and %v, want %d and the end", len(got), err, len(want))
			}
			if err := <-shut; err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		})
	}
}

// Both ends that end at the same moment are answered at once by what the other one had said
// before. That was taken to mean that it had everything.
func TestShutdownAtTheSameMoment(t *testing.T) {
	t.Parallel()
	const rounds = 30
	ends := make(chan wtproto.Code, rounds)
	gw := startGateway(t, server.Config{Observer: &server.Observer{CircuitEnded: func(e server.CircuitEnd) { ends <- e.Code }}})
	for range rounds {
		other, d := joinWith(t, gw, client.JoinOptions{})
		top, c := joinWith(t, gw, client.JoinOptions{})
		near, far := first(t, top), first(t, other)
		var both sync.WaitGroup
		for _, conn := range []*client.Conn{near, far} {
			both.Go(func() { conn.CloseWrite() })
		}
		both.Wait()
		for _, c := range []*client.Client{c, d} {
			both.Go(func() {
				if err := c.Shutdown(limited(t)); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
			})
		}
		both.Wait()
		if code := <-ends; code != wtproto.CodeNone {
			t.Fatalf("the circuit ended with %v", code)
		}
	}
}
