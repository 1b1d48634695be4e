package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
)

// errServed ends a program that was to serve one peer: that peer has ended.
var errServed = errors.New("the peer has ended")

// joinTopic joins a topic through a gateway, calls serve, and leaves the topic. The context of
// serve ends, with its cause, if the program or the session ends or serve calls end; all circuits
// end then too. serve must return after that, and may return before, when the topic has no more
// circuits. joinTopic returns the cause, or nil if the program was ended or has served its one
// peer.
func (g *gatewayFlags) joinTopic(
	p *program, topic topicArg, opts client.JoinOptions,
	serve func(ctx context.Context, end context.CancelCauseFunc, m *meeting) error,
) error {
	c, err := g.dial(p)
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := joinMeeting(p.ctx, c, topic, opts)
	if err != nil {
		return err
	}
	defer m.close()
	t := m.topic
	p.events.joined(topic, m.key(), c.Session().Transport)
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
			if errors.Is(context.Cause(ctx), errServed) { // peers are to see no loss
				limited, cancel := context.WithTimeout(p.ctx, leaveTime)
				defer cancel()
				c.Shutdown(limited)
			}
			c.Close() // and all circuits
		}
	})
	watchers.Go(func() {
		reportTopic(ctx, t, func(s client.Status) { p.events.status(topic.Topic, s) }, func() { p.events.setPeers(t.Peers()) })
	})
	watchers.Go(func() { reportSession(ctx, c, p.events) })
	end(serve(ctx, end, m))
	watchers.Wait()
	cause := context.Cause(ctx)
	if p.ctx.Err() != nil || errors.Is(cause, errServed) {
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

// serveCircuits joins a topic through a gateway and gives its circuits to h, until the program or
// the session ends or, with once, the first circuit does. It returns what [gatewayFlags.joinTopic]
// does.
func (g *gatewayFlags) serveCircuits(p *program, topic topicArg, opts client.JoinOptions, once bool, h handler) error {
	if once && opts.MaxPeers == 0 {
		opts.MaxPeers = 1
	}
	return g.joinTopic(p, topic, opts, func(ctx context.Context, end context.CancelCauseFunc, m *meeting) error {
		w := &dispatcher{events: p.events, handler: h}
		if once {
			w.once = func(err error) {
				if err == nil {
					err = errServed
				}
				end(err)
			}
		}
		var circuits sync.WaitGroup
		defer circuits.Wait() // if the topic alone was taken away, they go on
		for conn, err := range m.conns(ctx) {
			if err != nil {
				return err
			}
			circuits.Go(func() { w.serve(ctx, conn, infoOf(conn)) }) // the events have its error
		}
		return m.topic.Err()
	})
}

// leaveTime is how long a program that has done its work waits until its peers have all that it has
// sent.
const leaveTime = time.Minute

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// reportTopic calls tell for each STATUS of t, and changed when its peers change, until ctx ends.
func reportTopic(ctx context.Context, t *client.Topic, tell func(client.Status), changed func()) {
	for e := range t.Events(ctx) {
		if s, ok := e.(client.Status); ok {
			tell(s)
		} else {
			changed()
		}
	}
}

// reportSession tells when the session is lost and when there is another one, until ctx ends.
func reportSession(ctx context.Context, c *client.Client, tell *events) {
	begun := false
	for e := range c.Events(ctx) {
		switch e := e.(type) {
		case client.Connected:
			if begun { // else it is the session that the topic was joined in
				tell.connected(e.Gateway, c.Session().Transport)
			}
			begun = true
		case client.Disconnected:
			tell.disconnected(e.Err)
		case client.Reconnecting:
			tell.reconnecting(e)
		}
	}
}
