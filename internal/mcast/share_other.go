//go:build !unix

package mcast

import (
	"errors"
	"syscall"
)

// share fails: on this system nothing tells to which address a packet came and on which interface,
// and nothing is believed without.
func share(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
