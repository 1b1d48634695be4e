//go:build unix

package mcast

import (
	"errors"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// share lets other programs listen on the same port, as they let us. On Linux SO_REUSEADDR says
// that. There SO_REUSEPORT would distribute packets to an address of the machine among programs of
// one user. Other systems need SO_REUSEPORT.
func share(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if failed == nil && runtime.GOOS != "linux" {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	return errors.Join(err, failed)
}
