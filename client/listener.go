package client

import (
	"context"
	"net"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Listen returns a listener that accepts the circuits of the topic, those that peers open beside
// the first one too: the topic is joined with [JoinOptions.Streams] from now on. A server such as
// that of net/http takes it: http.Serve(topic.Listen(), handler).
//
// The listener's Accept is [Topic.Accept] without a context, and shares the circuits with it. Its
// Close ends Accept with [net.ErrClosed], and neither the topic nor any circuit.
//
// The first circuit with a peer is among what Accept returns, whether or not the peer ever sends
// on it. [net/http.Server.Shutdown] takes such a connection for one whose request is about to
// come, and waits until it is 5 s old; Close of the http.Server does not wait.
func (t *Topic) Listen() net.Listener {
	t.welcomeStreams()
	l := &listener{topic: t}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// welcomeStreams has peers open further circuits.
func (t *Topic) welcomeStreams() {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	if t.err != nil || t.opts.Streams {
		return
	}
	t.opts.Streams = true
	if t.client.session != nil && t.knownLocked() {
		t.sendJoinLocked()
	}
}

type listener struct {
	topic  *Topic
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
}

func (l *listener) Accept() (net.Conn, error) {
	if l.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	c, err := l.topic.Accept(l.ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l *listener) Close() error {
	l.cancel(net.ErrClosed)
	return nil
}

// Addr names the topic in a way that does not tell it.
func (l *listener) Addr() net.Addr { return addr{wtproto.ALPN, l.topic.key.Short()} }
