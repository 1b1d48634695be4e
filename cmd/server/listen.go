package main

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/swarmgate/swarmgate/internal/udp"
)

// portAttempts is how many free UDP ports are tried to find one whose TCP port is free too.
const portAttempts = 32

// both are a UDP socket and a TCP listener with the same address and port.
type both struct {
	udp *udp.Conn
	tcp net.Listener
}

// listenBoth opens both on addr.
func listenBoth(addr hostPort) (both, error) { return listenBothBy(net.Listen, addr) }

// listenBothBy is listenBoth with another way to listen on TCP.
func listenBothBy(listen func(network, address string) (net.Listener, error), addr hostPort) (both, error) {
	for attempt := 1; ; attempt++ {
		socket, err := udp.Listen("udp", string(addr))
		if err != nil {
			return both{}, err
		}
		listener, err := listen("tcp", socket.LocalAddr().String())
		if err == nil {
			limitSegments(listener)
			return both{socket, listener}, nil
		}
		socket.Close()
		free := strings.HasSuffix(string(addr), ":0")
		if !free || !errors.Is(err, syscall.EADDRINUSE) || attempt == portAttempts {
			return both{}, err
		}
	}
}

// ipPort returns the address, unmapped, and port of a socket or listener of IP. For another kind
// it returns the zero value.
func ipPort(a net.Addr) netip.AddrPort {
	var p netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		p = a.AddrPort()
	case *net.TCPAddr:
		p = a.AddrPort()
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// reachable returns an address at which this machine reaches a, which may be the wildcard.
func reachable(a net.Addr) netip.AddrPort {
	p := ipPort(a)
	if p.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Port())
	}
	return p
}
