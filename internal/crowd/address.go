package crowd

import (
	"net"
	"net/netip"
	"slices"
)

// Widen is how many times the limit of a group of addresses the next wider one has.
const Widen = 4

// Groups returns the groups that addr belongs to, narrowest first: its /32, or for IPv6 its /64,
// /56 and /48. One party may own each of these.
func Groups(addr netip.Addr) []netip.Prefix {
	addr = addr.Unmap().WithZone("")
	lengths := []int{32}
	if addr.Is6() {
		lengths = []int{64, 56, 48}
	}
	groups := make([]netip.Prefix, len(lengths))
	for i, bits := range lengths {
		groups[i], _ = addr.Prefix(bits) // bits fit the family
	}
	return groups
}

// AddrOf returns the IP address of a, or 0.0.0.0 if it has none: all of those are one group.
func AddrOf(a net.Addr) netip.Addr { return AddrPortOf(a).Addr() }

// AddrPortOf returns the IP address and port of a, or 0.0.0.0:0 if it has none.
func AddrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case nil:
	case interface{ AddrPort() netip.AddrPort }: // of UDP and TCP
		return a.AddrPort()
	default:
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			return ap
		}
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// Shared are networks whose addresses each stand for many parties, for example those of load
// balancers. An address in them is a group of its own, without the limits of one.
type Shared []netip.Prefix

// Contains reports whether addr is in one of the networks.
func (s Shared) Contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(s, func(p netip.Prefix) bool { return p.Contains(addr) })
}
