package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// maxFrames is how many bytes of frames may wait until the gateway reads them. CREDIT and PONG do
// not count: they are kept as what is to be said, not as frames.
const maxFrames = 64 << 10

const (
	declineEvery = 20 * time.Millisecond // of DECLINE, on average
	declineBurst = 100                   // DECLINE at once
)

// outbox holds what the control stream has still to say. Of CREDIT it keeps the newest offset of
// each circuit, of PONG the newest, of the rest everything in order. It does no I/O and no
// locking.
type outbox struct {
	frames  []byte
	pong    wtproto.Pong
	pongs   bool    // there is a pong
	credits []*Conn // whose account has a new offset; each once
}

// message is a frame.
type message interface{ Append([]byte) []byte }

// credit notes that c's account has a new offset.
func (o *outbox) credit(c *Conn) {
	if !c.crediting {
		c.crediting = true
		o.credits = append(o.credits, c)
	}
}

// drop forgets the offset of a circuit that takes no more.
func (o *outbox) drop(c *Conn) {
	if c.crediting {
		c.crediting = false
		o.credits = slices.DeleteFunc(o.credits, func(q *Conn) bool { return q == c })
	}
}

// take appends all frames to b and is empty then.
func (o *outbox) take(b []byte) []byte {
	b = append(b, o.frames...)
	o.frames = o.frames[:0]
	if o.pongs {
		b = o.pong.Append(b)
		o.pongs = false
	}
	for _, c := range o.credits {
		c.crediting = false
		b = wtproto.Credit{Circuit: c.id, Offset: uint64(c.account.granted)}.Append(b)
	}
	clear(o.credits)
	o.credits = o.credits[:0]
	return b
}

// send queues a frame unless too much waits already, and reports whether it did.
func (s *session) send(m message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out.frames) > maxFrames {
		return false
	}
	s.out.frames = m.Append(s.out.frames)
	s.wakeUp()
	return true
}

// answer queues a frame that the gateway provoked. A gateway that provokes frames and does not
// read them ends its session.
func (s *session) answer(m message) {
	if !s.send(m) {
		s.cancel(wtproto.Errorf(wtproto.CodeBusy, "the gateway does not read its control stream"))
	}
}

// wakeUp tells the writer that the outbox has something.
func (s *session) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// writeLoop writes the control stream. It returns why it stopped.
func (s *session) writeLoop() error {
	var b []byte
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		s.mu.Lock()
		b = s.out.take(b[:0])
		s.mu.Unlock()
		if _, err := s.control.Write(b); err != nil {
			return sessionError(err)
		}
	}
}

// readLoop reads the control stream. It returns why it stopped.
func (s *session) readLoop() error {
	r := wtproto.NewReader(bufio.NewReader(s.control))
	for {
		typ, payload, err := r.Next()
		if err != nil {
			switch {
			case errors.Is(err, io.EOF):
				return wtproto.Errorf(wtproto.CodePeerGone, "the gateway ended the control stream")
			case errors.Is(err, io.ErrUnexpectedEOF):
				return wtproto.Errorf(wtproto.CodeProtocol, "the gateway ended the control stream within a frame")
			}
			return sessionError(err)
		}
		s.mu.Lock()
		suspected := s.life.hear(time.Now())
		s.mu.Unlock()
		if suspected {
			s.reportSilence()
		}
		if err := s.handle(typ, payload); err != nil {
			return err
		}
	}
}

// handle acts on one control frame. An error ends the session.
func (s *session) handle(typ wtproto.Type, payload []byte) error {
	if !s.greeted && typ != wtproto.TypeWelcome && typ.Known() {
		return wtproto.Errorf(wtproto.CodeProtocol, "%v before WELCOME", typ)
	}
	switch typ {
	case wtproto.TypeWelcome:
		return s.greet(payload)
	case wtproto.TypeJoined:
		return receive(payload, wtproto.ParseJoined, s.joined)
	case wtproto.TypeLeft:
		return receive(payload, wtproto.ParseLeft, s.left)
	case wtproto.TypeStatus:
		return receive(payload, wtproto.ParseStatus, s.status)
	case wtproto.TypePeer:
		return receive(payload, wtproto.ParsePeer, s.offered)
	case wtproto.TypeWithdraw:
		return receive(payload, wtproto.ParseWithdraw, s.withdrawn)
	case wtproto.TypeGoaway:
		return receive(payload, wtproto.ParseGoaway, s.goneAway)
	case wtproto.TypePing:
		return receive(payload, wtproto.ParsePing, s.pinged)
	case wtproto.TypePong:
		return receive(payload, wtproto.ParsePong, func(wtproto.Pong) {}) // that it came is all
	}
	if typ.Known() {
		return wtproto.Errorf(wtproto.CodeProtocol, "%v does not come from gateways", typ)
	}
	return nil // of a later version
}

// receive parses a payload and acts on the message.
func receive[M any](payload []byte, parse func([]byte) (M, error), act func(M)) error {
	m, err := parse(payload)
	if err != nil {
		return err
	}
	act(m)
	return nil
}

// greet takes the gateway's first frame.
func (s *session) greet(payload []byte) error {
	if s.greeted {
		return wtproto.Errorf(wtproto.CodeProtocol, "a second WELCOME")
	}
	m, err := wtproto.ParseWelcome(payload)
	if err != nil {
		return err
	}
	if m.Version == 0 || m.Version > wtproto.Version {
		return wtproto.Errorf(wtproto.CodeVersion, "the gateway chose version %d of at most %d", m.Version, wtproto.Version)
	}
	s.greeted = true
	s.log = s.log.With("session", m.Session)
	if !s.client.welcomed(s, m) {
		return errEnded // another gateway was faster
	}
	close(s.welcomed)
	return nil
}

// pinged answers PING. Of several that came before the writer could, the last is answered.
func (s *session) pinged(m wtproto.Ping) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.pong, s.out.pongs = wtproto.Pong(m), true
	s.wakeUp()
}

// offered takes or declines an offered circuit.
func (s *session) offered(p wtproto.Peer) {
	if code := s.admit(p, nil); code != wtproto.CodeNone {
		s.decline(p.Circuit, code)
	}
}

// decline sends DECLINE: 50 a second, after 100 at once, for a gateway ends a session that says
// too much. An offer that is not declined is withdrawn in time.
func (s *session) decline(id wtproto.CircuitID, code wtproto.Code) {
	now := time.Now()
	if floor := now.Add(-declineBurst * declineEvery); s.declined.Before(floor) {
		s.declined = floor
	}
	if at := s.declined.Add(declineEvery); !at.After(now) {
		s.declined = at
		s.answer(wtproto.Decline{Circuit: id, Code: code})
	}
}

// withdrawn ends a circuit, whose ACCEPT came too late or which is being reset.
func (s *session) withdrawn(m wtproto.Withdraw) {
	s.mu.Lock()
	c := s.circuits[m.Circuit]
	s.mu.Unlock()
	if c == nil {
		return
	}
	code := m.Code
	if code == wtproto.CodeNone {
		code = wtproto.CodeWithdrawn
	}
	c.end(&wtproto.Error{Code: code, Remote: true, Reason: "the circuit was withdrawn"}, wtproto.CodeWithdrawn)
	c.topic.drop(c)
}
