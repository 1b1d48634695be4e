package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
)

// errEnough ends a program that was to serve one peer, which has ended.
var errEnough = errors.New("the peer has ended")

// attend is on a topic through a gateway: it joins, calls serve and leaves. The context of serve ends, with its cause, when the
// program or the session does, or end was called, and so do all circuits then; serve returns after that, or when the topic
// has no more circuits. attend returns why it has ended, unless that was to be expected.
func (g *gatewayFlags) attend(
	p *program, topic topicArg, opts client.JoinOptions,
	serve func(ctx context.Context, end context.CancelCauseFunc, t *client.Topic) error,
) error {
	c, err := g.dial(p)
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := c.Join(p.ctx, topic.Topic, opts)
	if err != nil {
		return err
	}
	p.events.joined(topic)
	if err := shareNew(p.events, c.Session(), topic); err != nil {
		return err
	}

	ctx, end := context.WithCancelCause(p.ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() {
		select {
		case <-c.Done():
			end(c.Err())
		case <-ctx.Done():
			c.Close() // and all circuits
		}
	})
	watchers.Go(func() {
		watch(ctx, t, func(s client.Status) { p.events.status(topic.Topic, s) }, func() { p.events.present(t.Peers()) })
	})
	watchers.Go(func() { follow(ctx, c, p.events) })
	end(serve(ctx, end, t))
	watchers.Wait()
	cause := context.Cause(ctx)
	if p.ctx.Err() != nil || errors.Is(cause, errEnough) {
		cause = nil
	}
	p.events.left(topic.Topic, cause)
	return cause
}

// shareNew prints what to tell others of a topic that the program has made.
func shareNew(e *events, s client.Session, topic topicArg) error {
	switch {
	case !topic.isNew:
		return nil
	case topic.code != "":
		return e.code(topic.code)
	}
	u, err := gatewayURL(s, topic)
	if err != nil {
		return err
	}
	return e.share(u)
}

// member is on a topic through a gateway and has h handle its circuits until the program or the
// session ends or, with once, the first circuit does, and returns why unless that was to be
// expected.
func (g *gatewayFlags) member(p *program, topic topicArg, opts client.JoinOptions, once bool, h handler) error {
	if once && opts.MaxPeers == 0 {
		opts.MaxPeers = 1
	}
	return g.attend(p, topic, opts, func(ctx context.Context, end context.CancelCauseFunc, t *client.Topic) error {
		w := &crowd{events: p.events, handler: h}
		if once {
			w.once = func(moved traffic, err error) {
				if err == nil {
					err = errEnough
					if moved.early {
						settle(ctx, t)
					}
				}
				end(err)
			}
		}
		var circuits sync.WaitGroup
		defer circuits.Wait() // if the topic alone was taken away, they go on
		for conn, err := range t.Conns(ctx) {
			if err != nil {
				return err
			}
			circuits.Go(func() { w.serve(ctx, conn, peerOf(conn)) }) // the events have its error
		}
		return t.Err()
	})
}

// statusDelay is longer than the gateway takes to say that there is a circuit.
const statusDelay = 2 * time.Second

// settle waits until the gateway, by its STATUS, has no circuits on t. A peer that ended its direction early may not have read
// yet what it was sent, and what the gateway still holds of it would be lost with the session.
func settle(ctx context.Context, t *client.Topic) {
	pause(ctx, statusDelay)
	if t.Status().Connected == 0 {
		return
	}
	for e := range t.Events(ctx) {
		if s, ok := e.(client.Status); ok && s.Connected == 0 {
			return
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// watch tells of each STATUS of t, and of each change of its peers, until ctx ends.
func watch(ctx context.Context, t *client.Topic, tell func(client.Status), changed func()) {
	for e := range t.Events(ctx) {
		if s, ok := e.(client.Status); ok {
			tell(s)
		} else {
			changed()
		}
	}
}

// follow tells how the session is lost and found again, until ctx ends.
func follow(ctx context.Context, c *client.Client, tell *events) {
	begun := false
	for e := range c.Events(ctx) {
		switch e := e.(type) {
		case client.Connected:
			if begun { // else it is the session that the topic was joined in
				tell.connected(e.Gateway)
			}
			begun = true
		case client.Disconnected:
			tell.disconnected(e.Err)
		case client.Reconnecting:
			tell.reconnecting(e)
		}
	}
}
