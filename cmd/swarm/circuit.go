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

// traffic is what passed on a circuit.
type traffic struct {
	sent, received int64 // bytes
	early          bool  // the peer had ended its direction before this end did
}

// handler does with a circuit what the command is there for.
type handler interface {
	// handle returns once both directions of c, which has the number n, have ended, or one was cut off, which is an error. c is
	// over then. The end of ctx comes with that of c, and ends what else there is to wait for.
	handle(ctx context.Context, n int, c circuit) (traffic, error)
}

// duplex runs both directions of a circuit. The first one that fails is the cause, and abort has to end the other one. It
// reports whether receive was the first to end.
func duplex(abort func(code wtproto.Code), send, receive func() error) (early bool, err error) {
	var once, ended sync.Once
	run := func(direction func() error, isFirst func()) {
		failed := direction()
		ended.Do(isFirst)
		if failed != nil {
			once.Do(func() {
				err = failed
				abort(codeOf(failed))
			})
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { run(send, func() {}) })
	run(receive, func() { early = true })
	wg.Wait()
	return early, err
}

// copyAll copies src to dst until src ends, and passes on the end.
func copyAll(c *splice.Copy, dst, src circuit) error {
	if err := c.Run(dst, src); err != nil {
		return err
	}
	return dst.CloseWrite()
}

// echo sends back what comes.
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

// relay connects a circuit with a TCP connection until both directions have ended, or one was cut off, which is an error. Both
// are over then.
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
	early, err := duplex(abort,
		func() error { return copyAll(&toPeer, c, service) },
		func() error { return copyAll(&toService, service, c) })
	if err == nil {
		err = errors.Join(c.Close(), service.Close())
	} else {
		select {
		case err = <-lost: // the copies were told only that it is over
		default:
		}
	}
	return traffic{sent: toPeer.Moved(), received: toService.Moved(), early: early}, err
}
