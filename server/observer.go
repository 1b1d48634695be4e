package server

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Observer is told what happens in a [Server], for metrics; what there is at a time is told by
// [Server.Stats]. Any of its functions may be nil. They are called by many goroutines at once, on
// paths that wait for them, so they return at once. It is not changed after [New].
type Observer struct {
	// SessionStarted is called after a session's HELLO was taken.
	SessionStarted func(SessionInfo)
	// SessionEnded is called once for each session that started, with the code that ended it.
	SessionEnded func(SessionInfo, wtproto.Code)
	// SessionRefused is called for a connection that ended before its HELLO was taken.
	SessionRefused func(wtproto.Code)
	// Authorized is called after each answer of the Authorizer; CodeNone says that the client may
	// come in.
	Authorized func(took time.Duration, code wtproto.Code)
	// Joined is called for each topic that a session joins, but not if it changes its options.
	Joined func()
	// JoinRefused is called for each JOIN that is refused, with the code of its LEFT.
	JoinRefused func(wtproto.Code)
	// Left is called once for each topic that was joined: with CodeNone after LEAVE, else with the
	// code that ended the session.
	Left func(wtproto.Code)
	// ConnectAnswered is called for each CONNECT: CodeNone says that its stream is a circuit now,
	// another code is that of REFUSED. CodeWithdrawn says that the client took the CONNECT back
	// before an answer.
	ConnectAnswered func(wtproto.Code)
	// Refused is called each time a limit is met, with what was told. [Limits] describes the
	// limits.
	Refused func(LimitName, wtproto.Code)
	// Dialed is called after each dial of a peer that was still wanted; CodeNone says that the
	// peer answered.
	Dialed func(network string, took time.Duration, code wtproto.Code)
	// CircuitOpened is called once bytes can pass.
	CircuitOpened func(network string)
	// CircuitEnded is called once for each circuit that opened. [Server.Stats] tells of bytes
	// while they move.
	CircuitEnded func(CircuitEnd)
}

// SessionInfo describes a session.
type SessionInfo struct {
	ID        wtproto.SessionID
	Transport string // "quic", "webtransport" or "websocket"
	Agent     string // what the client calls itself: not to be trusted
}

// CircuitEnd describes the end of a circuit. Of a circuit between two clients, the peer is the one
// that was chosen.
type CircuitEnd struct {
	Network  string // wtproto.NetworkClient between two clients
	Code     wtproto.Code
	ToClient int64 // bytes of the peer that the client's stream took
	ToPeer   int64 // bytes of the client that the peer took
	Lasted   time.Duration
}

func (o *Observer) sessionStarted(s SessionInfo) {
	if o.SessionStarted != nil {
		o.SessionStarted(s)
	}
}

func (o *Observer) sessionEnded(s SessionInfo, c wtproto.Code) {
	if o.SessionEnded != nil {
		o.SessionEnded(s, c)
	}
}

func (o *Observer) sessionRefused(c wtproto.Code) {
	if o.SessionRefused != nil {
		o.SessionRefused(c)
	}
}

func (o *Observer) authorized(took time.Duration, c wtproto.Code) {
	if o.Authorized != nil {
		o.Authorized(took, c)
	}
}

func (o *Observer) joined() {
	if o.Joined != nil {
		o.Joined()
	}
}

func (o *Observer) joinRefused(c wtproto.Code) {
	if o.JoinRefused != nil {
		o.JoinRefused(c)
	}
}

func (o *Observer) connectAnswered(c wtproto.Code) {
	if o.ConnectAnswered != nil {
		o.ConnectAnswered(c)
	}
}

func (o *Observer) left(c wtproto.Code) {
	if o.Left != nil {
		o.Left(c)
	}
}

func (o *Observer) refused(r *refusal) {
	if o.Refused != nil {
		o.Refused(r.limit, r.Code)
	}
}

func (o *Observer) dialed(network string, took time.Duration, c wtproto.Code) {
	if o.Dialed != nil {
		o.Dialed(network, took, c)
	}
}

func (o *Observer) circuitOpened(network string) {
	if o.CircuitOpened != nil {
		o.CircuitOpened(network)
	}
}

func (o *Observer) circuitEnded(e CircuitEnd) {
	if o.CircuitEnded != nil {
		o.CircuitEnded(e)
	}
}
