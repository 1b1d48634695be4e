//go:build !linux

package udp

import (
	"net"

	"golang.org/x/net/ipv4"
)

// newReader returns the reader of socket. Only Linux has GRO.
func newReader(socket *net.UDPConn) (batchReader, bool, error) {
	return ipv4.NewPacketConn(socket), false, nil
}
