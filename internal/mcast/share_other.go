//go:build !unix

package mcast

import (
	"errors"
	"syscall"
)

// share fails, because this system does not report to which address and on which interface a
// packet came. Without that we can believe nothing.
func share(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
