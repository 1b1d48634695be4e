package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Circuits that send much at once, by short Writes, may return from a Write before QUIC has its
// bytes. All of them arrive nevertheless, in order and before the end, also if the circuit is closed
// right after the last Write.
func TestShortWrites(t *testing.T) {
	const circuits, size, chunk = 40, 200_000, 700
	gw := startGateway(t, server.Config{})
	l := gw.Listen(streamsTopic)
	got := make(chan []byte, circuits)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				b, err := io.ReadAll(conn)
				if err != nil {
					b = fmt.Appendf(nil, "%d bytes and %v", len(b), err)
				}
				got <- b
			})
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })

	top := join(t, gw, client.JoinOptions{})
	conns := []*client.Conn{first(t, top)}
	for len(conns) < circuits {
		c, err := top.Open(limited(t), conns[0].Peer())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	want := make(map[string]bool)
	errs := make(chan error, circuits)
	for i, c := range conns {
		stop := context.AfterFunc(limited(t), func() { c.Reset(wtproto.CodeNone) })
		t.Cleanup(func() { stop() })
		b := bytes.Repeat(fmt.Appendf(nil, "the bytes of circuit %d, ", i), size/20)[:size]
		want[string(b)] = true
		go func() {
			for p := range slices.Chunk(bytes.Clone(b), chunk) {
				if _, err := c.Write(p); err != nil {
					errs <- err
					return
				}
				clear(p) // it is the program's again
			}
			if i%2 == 0 {
				errs <- c.CloseWrite()
			} else {
				errs <- c.Close()
			}
		}()
	}
	for range circuits {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for range circuits {
		if b := <-got; !want[string(b)] {
			t.Errorf("%d bytes arrived, of nobody: %.60q", len(b), b)
		} else {
			delete(want, string(b))
		}
	}
}
