package server

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is what a session sends on its control stream, and its circuits' places.

// queue changes what is to be sent, and has it sent; a client that leaves too much unread ends with
// BUSY. It never blocks.
func (s *session) queue(change func(*outbox) bool) {
	s.mu.Lock()
	ok := change(&s.out)
	if ok {
		s.writeLocked()
	}
	s.mu.Unlock()
	if !ok {
		s.refuse(refuse(LimitControlUnread, "more than %d bytes of control frames are unread", s.cfg.MaxControlBytes))
	}
}

// refuse ends the session because it has reached a limit. It tells the observer if the session
// ends for that reason.
func (s *session) refuse(r *refusal) {
	s.cancel(r.Error)
	if context.Cause(s.ctx) == error(r.Error) {
		s.cfg.Observer.refused(r)
	}
}

// send queues a frame that keeps its place in the order.
func (s *session) send(frame []byte) {
	s.queue(func(o *outbox) bool { return o.add(frame) })
}

// status queues the STATUS of a topic, unless it was left.
func (s *session) status(sub *subscription, t wtproto.Topic, frame []byte) {
	s.queue(func(o *outbox) bool {
		if s.joined[t] == sub { // queue holds s.mu
			o.setStatus(t, frame)
		}
		return true
	})
}

// open has str be the control stream: what is queued is sent from now on, and the client's silence
// counts.
func (s *session) open(str stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.str = str
	s.look.Reset(0)
	s.writeLocked()
}

// writeLocked has what is queued sent. A writer that has nothing to send would cost each session a
// stack, so there is none.
func (s *session) writeLocked() {
	if s.writing || s.str == nil || s.out.size == 0 || s.ctx.Err() != nil {
		return
	}
	s.writing = true
	s.control.Go(s.write)
}

// write sends what is queued until there is nothing more.
func (s *session) write() {
	var buf []byte
	for {
		s.mu.Lock()
		buf = s.out.take(buf[:0])
		if len(buf) == 0 || s.ctx.Err() != nil {
			s.writing = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if _, err := s.str.Write(buf); err != nil {
			s.cancel(controlError(err))
		}
	}
}

// checkSilence asks a silent client for a sign of life, and ends the session of a dead one, or of
// one that did not say HELLO in time. It never blocks: the writer may wait for a client that reads
// nothing.
func (s *session) checkSilence() {
	s.mu.Lock()
	if s.str == nil || s.ctx.Err() != nil {
		greeted := s.greeted
		s.mu.Unlock()
		if !greeted {
			s.cancel(wtproto.Errorf(wtproto.CodeIdle, "no HELLO in %v", s.cfg.HelloTimeout))
		}
		return
	}
	now := time.Now()
	ping, over, wait := s.silence.check(now, len(s.legs) > 0)
	silent := now.Sub(s.silence.heard)
	if !over {
		s.look.Reset(wait)
	}
	s.mu.Unlock()
	switch {
	case ping:
		s.ping()
	case over:
		s.cancel(wtproto.Errorf(wtproto.CodeIdle, "silent for %v", silent.Round(time.Second)))
	}
}

// ping sends PING.
func (s *session) ping() {
	s.mu.Lock()
	s.pings++
	var p wtproto.Ping
	binary.BigEndian.PutUint64(p.Data[:], s.pings)
	s.mu.Unlock()
	s.send(p.Append(nil))
}

// A client that is to get a circuit is asked for a sign of life if it has been silent for
// askedAfter, and gets none while the answer takes longer than answerWithin.
const (
	askedAfter   = 2 * time.Second
	answerWithin = 3 * time.Second
)

// suspect reports whether the client may have vanished, so that nobody should be connected with it
// now. It never blocks.
func (s *session) suspect(now time.Time) bool {
	s.mu.Lock()
	asked := s.silence.asked
	ask := asked.IsZero() && now.Sub(s.silence.heard) >= askedAfter
	if ask {
		s.silence.asked = now
	}
	s.mu.Unlock()
	if ask {
		s.ping()
	}
	return !asked.IsZero() && now.Sub(asked) >= answerWithin
}

// reserve takes a place for a circuit that payer begins, or says why not: a limit has been met, or
// the session ends, which is no limit's doing. peer is what the client will be told. Nobody is
// told of the refusal yet.
func (s *session) reserve(peer wtproto.Peer, offerOnly bool, payer *principal) (*leg, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := func() *refusal { return s.server.ledger.spend(payer, flowNewCircuits, 1, time.Now()) }
	if no := s.takePlaceLocked(begins); no != nil {
		return nil, no
	}
	return &leg{session: s, peer: peer, offerOnly: offerOnly}, nil
}

// full returns why reserve would refuse now, or nil.
func (s *session) full() *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := func() *refusal { return s.server.ledger.left(s.principal, flowNewCircuits, 1, time.Now()) }
	no := s.takePlaceLocked(begins)
	if no == nil {
		s.givePlaceLocked()
	}
	return no
}

// takePlaceLocked counts a circuit, or says why not. begins is what the ledger says of a new one.
func (s *session) takePlaceLocked(begins func() *refusal) *refusal {
	switch {
	case s.goaway:
		return &refusal{Error: errGoingAway}
	case s.ctx.Err() != nil:
		return &refusal{Error: wtproto.Errorf(wtproto.CodePeerGone, "the client's session ended")}
	}
	refused := s.server.router.memory.refuse(s.server.ledger.holds(s.principal, resourceCircuits))
	switch {
	case refused != nil:
	case !within(s.places, s.maxCircuits):
		refused = refuse(LimitCircuitsSession, "a session may have at most %d circuits", s.maxCircuits)
	default:
		if refused = s.server.ledger.take(s.principal, resourceCircuits, 1); refused != nil {
			break
		}
		if refused = begins(); refused != nil {
			s.server.ledger.give(s.principal, resourceCircuits, 1)
		}
	}
	if refused == nil {
		s.places++
	}
	return refused
}

// givePlaceLocked takes back what takePlaceLocked did.
func (s *session) givePlaceLocked() {
	s.places--
	s.server.ledger.give(s.principal, resourceCircuits, 1)
}

// register gives l the next circuit id, and offers it to the client unless it has a stream.
func (s *session) register(l *leg) error {
	s.mu.Lock()
	if s.goaway || s.ctx.Err() != nil {
		s.mu.Unlock()
		return wtproto.Errorf(wtproto.CodeShutdown, "the session opens no more circuits")
	}
	s.lastID++
	l.peer.Circuit = s.lastID
	l.credit = newCredit(nil, s.credit, &l.circuit.over)
	s.legs[s.lastID] = l
	if len(s.legs) == 1 && s.look != nil {
		s.look.Reset(0) // its silence counts earlier
	}
	if l.stream != nil {
		s.mu.Unlock()
		return nil
	}
	l.state, l.answer = offered, make(chan answer, 1)
	s.mu.Unlock()
	s.send(l.peer.Append(nil))
	return nil
}

// withdraw takes an offer back, or returns the client's answer if that came first.
func (s *session) withdraw(l *leg, code wtproto.Code) (answer, bool) {
	s.mu.Lock()
	if l.state == answered {
		s.mu.Unlock()
		return <-l.answer, true
	}
	l.state = answered
	s.mu.Unlock()
	s.send(wtproto.Withdraw{Circuit: l.peer.Circuit, Code: code}.Append(nil))
	return answer{}, false
}

// maxLate is how many CREDITs a session may have under way for circuits that have ended.
const maxLate = 4096

// release gives l's place back.
func (s *session) release(l *leg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.givePlaceLocked()
	if l.credit != nil {
		s.late = min(s.late+l.credit.left(), maxLate)
	}
	delete(s.legs, l.peer.Circuit)
	s.clearLocked()
}

// clearLocked closes clear when it is time. A session that has not ended does so then.
func (s *session) clearLocked() {
	if s.leaving && len(s.legs) == 0 {
		s.leaving = false
		close(s.clear)
		s.cancel(clientDone(nil))
	}
}

// abortAll ends the circuits of a session that has ended. It does not wait for them.
func (s *session) abortAll() {
	s.mu.Lock()
	legs := slices.Collect(maps.Values(s.legs))
	s.mu.Unlock()
	for _, l := range legs {
		l.circuit.over.end(clientGone("the client's session ended", nil))
	}
}

// finish ends the session of a client that wants nothing new once its circuits have ended, which
// have brought their peers all that it sent then.
func (s *session) finish() {
	s.mu.Lock()
	s.goaway = true
	s.mu.Unlock()
	s.leaveAll()
}

// clientDone is the end of a session by its client.
func clientDone(cause error) error {
	return &wtproto.Error{Code: wtproto.CodeNone, Remote: true, Reason: "the client ended the session", Err: cause}
}

// goAway tells the client that nothing new comes and when to come back.
func (s *session) goAway(retry time.Duration, reason string) {
	s.mu.Lock()
	s.goaway = true
	s.mu.Unlock()
	s.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: retry, Reason: reason}.Append(nil))
}

// circuits returns how many places are taken.
func (s *session) circuits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places
}
