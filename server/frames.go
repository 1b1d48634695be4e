package server

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Shares of what a session may send: for each frame that asks for something it may send so many
// others, and a long one counts once more for each so many bytes.
const (
	framesOfEachAsk = 10
	bytesOfFrame    = 256
)

// framesOfPrincipal is how many times the frames of one session all sessions of a principal may
// send together. More of them wait, instead of ending a session, which may be that of a neighbour.
const framesOfPrincipal = 20

// frameRates bounds the frames of one session, and its streams that come to nothing. Any number of
// goroutines may use it.
type frameRates struct {
	asks *rate.Limiter // JOIN, LEAVE, DECLINE and PING
	all  *rate.Limiter // these and all others, but CREDIT for what was sent
	cfg  *Config
	once sync.Once // an observer was told that the session has met a limit
}

func newFrameRates(c *Config) *frameRates {
	if c.ControlRate < 0 {
		return &frameRates{asks: rate.NewLimiter(rate.Inf, 0), all: rate.NewLimiter(rate.Inf, 0), cfg: c}
	}
	perSecond, burst := rate.Limit(c.ControlRate), max(c.ControlBurst, 1)
	return &frameRates{
		asks: rate.NewLimiter(perSecond, burst),
		all:  rate.NewLimiter(framesOfEachAsk*perSecond, burst+2000),
		cfg:  c,
	}
}

// ask counts a frame that asks for something. The error ends the session.
func (f *frameRates) ask() error {
	if f.asks.Allow() {
		return nil
	}
	return f.refuse(LimitFrames, "more than %v frames a second that ask for something", f.cfg.ControlRate)
}

// count counts a frame of n bytes of payload, or a stream. The error ends the session.
func (f *frameRates) count(n int) error {
	for range 1 + n/bytesOfFrame {
		if !f.all.Allow() {
			return f.refuse(LimitAllFrames, "more than %v frames and streams a second", framesOfEachAsk*f.cfg.ControlRate)
		}
	}
	return nil
}

// pace waits until p may send n more frames. If its sessions send too many together, each of them
// waits for a moment.
func (s *session) pace(p *principal, n int) {
	wait := s.server.ledger.delay(p, flowFrames, n, time.Now())
	if wait <= 0 {
		return
	}
	s.paced.Do(func() { s.cfg.Observer.refused(refuse(LimitFramesPrincipal, "")) })
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

func (f *frameRates) refuse(name LimitName, format string, args ...any) error {
	r := refuse(name, format, args...)
	f.once.Do(func() { f.cfg.Observer.refused(r) }) // the first one ends the session
	return r.Error
}

// asks reports whether a frame makes the gateway do something for the client.
func asks(typ wtproto.Type) bool {
	switch typ {
	case wtproto.TypeJoin, wtproto.TypeLeave, wtproto.TypeDecline, wtproto.TypePing:
		return true
	}
	return false
}

// credited raises the credit of a circuit. A CREDIT counts as a frame only if it cannot answer
// bytes that were sent.
func (s *session) credited(m wtproto.Credit, size int) error {
	s.mu.Lock()
	l, err := s.givenLocked(m.Circuit)
	due := l == nil && s.late > 0
	if due {
		s.late--
	}
	s.mu.Unlock()
	if l != nil {
		due = l.credit.grant(m.Offset)
	}
	if err == nil && !(due && size < bytesOfFrame) {
		err = s.rates.count(size)
	}
	return err
}
