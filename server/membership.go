package server

import (
	"context"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is which topics a session is on.

// join subscribes to a topic or changes the options of a subscription.
func (s *session) join(m wtproto.Join) {
	no := permit(&s.grant, &m)
	if no == nil {
		no = s.choose(&m)
	}
	if no != nil {
		s.cfg.Observer.joinRefused(no.Code)
		left := wtproto.Left{Topic: m.Topic, Code: no.Code, Reason: no.Reason}
		if !s.leaveWith(left) {
			s.send(left.Append(nil))
		}
		return
	}
	s.mu.Lock()
	sub := s.joined[m.Topic]
	known := sub != nil
	var refused *refusal
	switch {
	case known:
	case s.goaway:
		no = errGoingAway
	case !within(len(s.joined), s.maxTopics):
		refused = refuse(LimitTopicsSession, "a session may have at most %d topics", s.maxTopics)
	}
	s.mu.Unlock()
	if !known && no == nil && refused == nil {
		sub = newSubscription(s)
		refused = s.server.router.enter(sub, m.Topic)
	}
	if refused != nil {
		s.cfg.Observer.refused(refused)
		no = refused.Error
	}
	if no != nil {
		s.cfg.Observer.joinRefused(no.Code)
		s.send(wtproto.Left{Topic: m.Topic, Code: no.Code, Reason: no.Reason}.Append(nil))
		return
	}
	if !known {
		s.mu.Lock()
		ended := s.joined == nil // and left all its topics meanwhile
		if !ended {
			s.joined[m.Topic] = sub
		}
		s.mu.Unlock()
		if ended {
			s.server.router.withdraw(sub)
			return
		}
		s.cfg.Observer.joined()
	}
	s.send(wtproto.Joined{Topic: m.Topic}.Append(nil))
	s.server.router.subscribe(sub, m)
}

// leave answers LEAVE.
func (s *session) leave(t wtproto.Topic) { s.leaveWith(wtproto.Left{Topic: t}) }

// leaveWith ends a subscription with that frame, and reports whether there was one.
func (s *session) leaveWith(m wtproto.Left) bool {
	s.mu.Lock()
	sub := s.joined[m.Topic]
	delete(s.joined, m.Topic)
	s.out.dropStatus(m.Topic)
	s.mu.Unlock()
	if sub == nil {
		return false
	}
	s.server.router.unsubscribe(sub)
	s.cfg.Observer.left(m.Code)
	s.send(m.Append(nil))
	return true
}

// leaveAll ends all subscriptions of a session that joins nothing any more. It may be called again.
func (s *session) leaveAll() {
	s.mu.Lock()
	joined := s.joined
	if joined != nil {
		s.joined, s.leaving = nil, true
		s.clearLocked()
	}
	s.mu.Unlock()
	for _, sub := range joined {
		s.server.router.unsubscribe(sub)
		s.cfg.Observer.left(codeOf(context.Cause(s.ctx)))
	}
}
