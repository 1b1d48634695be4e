package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/swarmgate/swarmgate/wtproto"
)

// pump connects the standard streams with all peers. Each peer gets what comes in, as the feed has it; what comes from peers
// goes out as it comes, piece by piece. After the end of the input a peer is told so, and its circuit goes on until the
// peer has ended too.
type pump struct {
	in  *feed
	out *events
}

// newPump starts to read standard input, of which the feed bounds how much. An error of it ends the program. The caller
// closes the pump.
func newPump(p *program) *pump {
	m := &pump{in: newFeed(feedSize), out: p.events}
	// A read of a terminal cannot be unblocked, so nobody waits for this goroutine: it ends with the next read.
	go func() {
		if err := m.in.run(p.stdin); err != nil {
			p.fail(fmt.Errorf("stdin: %w", err))
		}
	}()
	return m
}

// close ends the input.
func (m *pump) close() {
	m.in.end(wtproto.Errorf(wtproto.CodeShutdown, "the program ends"))
}

func (m *pump) handle(ctx context.Context, n int, c circuit) (traffic, error) {
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
	early, err := duplex(abort, send, receive)
	moved.early = early
	if err != nil {
		return moved, err
	}
	return moved, c.Close()
}

// receive writes out what comes from circuit n, until its end.
func (m *pump) receive(n int, c circuit) (received int64, err error) {
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
