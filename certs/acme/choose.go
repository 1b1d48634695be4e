package acme

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// choose returns the one of names that a client wants that says serverName, connected from remote
// to local; empty if it wants another one. A client that connects to an IP address says no name,
// and local need not tell it: a UDP socket may not know its address, and a NAT has another one. So
// such a client gets the address of its family then, unless it is on this machine.
func choose(names []string, serverName string, local, remote netip.Addr) string {
	if serverName != "" {
		serverName = strings.ToLower(strings.TrimSuffix(serverName, "."))
		if slices.Contains(names, serverName) {
			return serverName
		}
		return ""
	}
	if local.IsValid() && slices.Contains(names, local.String()) {
		return local.String()
	}
	if remote.IsLoopback() {
		return ""
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil && ip.Is4() == remote.Is4() {
			return name
		}
	}
	return ""
}

// ends returns the IP addresses of the two ends of c; those that are unknown are invalid.
func ends(c net.Conn) (local, remote netip.Addr) {
	if c == nil {
		return local, remote
	}
	return ip(c.LocalAddr()), ip(c.RemoteAddr())
}

// ip returns the IP address of a, without zone; invalid if it has none.
func ip(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	default:
		return netip.Addr{}
	}
}
