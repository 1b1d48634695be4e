package main

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSegment is how many bytes a segment of TCP has at most, either way: what is left of the least
// MTU of IPv6 after its header and that of TCP.
const maxSegment = 1280 - 40 - 20

// limitSegments has connections of l use segments of at most maxSegment bytes. Where a packet is
// too large for a part of the way, a router is to say so. Many filter that out, and then a
// connection hangs at its first full segment, for example in the TLS handshake.
func limitSegments(l net.Listener) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, maxSegment) // without it most paths work too
		})
	}
}
