package discovery

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindToInterface makes the socket c send and receive through the interface with this name only.
func bindToInterface(c syscall.RawConn, name string) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), name) })
	return errors.Join(err, failed)
}
