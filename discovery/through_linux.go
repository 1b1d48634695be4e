package discovery

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindToInterface has packets of the socket c leave by the interface with this name, and come by
// it.
func bindToInterface(c syscall.RawConn, name string) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), name) })
	return errors.Join(err, failed)
}
