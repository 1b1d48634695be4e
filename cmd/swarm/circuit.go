package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/splice"
	"github.com/swarmgate/swarmgate/wtproto"
)

// circuit is a connection with a peer: a client's or a native peer's.
type circuit interface {
	io.ReadWriter
	CloseWrite() error
	Reset(code wtproto.Code)
	Close() error
	SetReadDeadline(t time.Time) error
}

// traffic is what passed through a circuit.
type traffic struct {
	sent, received int64 // bytes
}

// handler does the work of a command on a circuit, for example to send back what comes.
type handler interface {
	// handle serves c, which has the number n. It returns once both directions have ended, or with
	// an error if one of them was cut off; c is over then. ctx ends together with c.
	handle(ctx context.Context, n int, c circuit) (traffic, error)
}

// duplex runs both directions of a circuit until both have ended. If one fails, it calls abort
// with the code of that error, and abort must end the other direction. It returns the first error.
func duplex(abort func(code wtproto.Code), send, receive func() error) (err error) {
	var once sync.Once
	run := func(direction func() error) {
		if failed := direction(); failed != nil {
			once.Do(func() {
				err = failed
				abort(codeOf(failed))
			})
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { run(send) })
	run(receive)
	wg.Wait()
	return err
}

// copyAll copies src to dst until src ends, and then closes the write half of dst.
func copyAll(c *splice.Copy, dst, src circuit) error {
	if err := c.Run(dst, src); err != nil {
		return err
	}
	return dst.CloseWrite()
}

// echo is a handler that sends back what comes.
type echo struct{}

func (echo) handle(_ context.Context, _ int, c circuit) (traffic, error) {
	var back splice.Copy
	err := copyAll(&back, c, c)
	n := traffic{sent: back.Moved(), received: back.Moved()}
	if err != nil {
		c.Reset(codeOf(err))
		return n, err
	}
	return n, c.Close()
}

// relay connects a circuit with a TCP connection. It returns once both directions have ended, or
// with an error if one was cut off. Both connections are over then.
func relay(c circuit, service discovery.Stream) (traffic, error) {
	var toPeer, toService splice.Copy
	abort := func(code wtproto.Code) {
		c.Reset(code)
		service.Reset(code)
	}
	lost := make(chan error, 2)
	for _, end := range []any{c, service} {
		if w, ok := end.(discovery.Watched); ok {
			stop := w.OnLost(func(err error) {
				lost <- err
				abort(codeOf(err))
			})
			defer stop()
		}
	}
	err := duplex(abort,
		func() error { return copyAll(&toPeer, c, service) },
		func() error { return copyAll(&toService, service, c) })
	if err == nil {
		err = errors.Join(c.Close(), service.Close())
	} else {
		select {
		case err = <-lost: // the copies know only that it is over
		default:
		}
	}
	return traffic{sent: toPeer.Moved(), received: toService.Moved()}, err
}
