package client

import (
	"errors"
	"net"

	"github.com/swarmgate/swarmgate/wtproto"
)

// sessionError returns err, with which a link or its control stream ended, as an error of the
// session: net.ErrClosed or an *wtproto.Error.
func sessionError(err error) error {
	if err == net.ErrClosed {
		return err
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*resetError](err); ok {
		return wtproto.Errorf(wtproto.CodePeerGone, "the gateway reset the control stream")
	}
	return wtproto.Errorf(wtproto.CodePeerGone, "the connection was lost: %v", err)
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
