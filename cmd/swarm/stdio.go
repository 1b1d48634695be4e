package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/swarmgate/swarmgate/wtproto"
)

// stdio is a handler that connects the standard streams with all peers. Each peer gets standard
// input from a cursor of the feed, and what peers send goes to standard output piece by piece. At
// the end of the input it ends its direction of each circuit, which goes on until the peer ends
// too.
type stdio struct {
	in  *feed
	out *events
}

// newStdio starts to read standard input, as far as the feed has room. A read error ends the
// program. The caller closes it.
func newStdio(p *program) *stdio {
	m := &stdio{in: newFeed(feedSize), out: p.events}
	// Nothing can unblock a read of a terminal, so nothing waits for this goroutine: it ends with
	// the next read.
	go func() {
		if err := m.in.run(p.stdin); err != nil {
			p.fail(fmt.Errorf("stdin: %w", err))
		}
	}()
	return m
}

// close ends the input.
func (m *stdio) close() {
	m.in.end(wtproto.Errorf(wtproto.CodeShutdown, "the program ends"))
}

func (m *stdio) handle(ctx context.Context, n int, c circuit) (traffic, error) {
	input := m.in.cursor()
	defer input.close()
	defer context.AfterFunc(ctx, input.close)()
	var moved traffic
	abort := func(code wtproto.Code) {
		c.Reset(code)
		input.close()
	}
	send := func() (err error) {
		if moved.sent, err = io.Copy(c, input); err != nil {
			return err
		}
		return c.CloseWrite()
	}
	receive := func() (err error) {
		moved.received, err = m.receive(n, c)
		return err
	}
	if err := duplex(abort, send, receive); err != nil {
		return moved, err
	}
	return moved, c.Close()
}

// receive writes out what comes from circuit n, until its end.
func (m *stdio) receive(n int, c circuit) (received int64, err error) {
	buf := make([]byte, 32<<10)
	for {
		k, err := c.Read(buf)
		received += int64(k)
		if k > 0 {
			if err := m.out.data(n, buf[:k]); err != nil {
				return received, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return received, nil
		case err != nil:
			return received, err
		}
	}
}
