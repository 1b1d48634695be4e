package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	headStart  = 500 * time.Millisecond // of a gateway before the next one is tried beside it
	leastDelay = 250 * time.Millisecond // before the first attempt in a row
	mostDelay  = 30 * time.Second
	ownDoing   = 10 * time.Second // after an attempt beside another one or a session, that REPLACED may be due to it
	proven     = 30 * time.Second // for a session to have lived, so that the row of delays begins anew
)

// nowhere is the gateway of no session.
const nowhere = -1

// phase is what a search for a session is at.
type phase int

const (
	idle    phase = iota // there is a session, and no reason to leave it
	racing               // gateways are tried
	waiting              // until they are tried again
	over                 // for ever
)

// machine decides when a client tries which of its gateways, and when it gives up
// (docs/PROTOCOL.md, Coming back). It gets events with the time, and others do what it decides:
// try the gateways that have trying set and no others, pass on its events, call tick at its
// deadline, and end the client once err is set. It holds no clock, timer or connection.
type machine struct {
	timeout time.Duration // constant; for any gateway to answer
	once    bool          // constant; the first session is the last one
	renews  bool          // constant; each attempt has a token of its own

	gateways []gatewayState
	best     int     // the gateway that worked last
	events   []Event // for others to take
	err      error   // why it is over

	// the session, if there is one
	at         int       // its gateway, or nowhere
	since      time.Time // when it began
	goaway     bool      // GOAWAY came: the client leaves it in any case
	hadSession bool      // there has been one

	// the search for a session: the first, or one after it or beside it
	phase      phase
	delays     backoff.Backoff
	attempt    int               // since the session was lost
	refused    int               // 1 + the attempt in which a token was refused first since WELCOME, or 0
	until      time.Time         // when the phase is over
	order      []int             // gateways that are still to be tried in this race
	next       time.Time         // when the first of them is
	errs       []oneline.Failure // of the tried ones, the permanent ones first
	permanents int               // how many of them are permanent
	beside     time.Time         // when a gateway was last tried beside another one or a session
}

// gatewayState is a gateway as the machine sees it.
type gatewayState struct {
	name      string
	trying    bool
	failing   error     // of one of its transports, while another one is tried
	notBefore time.Time // it asked to be left alone until then
}

// newMachine returns a machine for the gateways with these names, which tries nothing before start.
func newMachine(timeout time.Duration, once bool, names ...string) machine {
	m := machine{timeout: timeout, once: once, at: nowhere, delays: backoff.New(leastDelay, mostDelay)}
	for _, name := range names {
		m.gateways = append(m.gateways, gatewayState{name: name})
	}
	return m
}

// start begins the first race.
func (m *machine) start(now time.Time) { m.race(now) }

// welcomed takes the greeting of a gateway that is tried. Its session takes the place of the one
// before.
func (m *machine) welcomed(now time.Time, g int, session wtproto.SessionID) {
	m.stop()
	m.age(now)
	m.at, m.best, m.since = g, g, now
	m.hadSession, m.goaway, m.attempt, m.refused = true, false, 0, 0
	m.events = append(m.events, Connected{Gateway: m.gateways[g].name, Session: session})
}

// failed takes the end of an attempt. The next gateway need not wait for its time.
func (m *machine) failed(now time.Time, g int, err error) {
	m.gateways[g].trying = false
	at := len(m.errs)
	if m.permanent(now, err) { // what is comes first, for a caller looks at the first code
		at = m.permanents
		m.permanents++
	}
	m.errs = slices.Insert(m.errs, at, oneline.Failure{Of: hostOf(m.gateways[g].name), Err: err})
	m.next = now
	m.advance(now)
}

// failing takes that one of the transports with a gateway has failed, while another one is tried.
func (m *machine) failing(g int, err error) { m.gateways[g].failing = err }

// lost takes the end of the session.
func (m *machine) lost(now time.Time, err error) {
	m.age(now)
	m.at = nowhere
	switch {
	case m.once || m.permanent(now, err):
		m.end(err)
	case m.phase == racing: // for one that was to take its place
		m.errs, m.permanents = nil, 0 // what was said beside the session ends nothing
		m.events = append(m.events, Disconnected{Err: err})
		m.reconnecting(0, err)
	default:
		m.events = append(m.events, Disconnected{Err: err})
		m.wait(now, err)
	}
}

// goneAway takes GOAWAY on the session.
func (m *machine) goneAway(now time.Time, retryAfter time.Duration) {
	m.rest(now, m.at, retryAfter)
	m.goaway = true
	m.move(now)
}

// rest takes that a gateway wants to be left alone, which one may say that was left already.
func (m *machine) rest(now time.Time, g int, retryAfter time.Duration) {
	m.gateways[g].notBefore = now.Add(retryAfter)
}

// silent takes that the gateway did not answer in time.
func (m *machine) silent(now time.Time) { m.move(now) }

// heard takes that a gateway that was silent is not.
func (m *machine) heard(time.Time) {
	if !m.goaway {
		m.stop()
	}
}

// tick does what is due. Called too early it does nothing.
func (m *machine) tick(now time.Time) {
	switch late := now.Sub(m.deadline()); {
	case m.phase == waiting && late >= 0:
		m.race(now)
	case m.phase == racing && late > lateness: // this program did not run, which says nothing about gateways
		m.until = now.Add(m.timeout)
		m.advance(now)
	case m.phase == racing && !now.Before(m.until):
		m.giveUp(now)
	case m.phase == racing:
		m.advance(now)
	}
}

// deadline returns when to call tick, or zero for not at all.
func (m *machine) deadline() time.Time {
	switch {
	case m.phase != racing && m.phase != waiting:
		return time.Time{}
	case m.phase == racing && len(m.order) > 0 && m.due().Before(m.until):
		return m.due()
	}
	return m.until
}

// move looks for another gateway, if there is one and this is not done already.
func (m *machine) move(now time.Time) {
	if m.phase == idle && len(m.gateways) > 1 && !m.once {
		m.age(now)
		m.race(now)
	}
}

// age begins the row of delays anew if the session has lived for long enough.
func (m *machine) age(now time.Time) {
	if m.at != nowhere && now.Sub(m.since) >= proven {
		m.delays.Reset()
	}
}

// candidates returns the gateways that a race is about, in the order in which they are tried.
func (m *machine) candidates(now time.Time) []int {
	var order []int
	for g := range m.gateways {
		if g != m.at {
			order = append(order, g)
		}
	}
	rest := func(g int) time.Duration { return max(0, m.gateways[g].notBefore.Sub(now)) }
	slices.SortStableFunc(order, func(a, b int) int {
		switch c := cmp.Compare(rest(a), rest(b)); {
		case c != 0:
			return c
		case a == m.best:
			return -1
		case b == m.best:
			return 1
		}
		return 0
	})
	return order
}

// race begins to try gateways.
func (m *machine) race(now time.Time) {
	m.phase, m.until = racing, now.Add(m.timeout)
	m.order, m.next, m.errs, m.permanents = m.candidates(now), now, nil, 0
	m.advance(now)
}

// due returns when the next gateway is tried.
func (m *machine) due() time.Time {
	if rested := m.gateways[m.order[0]].notBefore; rested.After(m.next) {
		return rested
	}
	return m.next
}

// advance tries the gateways whose time has come. The race is over when none is tried.
func (m *machine) advance(now time.Time) {
	for len(m.order) > 0 && !m.due().After(now) {
		g := m.order[0]
		m.order = m.order[1:]
		if m.at != nowhere || m.trying() {
			m.beside = now
		}
		m.gateways[g].trying, m.gateways[g].failing = true, nil
		m.next = now.Add(headStart)
	}
	if !m.trying() {
		m.fail(now)
	}
}

func (m *machine) trying() bool {
	return slices.ContainsFunc(m.gateways, func(g gatewayState) bool { return g.trying })
}

// noAnswer is a context.DeadlineExceeded that says how long somebody has waited, and what has
// failed meanwhile.
type noAnswer struct {
	waited time.Duration
	failed error // nil for nothing
}

func (e noAnswer) Error() string {
	text := fmt.Sprintf("no answer in %v", e.waited)
	if e.failed != nil {
		text += fmt.Sprintf(" (%v)", e.failed)
	}
	return text
}

// Is makes errors.Is find context.DeadlineExceeded.
func (noAnswer) Is(target error) bool { return target == context.DeadlineExceeded }

// giveUp ends a race that took too long.
func (m *machine) giveUp(now time.Time) {
	for _, g := range m.gateways {
		if g.trying {
			err := &wtproto.Error{Code: wtproto.CodePeerUnreachable, Err: noAnswer{m.timeout, g.failing}}
			m.errs = append(m.errs, oneline.Failure{Of: hostOf(g.name), Err: err})
		}
	}
	m.fail(now)
}

// fail ends a race that nobody won. Beside a session that is no reason to end.
func (m *machine) fail(now time.Time) {
	err := oneline.Join(m.errs...)
	if err == nil {
		err = wtproto.Errorf(wtproto.CodeShutdown, "every gateway asked the client to stay away for a while")
	}
	m.stop()
	if m.at == nowhere && (!m.hadSession || m.once || m.permanents > 0) {
		m.end(err)
		return
	}
	m.wait(now, err)
}

// wait begins the wait before the next race. Without a session it is told, with the error of what
// came before.
func (m *machine) wait(now time.Time, err error) {
	m.stop()
	m.phase = waiting
	m.until = now.Add(m.delays.Next())
	if first := m.gateways[m.candidates(now)[0]].notBefore; first.After(m.until) {
		m.until = first
	}
	if m.at == nowhere {
		m.reconnecting(m.until.Sub(now), err)
	}
}

func (m *machine) reconnecting(delay time.Duration, err error) {
	m.attempt++
	m.events = append(m.events, Reconnecting{Attempt: m.attempt, Delay: delay, Err: err})
}

// stop ends a search.
func (m *machine) stop() {
	m.phase, m.order = idle, nil
	for g := range m.gateways {
		m.gateways[g].trying = false
	}
}

// end ends everything.
func (m *machine) end(err error) {
	m.stop()
	m.phase, m.err = over, err
}

// permanent reports whether trying again cannot help after err. That a session was replaced may be
// this client's own doing where two of its gateways are one.
func (m *machine) permanent(now time.Time, err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok {
		return false
	}
	switch e.Code {
	case wtproto.CodeProtocol, wtproto.CodeTooLarge, wtproto.CodeVersion, wtproto.CodeForbidden:
		return true
	case wtproto.CodeUnauthorized, wtproto.CodeTokenExpired:
		return !e.Remote || !m.renew()
	case wtproto.CodeReplaced:
		return now.Sub(m.beside) >= ownDoing
	}
	return false
}

// renew takes that a gateway refused a token, and reports whether another one may help: once after
// each session.
func (m *machine) renew() bool {
	if !m.renews || !m.hadSession {
		return false
	}
	if m.refused == 0 {
		m.refused = 1 + m.attempt
	}
	return m.refused == 1+m.attempt
}
