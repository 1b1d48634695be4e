package udp

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Fragments reports whether [Conn.WriteFragmented] has packets to addr arrive over a path that
// carries only smaller ones. Routers do not divide packets of IPv6, and Linux itself divides only
// those that its own interface does not carry, whatever IPV6_MTU says.
func Fragments(addr netip.Addr) bool { return addr.Unmap().Is4() }

// WriteFragmented is [Conn.WriteMsgUDP] for one packet to an address of IPv4 that this system and
// routers may divide into fragments. Packets that are sent meanwhile may be divided too.
func (c *Conn) WriteFragmented(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var before int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		if before, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		}
	}); err != nil {
		return 0, 0, err
	}
	if failed == nil {
		defer raw.Control(func(fd uintptr) { // it does nothing if the socket was closed
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, before) // it was so before
		})
	}
	return c.WriteMsgUDP(b, oob, addr)
}

// SegmentSize returns the length of the packets into which a UDP_SEGMENT message in oob divides
// what is sent with it, in bytes, or 0 without one.
func SegmentSize(oob []byte) int {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, next, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_SEGMENT && len(data) >= 2 {
			return int(binary.NativeEndian.Uint16(data))
		}
		oob = next
	}
	return 0
}
