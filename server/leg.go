package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// leg is a client's end of a circuit: a place among its session's circuits, then a stream, which
// the gateway opens or the client brings with ACCEPT. The caller of reserve calls release in the
// end.
type leg struct {
	// constant after reserve
	session   *session
	circuit   *circuit     // set before its run
	peer      wtproto.Peer // what the client is told; Circuit is set by acquire
	offerOnly bool
	asked     *asking // the CONNECT that it answers, or nil; set before the circuit's run

	credit *credit // set by acquire
	waits  waits   // in stream

	stream    stream       // owned by acquire's caller
	opened    bool         // the client opens it by CONNECT, or the gateway has; it owes it a PEER; owned by acquire's caller
	announced bool         // the client knows of the circuit; owned by acquire's caller
	answer    chan answer  // of the client to an offer; takes one; set by register
	state     offeredState // guarded by session.mu

	finished atomic.Bool // CloseWrite was called
}

type offeredState int

const (
	notOffered offeredState = iota
	offered
	answered // or withdrawn
)

// answer is what a client said to an offer.
type answer struct {
	stream stream // nil for DECLINE
	code   wtproto.Code
}

// tryOpen gets the stream of a CONNECT, or one from the link, if it has one and the client takes
// streams unasked.
func (l *leg) tryOpen() error {
	if l.asked != nil {
		l.take(l.asked.stream)
		l.opened = true
		return nil
	}
	if l.offerOnly {
		return nil
	}
	s, err := l.session.link.open()
	if errors.Is(err, errNoCredit) {
		return nil
	}
	if err != nil {
		return err
	}
	l.take(s)
	l.opened = true
	return nil
}

// take gets the leg its stream.
func (l *leg) take(s stream) {
	l.stream = s
	l.waits.in(s)
}

// acquire gets the leg a circuit id and, where tryOpen did not, a stream: it makes an offer and
// waits for the client's ACCEPT. It returns an [*wtproto.Error] when there will be none:
// CodeDeclined (with Remote), CodeWithdrawn after the offer's time, or why the circuit is over.
func (l *leg) acquire() error {
	if err := l.session.register(l); err != nil {
		return err
	}
	if l.stream != nil {
		return nil
	}
	timeout := time.NewTimer(l.session.cfg.OfferTimeout)
	defer timeout.Stop()
	var err error
	select {
	case a := <-l.answer:
		return l.answered(a)
	case <-l.circuit.over.Done():
		err = l.circuit.over.cause()
	case <-timeout.C:
		err = wtproto.Errorf(wtproto.CodeWithdrawn, "no answer to the offer in %v", l.session.cfg.OfferTimeout)
	}
	if a, ok := l.session.withdraw(l, codeOf(err)); ok {
		return l.answered(a) // it came meanwhile
	}
	return err
}

func (l *leg) answered(a answer) error {
	if a.stream == nil {
		return &wtproto.Error{Code: wtproto.CodeDeclined, Remote: true, Reason: "the client declined with " + a.code.String()}
	}
	l.take(a.stream)
	l.announced = true
	return nil
}

// announce makes the stream a circuit to the client, once its other end is sure.
func (l *leg) announce() error {
	l.credit.w = l.stream
	if !l.opened {
		return nil
	}
	if l.asked != nil {
		if err := l.asked.take(); err != nil {
			return err
		}
	}
	l.announced = true
	l.waits.setWrite(time.Now().Add(l.session.cfg.FirstFrameTimeout))
	_, err := l.stream.Write(l.peer.Append(nil))
	l.waits.setWrite(time.Time{})
	l.stream.secure() // a peer that resets at once is a peer too, and its code says why
	return l.explain(err)
}

// explainWait is how long a client has to say why it has reset a stream without a code.
const explainWait = time.Second

// explain returns err, the client's end of its stream. A reset of a WebTransport stream overtakes
// what explains it, and often carries no code: then explain waits for DECLINE or for the end of
// the session, which end the circuit with their own cause.
func (l *leg) explain(err error) error {
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok || !e.Remote || e.Code != wtproto.CodePeerReset || !l.session.link.losesCodes() {
		return err
	}
	timeout := time.NewTimer(explainWait)
	defer timeout.Stop()
	select {
	case <-l.circuit.over.Done():
	case <-timeout.C:
	}
	return err
}

// hasStopped reports whether the client may have stopped reading for good.
func (l *leg) hasStopped() bool { return l.stream.Context().Err() != nil && !l.finished.Load() }

// stopped ends the circuit if the client has stopped reading for good, which nobody notices while
// both directions wait for something else.
func (l *leg) stopped() {
	if e, ok := errors.AsType[*wtproto.Error](l.stream.convert(context.Cause(l.stream.Context()))); ok { // else we ended it
		l.circuit.over.end(l.explain(e))
	}
}

// isLost reports whether the client has lost the stream, which over WebSocket may happen to one
// alone. If it has lost the session too, that ends the pair.
func (l *leg) isLost() bool {
	s, ok := l.stream.(*socket)
	return ok && s.isLost()
}

// unread returns how many bytes the stream holds that have come and were not read, at most. moved
// is how many were read of it.
func (l *leg) unread(moved int64) int64 {
	if s, ok := l.stream.(*socket); ok {
		return s.unread()
	}
	return window(initialStreamWindow, streamWindow, moved)
}

// release gives the place back.
func (l *leg) release() { l.session.release(l) }

// Write sends within the client's credit.
func (l *leg) Write(b []byte) (int, error) { return l.credit.Write(b) }

// Read returns what the client sends.
func (l *leg) Read(b []byte) (int, error) { return l.stream.Read(b) }

// onReadable returns false: QUIC calls nobody when bytes come.
func (l *leg) onReadable(func()) bool { return false }

// SetReadDeadline is that of the stream, until the circuit is over.
func (l *leg) SetReadDeadline(t time.Time) error { return l.waits.setRead(t) }

// CloseWrite ends what is sent to the client; a later reset does not take it back.
func (l *leg) CloseWrite() error {
	l.finished.Store(true)
	return l.stream.CloseWrite()
}

// reset ends what still runs in either direction, after the circuit is over. If the session ends,
// its link ends the streams. The stream of an unanswered CONNECT does not belong to the circuit.
func (l *leg) reset(code wtproto.Code) {
	if l.asked != nil && !l.announced {
		l.waits.out()
		return
	}
	l.waits.expire()
	if l.stream == nil || l.session.isEnding() {
		return
	}
	if l.announced && l.session.link.losesCodes() {
		l.session.send(wtproto.Withdraw{Circuit: l.peer.Circuit, Code: code}.Append(nil))
	}
	l.stream.CancelRead(code)
	if !l.finished.Load() {
		l.stream.CancelWrite(code)
	}
}

// free is called after both directions have ended.
func (l *leg) free() {
	if !l.session.isEnding() {
		l.stream.CancelRead(wtproto.CodeNone)
	}
}
