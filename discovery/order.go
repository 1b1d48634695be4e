package discovery

import (
	"net/netip"
	"slices"
)

// Class says how near an address is. The addresses of a peer are tried in this order, the smallest
// class first.
type Class int

// The classes of addresses.
const (
	ClassSubnet    Class = iota // in a subnet of this machine
	ClassLinkLocal              // link-local
	ClassFar                    // any other
	ClassLoopback               // of every machine for itself
	numClasses
)

// ClassOf returns the class of ip for a machine with these subnets. It is pure.
func ClassOf(ip netip.Addr, subnets []netip.Prefix) Class {
	ip = ip.Unmap()
	switch {
	case ip.IsLoopback():
		return ClassLoopback
	case ip.IsLinkLocalUnicast():
		return ClassLinkLocal
	case slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(ip) }):
		return ClassSubnet
	}
	return ClassFar
}

// Order returns addrs without duplicates, in the order in which to try them: by their [Class],
// loopback last. Within a class IPv4 and IPv6 take turns (RFC 8305, 4). Otherwise it keeps the
// order. If it cannot read the subnets, it takes no address for near.
func (p *Policy) Order(addrs []netip.AddrPort) []netip.AddrPort {
	view, _ := p.lan.view()
	return order(addrs, view.subnets)
}

// order is Order with the subnets of this machine.
func order(addrs []netip.AddrPort, subnets []netip.Prefix) []netip.AddrPort {
	var sorted [numClasses][]netip.AddrPort
	seen := make(map[netip.AddrPort]bool)
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if !seen[a] {
			seen[a] = true
			c := ClassOf(a.Addr(), subnets)
			sorted[c] = append(sorted[c], a)
		}
	}
	var out []netip.AddrPort
	for _, s := range sorted {
		out = append(out, alternate(s)...)
	}
	return out
}

// alternate sorts addrs so that the families take turns, beginning with that of the first address.
func alternate(addrs []netip.AddrPort) []netip.AddrPort {
	var first, second []netip.AddrPort
	for _, a := range addrs {
		if a.Addr().Is4() == addrs[0].Addr().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	var out []netip.AddrPort
	for i := range max(len(first), len(second)) {
		out = append(out, first[min(i, len(first)):min(i+1, len(first))]...)
		out = append(out, second[min(i, len(second)):min(i+1, len(second))]...)
	}
	return out
}
