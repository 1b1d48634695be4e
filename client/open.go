package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Open opens one more circuit with a peer, beside those that there are, and returns when the peer
// has answered: a TCP service gets another connection, any other peer another stream. This end is
// the initiator. Any number may be opened at once; gateways have limits, by default of 224 with one
// peer beside the first circuit, and of 256 in all for a session, here and at the other end. If ctx
// ends first, the peer is not asked any more; it does not matter after that.
//
// peer is one that was met on the topic, as [Conn.Peer], [Topic.Peers] or a [PeerJoined] tell: a
// circuit with it need not be open any more. While there is no session, Open waits.
//
// The chain of an error holds an [*wtproto.Error] unless ctx has ended: with Remote and, for
// example,
//   - CodeDeclined, if the other client has not joined with [JoinOptions.Streams],
//   - CodePeerUnreachable, if the gateway does not know the peer or it does not answer,
//   - CodeCircuitLimit, CodeRateLimited, CodeBusy, if there are too many circuits or attempts now,
//   - CodeForbidden, if the gateway does not let the two be connected;
//
// without Remote and with CodeCircuitLimit, if the client's own [Config.Budget] has no place, or
// CodePeerGone, if the session was lost meanwhile. After the topic's end it is that of
// [Topic.Err].
func (t *Topic) Open(ctx context.Context, peer Peer) (*Conn, error) {
	c, err := t.open(ctx, peer)
	if err != nil {
		return nil, fmt.Errorf("client: open: %w", err)
	}
	return c, nil
}

func (t *Topic) open(ctx context.Context, peer Peer) (*Conn, error) {
	s, err := t.joinedSession(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, t, peer)
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote {
		switch e.Code {
		case wtproto.CodePeerUnreachable, wtproto.CodePeerGone:
			t.unreachable(peer)
		case wtproto.CodeDeclined:
			err = fmt.Errorf("%w (in Go with JoinOptions.Streams or Topic.Listen)", err)
		}
	}
	return c, err
}

// joinedSession waits until a session has the topic.
func (t *Topic) joinedSession(ctx context.Context) (*session, error) {
	for ctx.Err() == nil {
		t.client.mu.Lock()
		s, held, err, changed := t.client.session, t.held, t.err, t.changed
		t.client.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case s != nil && held:
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil, context.Cause(ctx)
}

// connect asks for a circuit and waits for the answer.
func (s *session) connect(ctx context.Context, t *Topic, p Peer) (*Conn, error) {
	c := &Conn{session: s, topic: t}
	if !s.reserve(c) {
		return nil, wtproto.Errorf(wtproto.CodeCircuitLimit, "the session has %d circuits already, and no more are allowed", maxCircuits)
	}
	defer s.settled()
	st, err := s.link.open(ctx)
	switch {
	case err == nil:
		c.stream = st
		err = s.ask(ctx, c, p)
	case ctx.Err() == nil:
		err = s.fail(err)
	}
	if err != nil {
		s.remove(c)
		return nil, err
	}
	return c, nil
}

// ask sends CONNECT on the stream of c and makes a circuit of what PEER says. After an error the
// stream is reset.
func (s *session) ask(ctx context.Context, c *Conn, p Peer) error {
	stop := context.AfterFunc(ctx, func() { c.stream.reset(wtproto.CodeNone) }) // which ends Write and Next
	m, code, err := s.answered(c.stream, wtproto.Connect{Topic: c.topic.key, Network: p.Network, ID: p.ID})
	if !stop() {
		return context.Cause(ctx)
	}
	if err == nil && m.Topic != c.topic.key {
		code, err = wtproto.CodeProtocol, s.fail(wtproto.Errorf(wtproto.CodeProtocol, "PEER of another topic than CONNECT's"))
	}
	if err != nil {
		c.stream.reset(code)
		return err
	}
	c.id, c.peer = m.Circuit, newPeer(m)
	if code := s.place(c); code != wtproto.CodeNone {
		return s.fail(nil) // which it has ended
	}
	return c.topic.meet(c)
}

// answered writes CONNECT and reads what answers it. With an error comes the code to reset the
// stream with.
func (s *session) answered(st stream, m wtproto.Connect) (wtproto.Peer, wtproto.Code, error) {
	st.Write(m.Append(nil)) // if that fails, so does Next
	typ, payload, err := wtproto.NewReader(st).Next()
	switch reset, ok := errors.AsType[*resetError](err); {
	case errors.Is(err, net.ErrClosed): // ctx has ended
		return wtproto.Peer{}, wtproto.CodeNone, err
	case ok:
		return wtproto.Peer{}, reset.code, &wtproto.Error{Code: reset.code, Remote: true, Reason: "the circuit was refused"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return wtproto.Peer{}, wtproto.CodeProtocol, wtproto.Errorf(wtproto.CodeProtocol, "the gateway did not answer CONNECT")
	case err != nil:
		return wtproto.Peer{}, wtproto.CodeNone, s.fail(err)
	}
	switch typ {
	case wtproto.TypePeer:
		peer, err := wtproto.ParsePeer(payload)
		if err != nil {
			return peer, wtproto.CodeProtocol, s.fail(err)
		}
		return peer, wtproto.CodeNone, nil
	case wtproto.TypeRefused:
		no, err := wtproto.ParseRefused(payload)
		if err != nil {
			return wtproto.Peer{}, wtproto.CodeProtocol, s.fail(err)
		}
		return wtproto.Peer{}, no.Code, &wtproto.Error{Code: no.Code, Remote: true, Reason: no.Reason}
	}
	return wtproto.Peer{}, wtproto.CodeProtocol, wtproto.Errorf(wtproto.CodeProtocol, "the gateway answered CONNECT with %v", typ)
}

// meet makes c, which was asked for, a circuit of the topic, unless that or the session has ended.
func (t *Topic) meet(c *Conn) error {
	t.client.mu.Lock()
	err := t.err
	if err == nil && c.session.over {
		err = circuitError(context.Cause(c.session.ctx))
	}
	if err == nil {
		t.takeLocked(c)
		c.stream.onReset(c.wasReset)
	}
	t.client.mu.Unlock()
	if err != nil {
		c.Reset(wtproto.CodeLeft)
	}
	return err
}
