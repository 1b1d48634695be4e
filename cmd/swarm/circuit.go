package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
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

// crowd numbers circuits and tells of them. Any number of goroutines may use it.
type crowd struct {
	events  *events
	handler handler
	once    func(traffic, error) // if it is set, one circuit only is served, and told of here at its end
	count   atomic.Int64
}

// errOne is what all circuits but the first one get if only one is wanted.
var errOne = wtproto.Errorf(wtproto.CodeDeclined, "the program serves one peer")

// serve handles a circuit until it is over, and returns what passed and why it was cut off, if so.
func (w *crowd) serve(ctx context.Context, c circuit, p peer) (traffic, error) {
	return w.serveWith(ctx, c, p, w.handler.handle)
}

// serveWith is serve with another handle.
func (w *crowd) serveWith(
	ctx context.Context, c circuit, p peer, handle func(context.Context, int, circuit) (traffic, error),
) (traffic, error) {
	n := int(w.count.Add(1))
	if w.once != nil && n > 1 {
		c.Reset(errOne.Code)
		return traffic{}, errOne
	}
	w.events.peer(n, p)
	moved, err := handle(ctx, n, c)
	w.events.end(n, moved, err)
	if w.once != nil {
		w.once(moved, err)
	}
	return moved, err
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

// forward connects each circuit with a TCP service.
type forward struct {
	address string
	dialer  *discovery.TCPDialer
}

// newForward returns a handler for the service at address. The caller closes it.
func newForward(address hostPort) (*forward, error) {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		return nil, err
	}
	return &forward{address: string(address), dialer: discovery.NewTCPDialer(policy, discovery.SourceConfigured)}, nil
}

func (f *forward) handle(ctx context.Context, _ int, c circuit) (traffic, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	service, err := f.dialer.Dial(ctx, f.address)
	if err != nil {
		c.Reset(wtproto.CodePeerUnreachable)
		return traffic{}, err
	}
	return relay(c, service)
}

// close ends all connections with the service.
func (f *forward) close() { f.dialer.Close() }
