package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file applies a session's grant: the session asks for it once, and keeps it without I/O from
// then on.

// authorizingOfAddress is how many sessions of one address may wait for the Authorizer at once.
const authorizingOfAddress = 16

// authorize asks what the client may do, and charges its principal for the session.
func (s *session) authorize(token []byte) error {
	addr := crowd.AddrOf(s.link.remoteAddr())
	if a := s.cfg.Authorizer; a != nil {
		if r := s.server.ledger.take(s.from, resourceAuthorizing, 1); r != nil {
			s.cfg.Observer.refused(r)
			return r.Error
		}
		defer s.server.ledger.give(s.from, resourceAuthorizing, 1)
		ctx, cancel := context.WithTimeoutCause(s.ctx, s.cfg.HelloTimeout, wtproto.Errorf(wtproto.CodeBusy, "the authorizer did not answer in time"))
		defer cancel()
		asked := time.Now()
		grant, err := a.Authorize(ctx, auth.Request{
			Token: token, Origin: s.link.page().origin, Address: addr.Unmap(), Transport: s.link.transport(), Agent: s.agent,
		})
		s.cfg.Observer.authorized(time.Since(asked), codeOf(err))
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return asError(err)
		}
		if err := grant.Validate(); err != nil {
			level := s.server.router.troubles.level(slog.LevelError, "authorizer", wtproto.CodeInternal, time.Now())
			s.log(level, "the authorizer returned an invalid grant", "error", err)
			return &wtproto.Error{Code: wtproto.CodeInternal, Reason: "the authorizer returned an invalid grant", Err: err}
		}
		s.grant = grant
	}
	if !s.grant.Expires.IsZero() {
		if s.grant.Expired(time.Now()) {
			return errTokenExpired
		}
		expiry := time.AfterFunc(time.Until(s.grant.Expires), func() { s.cancel(errTokenExpired) })
		context.AfterFunc(s.ctx, func() { expiry.Stop() })
	}
	s.maxTopics = tighter(s.cfg.MaxTopics, s.grant.Limits.Topics)
	s.maxCircuits = tighter(s.cfg.MaxCircuits, s.grant.Limits.Circuits)
	p := s.cfg.principal(&s.grant, s.link.remoteAddr())
	r := s.server.router.memory.refuse(s.server.ledger.holds(p, resourceSessions))
	if r == nil {
		r = s.server.ledger.take(p, resourceSessions, 1)
	}
	if r != nil {
		s.cfg.Observer.refused(r)
		return r.Error
	}
	s.principal = p
	if s.allowance = s.server.ledger.allowance(p, time.Now()); s.allowance != nil && s.allowance.spent() {
		r := refuse(LimitBytes, "the %d bytes of this token are used up", s.grant.Limits.Bytes)
		s.cfg.Observer.refused(r)
		return r.Error
	}
	s.admit()
	return nil
}

var errTokenExpired = wtproto.Errorf(wtproto.CodeTokenExpired, "the token has expired")

// tighter returns the limit of a session: the gateway's, or the grant's, which is for all sessions
// of a name, if that is less. A larger one changes nothing here: the connection was made for the
// gateway's before anybody knew whose it is.
func tighter(limit, granted int) int {
	if granted <= 0 || limit >= 0 && limit < granted {
		return limit
	}
	return granted
}

// permit reports why g does not allow a JOIN, or nil. It takes the flags out of m that g denies,
// unless none would be left.
func permit(g *auth.Grant, m *wtproto.Join) *wtproto.Error {
	if !g.AllowsTopic(m.Topic) {
		return wtproto.Errorf(wtproto.CodeForbidden, "your token is not for this topic")
	}
	const finding = wtproto.JoinAnnounce | wtproto.JoinLookUp
	wanted := m.Flags & finding
	if g.DenyAnnounce {
		m.Flags &^= wtproto.JoinAnnounce
	}
	if g.DenyLookUp {
		m.Flags &^= wtproto.JoinLookUp
	}
	if wanted != 0 && m.Flags&finding == 0 {
		return wtproto.Errorf(wtproto.CodeForbidden, "your token does not allow to announce or to look up")
	}
	return nil
}
