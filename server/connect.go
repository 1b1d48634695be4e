package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is a session's part in CONNECT: a stream of the client that asks for a further
// circuit.

// asking is a CONNECT that waits for its answer. Until then nobody reads its stream: what the
// client sends behind CONNECT waits there, and so does its FIN.
type asking struct {
	stream stream
	ctx    context.Context         // of the opening of the circuit, not of the circuit
	cancel context.CancelCauseFunc // called too when the session ends, or the client takes the CONNECT back
	taken  atomic.Bool             // the stream belongs to a circuit, or to nobody after the end of ctx
	answer chan error              // takes one: nil if the stream is a circuit now, else why not
	way    *direction              // what the goroutine of the CONNECT is to run then; nil if the circuit is over; set before the answer
}

func newAsking(s stream) *asking {
	a := &asking{stream: s, answer: make(chan error, 1)}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	return a
}

// take gives the stream to the circuit that calls it, unless the CONNECT has ended. The circuit
// answers it, once it has opened or failed to.
func (a *asking) take() error {
	if a.taken.Swap(true) {
		return context.Cause(a.ctx)
	}
	return nil
}

// begins answers a CONNECT whose stream a circuit has.
func (a *asking) begins(way *direction) {
	a.way = way
	a.answer <- nil
}

var (
	errNotJoined = wtproto.Errorf(wtproto.CodeLeft, "the topic is not joined in this session: join it first")
	errGoingAway = wtproto.Errorf(wtproto.CodeShutdown, "the session is going away")
	// errTakenBack is why a CONNECT ends that the client takes back.
	errTakenBack = wtproto.Errorf(wtproto.CodeWithdrawn, "the client has taken its CONNECT back")
)

// connect answers CONNECT, the first frame of str. It returns when the stream is a circuit, of which
// the caller is to run what is returned, unless that is nil, or has been refused. An error ends the
// session: CONNECT is malformed, or comes before HELLO.
func (s *session) connect(str stream, payload []byte) (*direction, error) {
	m, err := wtproto.ParseConnect(payload)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	greeted := s.greeted
	s.mu.Unlock()
	if !greeted {
		return nil, wtproto.Errorf(wtproto.CodeProtocol, "CONNECT before HELLO")
	}
	a := newAsking(str)
	err = s.connectWith(m, a)
	if err == nil {
		s.cfg.Observer.connectAnswered(wtproto.CodeNone)
		return a.way, nil
	}
	answer := s.refusal(err)
	if errors.Is(err, errTakenBack) { // nobody reads the answer
		s.cfg.Observer.connectAnswered(errTakenBack.Code)
	} else {
		s.cfg.Observer.connectAnswered(answer.Code)
	}
	s.refuseStream(str, answer)
	return nil, nil
}

// connectWith has the topic's loop deal with a CONNECT, and waits for the answer. The error says
// why there is no circuit.
func (s *session) connectWith(m wtproto.Connect, a *asking) error {
	s.mu.Lock()
	sub, goaway := s.joined[m.Topic], s.goaway
	s.mu.Unlock()
	switch {
	case sub == nil:
		s.pace(s.from, framesOfEachAsk)
		return errNotJoined
	case goaway:
		return errGoingAway
	}
	s.pace(s.principal, framesOfEachAsk)
	sub.topic.post(connectAsked{sub, m.Network, string(m.ID), a})
	var cause error
	select {
	case err := <-a.answer:
		return err
	case <-s.ctx.Done():
		cause = clientGone("the client's session ended", nil)
	case <-a.stream.Context().Done(): // by STOP_SENDING, or with the connection
		cause = a.stream.convert(context.Cause(a.stream.Context()))
		if codeOf(cause) != wtproto.CodePeerGone {
			cause = errTakenBack
		}
	case <-sub.topic.gone: // it has answered, or never heard of the CONNECT
		select {
		case err := <-a.answer:
			return err
		default:
			return errNotJoined
		}
	}
	a.cancel(cause)
	if a.taken.Swap(true) {
		return <-a.answer
	}
	sub.topic.post(connectEnded{sub, a})
	return cause
}

// refusal returns what REFUSED tells about err.
func (s *session) refusal(err error) wtproto.Refused {
	e := asError(err)
	m := wtproto.Refused{Code: e.Code, Reason: reasonFor(err, s.cfg.ShowAddresses)}
	switch e.Code {
	case wtproto.CodePeerUnreachable, wtproto.CodeForbidden, wtproto.CodeCircuitLimit, wtproto.CodeBusy,
		wtproto.CodeRateLimited, wtproto.CodePeerGone:
	case wtproto.CodeDeclined:
		if e.Remote {
			m.Reason = reasonNoStreams
		}
	case wtproto.CodeLeft:
		if e.Remote {
			m.Code = wtproto.CodePeerGone
		}
	case wtproto.CodeShutdown:
		s.mu.Lock()
		if !s.goaway { // it is the other side that goes away
			m.Code = wtproto.CodePeerGone
		}
		s.mu.Unlock()
	default:
		m.Code = wtproto.CodePeerUnreachable
	}
	return m
}

// refuseStream tells the client that str becomes no circuit. A session that ends has no stream
// reset (see [leg.reset]).
func (s *session) refuseStream(str stream, m wtproto.Refused) {
	if s.ctx.Err() != nil {
		return
	}
	str.SetWriteDeadline(time.Now().Add(s.cfg.FirstFrameTimeout))
	_, err := str.Write(m.Append(nil))
	if err == nil {
		err = str.CloseWrite()
	}
	str.CancelRead(m.Code)
	if err != nil {
		str.CancelWrite(m.Code)
	}
}
