package server

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Observer is told what happens in a [Server], for metrics. Its methods are called by many goroutines at once, on paths that
// wait for them, so they return at once.
type Observer interface {
	// SessionStarted is called after a session's HELLO was taken.
	SessionStarted(SessionInfo)
	// SessionEnded is called once for each session that started, with the code that ended it.
	SessionEnded(SessionInfo, wtproto.Code)
	// SessionRefused is called for a connection that ended before its HELLO was taken.
	SessionRefused(wtproto.Code)
	// Dialed is called after each dial of a peer; CodeNone says that it answered.
	Dialed(network string, took time.Duration, code wtproto.Code)
	// CircuitOpened is called once bytes can pass.
	CircuitOpened(network string)
	// CircuitEnded is called once for each circuit that opened.
	CircuitEnded(CircuitEnd)
}

// SessionInfo describes a session.
type SessionInfo struct {
	ID        wtproto.SessionID
	Transport string // "quic" or "webtransport"
	Agent     string // what the client calls itself: not to be trusted
}

// CircuitEnd describes the end of a circuit. Of a circuit between two clients, the peer is the one that was chosen.
type CircuitEnd struct {
	Network  string // wtproto.NetworkClient between two clients
	Code     wtproto.Code
	ToClient int64 // bytes of the peer that the client's stream took
	ToPeer   int64 // bytes of the client that the peer took
	Lasted   time.Duration
}

type nobody struct{}

func (nobody) SessionStarted(SessionInfo)                 {}
func (nobody) SessionEnded(SessionInfo, wtproto.Code)     {}
func (nobody) SessionRefused(wtproto.Code)                {}
func (nobody) Dialed(string, time.Duration, wtproto.Code) {}
func (nobody) CircuitOpened(string)                       {}
func (nobody) CircuitEnded(CircuitEnd)                    {}
