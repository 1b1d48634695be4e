//go:build unix

package discovery

import (
	"net"

	"golang.org/x/sys/unix"
)

// isConnected reports whether the peer can still be written to: it may have ended its side, but neither side has reset.
func isConnected(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // closed by its owner, which is no reset
	}
	var lost error
	_ = raw.Control(func(fd uintptr) { _, lost = unix.Getpeername(int(fd)) })
	return lost == nil
}
