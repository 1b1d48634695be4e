package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// attempt is a session that may come about with a gateway.
type attempt struct {
	gateway int
	ctx     context.Context // ends with the attempt and its session
	cancel  context.CancelCauseFunc
}

func newAttempt(ctx context.Context, gateway int) *attempt {
	a := &attempt{gateway: gateway}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	return a
}

// try makes an attempt, and serves its session.
func (c *Client) try(a *attempt) {
	defer a.cancel(errEnded)
	s, err := c.connect(a)
	if err == nil {
		err = s.run()
	}
	c.ended(a, s, err)
}

// connect opens a session.
func (c *Client) connect(a *attempt) (*session, error) {
	token, err := c.token(a.ctx) // before there is a connection, for HELLO is due soon after
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	c.reread(a)
	l, err := c.dial(a)
	if err != nil {
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			err = fmt.Errorf("%w; if the gateway made its own certificate, use its %shost:port/?h=… URL, "+
				"Config.CertHashes or --cert-hash", err, wtproto.URLScheme)
		}
		return nil, err
	}
	s, err := newSession(c, a, l, token)
	if err != nil {
		l.close(wtproto.CodeNone, "")
		return nil, err
	}
	return s, nil
}

// token returns what the gateway is shown.
func (c *Client) token(ctx context.Context) ([]byte, error) {
	if c.cfg.TokenSource == nil {
		return c.cfg.Token, nil
	}
	token, err := c.cfg.TokenSource(ctx)
	if err == nil && len(token) > wtproto.MaxToken {
		err = wtproto.Errorf(wtproto.CodeTooLarge, "a token of %d bytes, at most %d", len(token), wtproto.MaxToken)
	}
	return token, err
}

// welcomed makes s, which WELCOME came for, the client's session, unless another one was faster.
func (c *Client) welcomed(s *session, m wtproto.Welcome) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := s.attempt.gateway
	if c.err != nil || c.attempts[g] != s.attempt {
		return false
	}
	delete(c.attempts, g)
	c.machine.welcomed(time.Now(), g, m.Session)
	c.gateways[g].announced, c.gateways[g].failed = m.Hashes, false
	c.sessions[s] = struct{}{}
	c.gateways[g].worked, c.gateways[g].workedAt = s.link.transport(), time.Now()
	c.adoptLocked(s)
	c.info, c.going = newSessionInfo(c.gateways[g].name, s.link.transport(), m), false
	c.applyLocked()
	c.wakeUp()
	if !closed(c.firstWelcome) {
		close(c.firstWelcome)
	}
	return true
}

// ended takes the end of an attempt, and of its session if there was one.
func (c *Client) ended(a *attempt, s *session, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s != nil {
		s.over = true
		delete(c.sessions, s)
		for _, t := range c.topics {
			t.dropLocked(s)
		}
	}
	switch now := time.Now(); {
	case c.err != nil:
	case c.attempts[a.gateway] == a:
		delete(c.attempts, a.gateway)
		c.gateways[a.gateway].failed = true
		c.machine.failed(now, a.gateway, err)
	case s != nil && c.session == s && c.leaves: // there is no need for another one
		c.session = nil
	case s != nil && c.session == s:
		c.session = nil
		c.gateways[a.gateway].failed = true
		c.forgetLocked()
		c.machine.lost(now, err)
	}
	c.applyLocked()
	c.wakeUp()
}

// tell tells the machine something about s, if that is the client's session.
func (c *Client) tell(s *session, tell func(m *machine, now time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.session == s && !c.leaves {
		tell(&c.machine, time.Now())
		c.applyLocked()
		c.wakeUp()
	}
}

// goneAway takes GOAWAY, of the client's session or of one that it has left.
func (s *session) goneAway(m wtproto.Goaway) {
	s.log.Info("the gateway is going away", "code", m.Code, "reason", m.Reason, "retry", m.RetryAfter)
	s.mu.Lock()
	s.going = true
	s.nudge()
	s.mu.Unlock()
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now := time.Now(); {
	case c.err != nil || c.leaves:
		return
	case c.session != s:
		c.machine.rest(now, s.attempt.gateway, m.RetryAfter)
	default:
		c.going = true
		c.history.add(GoingAway{Code: m.Code, Reason: m.Reason, RetryAfter: m.RetryAfter})
		c.machine.goneAway(now, m.RetryAfter)
	}
	c.applyLocked()
	c.wakeUp()
}
