package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/swarmgate/swarmgate/internal/hostname"
)

// stagger is how long an address may take before the next one is tried beside it (RFC 8305).
const stagger = 250 * time.Millisecond

// resolve returns the addresses of a gateway in the order in which they are tried: the resolver's,
// with families in turn.
func resolve(ctx context.Context, host, port string) ([]netip.AddrPort, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("invalid port %q", port)
	}
	addrs := make([]netip.Addr, 1)
	if addrs[0], err = netip.ParseAddr(host); err != nil {
		if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", hostname.ToResolve(host)); err != nil {
			return nil, err
		}
	}
	var to []netip.AddrPort
	for _, a := range inTurn(addrs) {
		to = append(to, netip.AddrPortFrom(a, uint16(n)))
	}
	return to, nil
}

// dialTCP is DialContext of a [net.Dialer] that resolves names below localhost itself.
func dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil {
		address = net.JoinHostPort(hostname.ToResolve(host), port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// inTurn reorders addrs so that families alternate, beginning with that of the first.
func inTurn(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		i := 0
		if a.Is4() != addrs[0].Unmap().Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	sorted := make([]netip.Addr, 0, len(addrs))
	for i := range addrs {
		for _, f := range families {
			if i < len(f) {
				sorted = append(sorted, f[i])
			}
		}
	}
	return sorted
}
