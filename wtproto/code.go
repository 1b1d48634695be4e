package wtproto

import (
	"fmt"
	"strings"
)

// Code says why a session, a join or a circuit ended (docs/PROTOCOL.md, Codes). It travels in
// frames, as the code of a QUIC stream reset and as the close code of a session. Values from
// [CodeApplication] on belong to the programs at the ends of a circuit and pass through a gateway
// unchanged.
type Code uint32

const (
	CodeNone            Code = 0x00 // a regular end
	CodeInternal        Code = 0x01 // a fault of the side that sends it
	CodeProtocol        Code = 0x02 // malformed or out of order
	CodeTooLarge        Code = 0x03 // longer than a limit of the protocol
	CodeVersion         Code = 0x04 // no common version
	CodeUnauthorized    Code = 0x05 // no token, or one that is not valid
	CodeForbidden       Code = 0x06 // known, and not allowed
	CodeTopicLimit      Code = 0x07 // too many topics in the session
	CodeCircuitLimit    Code = 0x08 // too many circuits in the session, or with the peer
	CodeRateLimited     Code = 0x09 // too many frames or sessions
	CodeBusy            Code = 0x0a // the sender of the code has no room now, or the receiver reads too slowly
	CodeIdle            Code = 0x0b // silent for too long
	CodeShutdown        Code = 0x0c // the gateway is going away
	CodePeerGone        Code = 0x0d // the connection with the peer was lost
	CodePeerUnreachable Code = 0x0e // the peer could not be reached
	CodePeerReset       Code = 0x0f // the peer reset without a code
	CodeDeclined        Code = 0x10 // the offer, or the circuit, is not wanted
	CodeWithdrawn       Code = 0x11 // the offer no longer holds
	CodeLeft            Code = 0x12 // the topic was left
	CodeTokenExpired    Code = 0x13 // the token was valid once
	CodeStalled         Code = 0x14 // not read for too long while memory was short
	CodeReplaced        Code = 0x15 // a newer one with the same identity took over

	// CodeApplication is the first code that is free for the programs at the ends of a circuit.
	CodeApplication Code = 0x100
)

var codeNames = [...]string{
	"NONE", "INTERNAL", "PROTOCOL", "TOO_LARGE", "VERSION", "UNAUTHORIZED", "FORBIDDEN", "TOPIC_LIMIT", "CIRCUIT_LIMIT",
	"RATE_LIMITED", "BUSY", "IDLE", "SHUTDOWN", "PEER_GONE", "PEER_UNREACHABLE", "PEER_RESET", "DECLINED", "WITHDRAWN",
	"LEFT", "TOKEN_EXPIRED", "STALLED", "REPLACED",
}

// String returns the name of c in docs/PROTOCOL.md, or its number in hex.
func (c Code) String() string {
	if int64(c) < int64(len(codeNames)) {
		return codeNames[c]
	}
	return fmt.Sprintf("0x%x", uint32(c))
}

// MarshalText returns c as [Code.String] does.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Error reports that one side ended a session, a join or a circuit.
type Error struct {
	Code   Code   // docs/PROTOCOL.md, Codes
	Remote bool   // the other side decided
	Reason string // for people
	Err    error  // local cause, never sent
}

// Errorf returns an Error of this side with code c and a formatted reason.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Reason: fmt.Sprintf(format, args...)}
}

// Error returns the code's name, who decided, the reason and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code.String())
	if e.Remote {
		b.WriteString(" (remote)")
	}
	if e.Reason != "" {
		b.WriteString(": ")
		b.WriteString(e.Reason)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Is reports whether target is an *Error with the same code, decided by the same side.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Remote == e.Remote
}

// Unwrap returns the local cause.
func (e *Error) Unwrap() error { return e.Err }
