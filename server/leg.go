package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// leg is a client's end of a circuit: a place among its session's circuits, then a stream, which the gateway opens
// or the client brings with ACCEPT. Whoever reserved it calls release in the end.
type leg struct {
	// constant after reserve
	session   *session
	circuit   *circuit     // set before its run
	peer      wtproto.Peer // what the client is told; Circuit is set by acquire
	offerOnly bool

	credit *credit // set by acquire

	stream stream       // owned by acquire's caller
	opened bool         // the gateway opened the stream, and owes it a PEER; owned by acquire's caller
	told   bool         // the client knows of the circuit; owned by acquire's caller
	answer chan answer  // of the client to an offer; takes one
	state  offeredState // guarded by session.mu

	finished atomic.Bool // CloseWrite was called
}

var errEnded = errors.New("server: the circuit has ended")

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

// tryOpen gets a stream from the link, if it has one and the client takes streams unasked.
func (l *leg) tryOpen() error {
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
	l.stream, l.opened = s, true
	return nil
}

// acquire gets the leg a circuit id and, where tryOpen did not, a stream: it makes an offer and waits for the client's
// ACCEPT. It returns an [*wtproto.Error] when there will be none: CodeDeclined (with Remote), CodeWithdrawn after the
// offer's time, or ctx's cause.
func (l *leg) acquire(ctx context.Context) error {
	if err := l.session.register(l); err != nil {
		return err
	}
	if l.stream != nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.session.cfg.OfferTimeout,
		wtproto.Errorf(wtproto.CodeWithdrawn, "no answer to the offer in %v", l.session.cfg.OfferTimeout))
	defer cancel()
	select {
	case a := <-l.answer:
		return l.take(a)
	case <-l.session.ctx.Done():
	case <-ctx.Done():
	}
	if a, ok := l.session.withdraw(l, codeOf(context.Cause(ctx))); ok {
		return l.take(a) // the answer came meanwhile
	}
	if err := context.Cause(l.session.ctx); err != nil {
		return clientGone("the client's session ended", err)
	}
	return context.Cause(ctx)
}

func (l *leg) take(a answer) error {
	if a.stream == nil {
		return &wtproto.Error{Code: wtproto.CodeDeclined, Remote: true, Reason: "the client declined with " + a.code.String()}
	}
	l.stream, l.told = a.stream, true
	return nil
}

// announce makes the stream a circuit to the client, once its other end is sure.
func (l *leg) announce() error {
	l.credit.w = l.stream
	if !l.opened {
		return nil
	}
	l.told = true
	l.stream.SetWriteDeadline(time.Now().Add(l.session.cfg.FirstFrameTimeout))
	_, err := l.stream.Write(l.peer.Append(nil))
	l.stream.SetWriteDeadline(time.Time{})
	return err
}

// onStop calls abort when the client stops reading for good, which nobody would notice while both directions wait for
// something else.
func (l *leg) onStop(abort func(error)) (stop func() bool) {
	ctx := l.stream.Context()
	return context.AfterFunc(ctx, func() {
		if e, ok := errors.AsType[*wtproto.Error](l.stream.convert(context.Cause(ctx))); ok { // else we ended it
			abort(e)
		}
	})
}

// release gives the place back.
func (l *leg) release() { l.session.release(l) }

// Write sends within the client's credit.
func (l *leg) Write(b []byte) (int, error) { return l.credit.Write(b) }

// Read returns what the client sends.
func (l *leg) Read(b []byte) (int, error) { return l.stream.Read(b) }

// SetReadDeadline is that of the stream.
func (l *leg) SetReadDeadline(t time.Time) error { return l.stream.SetReadDeadline(t) }

// CloseWrite ends what is sent to the client; a later reset does not take it back.
func (l *leg) CloseWrite() error {
	l.finished.Store(true)
	return l.stream.CloseWrite()
}

// reset ends what still runs in either direction.
func (l *leg) reset(code wtproto.Code) {
	if l.credit != nil {
		l.credit.end(errEnded)
	}
	if l.stream == nil {
		return
	}
	if l.session.ctx.Err() != nil {
		// The end of the session is the end of its streams. Chromium's pages crash where a stream is reset at the same time.
		past := time.Unix(1, 0)
		l.stream.SetReadDeadline(past)
		l.stream.SetWriteDeadline(past)
		return
	}
	if l.told && l.session.link.losesCodes() {
		l.session.send(wtproto.Withdraw{Circuit: l.peer.Circuit, Code: code}.Append(nil))
	}
	l.stream.CancelRead(code)
	if !l.finished.Load() {
		l.stream.CancelWrite(code)
	}
}

// free is called after both directions have ended.
func (l *leg) free() { l.stream.CancelRead(wtproto.CodeNone) }
