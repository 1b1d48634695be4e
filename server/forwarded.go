package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

// clientAddr returns the address of the client that sent r: that of the connection, or what
// X-Forwarded-For says if the connection is that of a trusted proxy. Each proxy appends the
// address that it got the request from, so the last one that is not a trusted proxy counts; a
// client can have written everything before it. If a trusted proxy says nothing that makes sense,
// its own address counts.
func clientAddr(r *http.Request, trusted crowd.Shared) net.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return &net.TCPAddr{}
	}
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(list) - 1; i >= 0 && trusted.Contains(at.Addr()); i-- {
		next, ok := parseForwarded(strings.TrimSpace(list[i]))
		if !ok {
			break
		}
		if at = next; !trusted.Contains(at.Addr()) {
			break
		}
	}
	return net.TCPAddrFromAddrPort(at)
}

// parseForwarded reads an address, maybe with a port.
func parseForwarded(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return netip.AddrPortFrom(a, 0), err == nil
}
