package client

import (
	"errors"
	"math"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// sessionError returns err, with which a connection or its control stream ended, as an error of the session: net.ErrClosed
// or an *wtproto.Error. The errors of quic-go are not in its chain, for most of them are a net.ErrClosed too.
func sessionError(err error) error {
	if err == net.ErrClosed {
		return err
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		code := wtproto.CodeProtocol
		if e.ErrorCode <= math.MaxUint32 {
			code = wtproto.Code(e.ErrorCode)
		}
		return &wtproto.Error{Code: code, Remote: e.Remote, Reason: e.ErrorMessage}
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return wtproto.Errorf(wtproto.CodeIdle, "no packet from the gateway for %v", idleTimeout)
	}
	if _, ok := errors.AsType[*quic.StreamError](err); ok {
		return wtproto.Errorf(wtproto.CodePeerGone, "the gateway reset the control stream")
	}
	return wtproto.Errorf(wtproto.CodePeerGone, "the connection was lost: %v", err)
}

// dialError returns why a connection did not come about: an *wtproto.Error where the gateway refused it, the error of package
// x509 where its certificate is not trusted, the cause of the context where that ended.
func dialError(err error) error {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return sessionError(err)
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		for _, cause := range e.Unwrap() {
			if cause != nil && cause != net.ErrClosed {
				return cause
			}
		}
		return errors.New(e.Error())
	}
	return err
}

// streamCode returns the code of a stream that the gateway reset.
func streamCode(code quic.StreamErrorCode) wtproto.Code {
	if code > math.MaxUint32 {
		return wtproto.CodePeerReset // no code of ours
	}
	return wtproto.Code(code)
}

// resetError returns e, a reset by the gateway, as the error of a circuit.
func resetError(e *quic.StreamError) error {
	return &wtproto.Error{Code: streamCode(e.ErrorCode), Remote: true, Reason: "the circuit was reset"}
}

// circuitError returns what circuits say after their session has ended with cause.
func circuitError(cause error) error {
	if cause == net.ErrClosed {
		return cause // by Close
	}
	return &wtproto.Error{Code: wtproto.CodePeerGone, Reason: "the session with the gateway has ended", Err: cause}
}

// codeOf returns the code to send for err.
func codeOf(err error) (wtproto.Code, string) {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e.Code, e.Reason
	}
	return wtproto.CodeNone, ""
}
