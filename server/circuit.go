package server

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

// end is one of the two ends of a circuit.
type end interface {
	io.ReadWriter
	CloseWrite() error
	SetReadDeadline(time.Time) error
	// free is called after both directions have ended.
	free()
}

// peerEnd is a native peer's end.
type peerEnd struct{ discovery.Stream }

func (e peerEnd) free() { e.Close() }

// circuit joins a client with a peer or with another client. Its run is one goroutine, and a second one while bytes can pass.
type circuit struct {
	// constant after the topic's loop made it
	topic   *topic
	pair    *pair
	network string
	near    *leg
	far     *leg              // the other client's, or nil
	peer    discovery.Stream  // the peer's end, or nil
	inbound discovery.Inbound // to be accepted for peer, or nil

	heldToPeer, heldToClient int64 // see stall

	toPeer, toClient splice.Copy
	resetOnce        sync.Once

	mu     sync.Mutex
	cause  error // guarded by mu; the first reason to end, nil after a regular end
	opened bool  // guarded by mu; the ends belong to abort too, not to open alone
}

// verdict is how a circuit ended, for the topic's loop.
type verdict int

const (
	ended   verdict = iota // by one of its ends: not to be made again
	broken                 // the connection with the peer was lost
	refused                // it never opened, and not by the client's will
)

// run opens the circuit, moves its bytes, and tells the topic of its end. ctx ends only its opening.
func (c *circuit) run(ctx context.Context) {
	v := c.serve(ctx)
	c.near.release()
	if c.far != nil {
		c.far.release()
	}
	c.topic.post(circuitEnded{c, v})
}

func (c *circuit) serve(ctx context.Context) verdict {
	if err := c.settle(c.open(ctx)); err != nil {
		code := codeOf(err)
		c.reset(code)
		c.topic.log.Debug("circuit not opened", "network", c.network, "code", code, "error", err)
		switch {
		case code == wtproto.CodeDeclined:
			return ended
		case peerLost(err):
			return broken
		}
		return refused
	}
	began := time.Now()
	cfg := c.topic.router.cfg
	defer c.topic.router.meters.measure(c)()
	cfg.Observer.circuitOpened(c.network)
	c.topic.post(circuitOpened{c})
	c.topic.router.stalls.add(c)
	c.splice()
	c.topic.router.stalls.remove(c)
	cause := c.ended()
	cfg.Observer.circuitEnded(CircuitEnd{
		Network: c.network, Code: codeOf(cause),
		ToClient: c.toClient.Moved(), ToPeer: c.toPeer.Moved(), Lasted: time.Since(began),
	})
	if peerLost(cause) {
		return broken
	}
	return ended
}

// peerLost reports whether err says that the connection with a peer was lost. Where it was the client's, the error has Remote.
func peerLost(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Code == wtproto.CodePeerGone && !e.Remote
}

// open brings both ends up. Nothing is shown to a client before the other end is sure.
func (c *circuit) open(ctx context.Context) error {
	if c.inbound != nil {
		s, err := c.inbound.Accept()
		if err != nil {
			return err
		}
		c.peer = s
	}
	for _, step := range []func(*leg) error{
		(*leg).tryOpen,
		func(l *leg) error { return l.acquire(ctx) },
		(*leg).announce,
	} {
		for _, l := range c.legs() {
			if err := step(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle ends the opening with err, or with what abort was called for meanwhile.
func (c *circuit) settle(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = true
	if c.cause == nil {
		c.cause = err
	}
	return c.cause
}

// other returns the end that is not near.
func (c *circuit) other() end {
	if c.far != nil {
		return c.far
	}
	return peerEnd{c.peer}
}

// splice copies both ways until both have ended.
func (c *circuit) splice() {
	far := c.other()
	for _, l := range c.legs() {
		stop := l.onStop(c.abort)
		defer stop()
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.copy(&c.toClient, c.near, far) })
	c.copy(&c.toPeer, far, c.near)
	wg.Wait()
	if cause := c.ended(); cause != nil {
		c.reset(codeOf(cause)) // waits for abort, since free knows no code
	}
	c.near.free()
	far.free()
}

func (c *circuit) copy(cp *splice.Copy, dst, src end) {
	err := cp.Run(dst, src)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err != nil {
		c.abort(err)
	}
}

// abort ends the circuit with err unless it has a cause already: both ends are reset with its code.
func (c *circuit) abort(err error) {
	c.mu.Lock()
	first := c.cause == nil
	if first {
		c.cause = err
	}
	opened := c.opened
	c.mu.Unlock()
	if first && opened {
		c.reset(codeOf(err))
	}
}

// reset ends both ends, once, and returns after it has.
func (c *circuit) reset(code wtproto.Code) {
	c.resetOnce.Do(func() {
		for _, l := range c.legs() {
			l.reset(code)
		}
		if c.peer != nil {
			c.peer.Reset(code)
		}
	})
}

// legs returns the clients' ends.
func (c *circuit) legs() []*leg {
	if c.far != nil {
		return []*leg{c.near, c.far}
	}
	return []*leg{c.near}
}

func (c *circuit) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// codeOf returns the code that err carries, CodeNone for nil and CodeInternal for an error without one.
func codeOf(err error) wtproto.Code {
	if err == nil {
		return wtproto.CodeNone
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e.Code
	}
	return wtproto.CodeInternal
}
