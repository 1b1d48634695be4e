package udp

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// newReader returns the reader of socket, and whether the kernel has GRO, which is on from then
// on.
func newReader(socket *net.UDPConn) (batchReader, bool, error) {
	packets := ipv4.NewPacketConn(socket)
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	var unsupported error
	if err := raw.Control(func(fd uintptr) {
		unsupported = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}); err != nil {
		return nil, false, err
	}
	if unsupported != nil {
		return packets, false, nil
	}
	return &splitter{packets: packets}, true, nil
}

// cutSegmentSize takes the UDP_GRO message out of oob, in place. It returns the length of the
// packets in bytes, or 0 for a packet that came alone, and the other control messages.
func cutSegmentSize(oob []byte) (size int, rest []byte) {
	for at := oob; len(at) >= unix.SizeofCmsghdr; {
		h, data, next, err := unix.ParseOneSocketControlMessage(at)
		if err != nil {
			break // the kernel writes whole messages; what is cut short is at the end
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			n := len(oob) - len(at)
			return int(binary.NativeEndian.Uint32(data)), oob[:n+copy(oob[n:], next)]
		}
		at = next
	}
	return 0, oob
}
