//go:build !linux

package udp

import (
	"net"
	"net/netip"
)

// Fragments reports whether [Conn.WriteFragmented] has packets to addr arrive over a path that
// carries only smaller ones.
func Fragments(netip.Addr) bool { return false }

// WriteFragmented is [Conn.WriteMsgUDP].
func (c *Conn) WriteFragmented(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	return c.WriteMsgUDP(b, oob, addr)
}

// SegmentSize returns 0: no packets are sent together here.
func SegmentSize([]byte) int { return 0 }
