package client

import (
	"context"
	"net"
	"slices"
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Listen returns a listener that accepts the circuits of the topic, those that peers open beside
// the first one too: the topic is joined with [JoinOptions.Streams] as long as the listener is
// open. A server such as that of net/http takes it: http.Serve(topic.Listen(), handler).
//
// The listener's Accept is [Topic.Accept] without a context, and shares the circuits with it. Its
// Close ends Accept with [net.ErrClosed], and neither the topic nor any circuit that was accepted.
// After the Close of the last listener peers that open streams are declined at once, also with
// [JoinOptions.Streams], unless the program has called Topic.Accept or Topic.Conns itself.
//
// The end of the topic ends Accept too: with [net.ErrClosed] after [Topic.Leave], otherwise with
// the error of [Topic.Err]. So end an [net/http.Server] first, and leave the topic after that:
//
//	web := &http.Server{Handler: handler}
//	go web.Serve(topic.Listen())
//	<-stop                             // for example of signal.NotifyContext
//	web.Shutdown(ctx)                  // closes the listener, and waits for requests
//	c.Shutdown(ctx)                    // peers get all that was written
//
// Accept returns the first circuit with a peer too, even if the peer never sends on it.
// [net/http.Server.Shutdown] expects a request on such a connection, and waits until the
// connection is 5 s old. [net/http.Server.Close] does not wait.
func (t *Topic) Listen() net.Listener {
	t.client.mu.Lock()
	t.accepts, t.listened = true, true
	t.listeners++
	t.welcomeLocked()
	t.client.mu.Unlock()
	l := &listener{topic: t}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// welcomesLocked reports whether peers may open further circuits: a listener is open, or the
// program has asked for streams and accepts them itself.
func (t *Topic) welcomesLocked(streams bool) bool {
	return t.listeners > 0 || streams && (t.direct || !t.listened)
}

// welcomeLocked tells the gateway whether peers may open further circuits, if that has changed.
func (t *Topic) welcomeLocked() {
	if welcome := t.welcomesLocked(t.streams); t.err == nil && welcome != t.opts.Streams {
		t.opts.Streams = welcome
		if t.client.session != nil && t.knownLocked() {
			t.sendJoinLocked()
		}
	}
}

// unlisten notes the end of a listener.
func (t *Topic) unlisten() {
	t.client.mu.Lock()
	t.listeners--
	t.welcomeLocked()
	var refused []*Conn
	if t.listeners == 0 && !t.direct {
		t.queue = slices.DeleteFunc(t.queue, func(c *Conn) bool {
			if c.peer.Further {
				refused = append(refused, c)
			}
			return c.peer.Further
		})
	}
	t.client.mu.Unlock()
	resetAll(refused, wtproto.CodeDeclined)
}

type listener struct {
	topic  *Topic
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	if l.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	c, err := l.topic.accept(l.ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.cancel(net.ErrClosed)
		l.topic.unlisten()
	})
	return nil
}

// Addr names the topic in a way that does not tell it.
func (l *listener) Addr() net.Addr { return addr{wtproto.ALPN, l.topic.key.Short()} }
