package discovery

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"
)

const (
	// namesAge is how long the resolved addresses of our own names are used.
	namesAge = time.Minute
	// namesWithin bounds the time to resolve them.
	namesWithin = 2 * time.Second
)

// ownNames are public names and addresses of this process that no interface has, for example those
// of a NAT or a load balancer. Only dials of plain TCP services check them: another gateway may
// have the same name, and a libp2p host has an id. Any number of goroutines may use it.
type ownNames struct {
	lookUp func(ctx context.Context, network, host string) ([]netip.Addr, error)

	mu    sync.Mutex
	names map[string][]netip.Addr // guarded by mu; with the addresses that each had last
	ports map[uint16]struct{}     // guarded by mu
	until time.Time               // guarded by mu; when they are resolved again
}

// AddOwnName adds a public name or IP address by which others reach this process, and ports at
// which they do. No plain TCP circuit is opened to them.
func (p *Policy) AddOwnName(name string, ports ...uint16) {
	n := &p.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil {
		n.names, n.ports = make(map[string][]netip.Addr), make(map[uint16]struct{})
	}
	n.names[name] = nil
	for _, port := range ports {
		n.ports[port] = struct{}{}
	}
	n.until = time.Time{}
}

// checkNames returns an [*wtproto.Error] with CodeForbidden if addr is a public address of this
// process, as far as that is known. It may wait for the resolver.
func (p *Policy) checkNames(ctx context.Context, addr netip.AddrPort) error {
	n := &p.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ours := n.ports[addr.Port()]; !ours {
		return nil
	}
	if now := time.Now(); !now.Before(n.until) {
		n.resolveLocked(context.WithoutCancel(ctx))
		n.until = now.Add(namesAge)
	}
	for addrs := range maps.Values(n.names) {
		for _, a := range addrs {
			if a == addr.Addr().Unmap().WithZone("") {
				return forbid(addr, "is our own, by name: give the peer a name and address that are not the gateway's")
			}
		}
	}
	return nil
}

// resolveLocked resolves the names. One that cannot be resolved now keeps its addresses.
func (n *ownNames) resolveLocked(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, namesWithin)
	defer cancel()
	for name := range n.names {
		if ip, err := netip.ParseAddr(name); err == nil {
			n.names[name] = []netip.Addr{ip.Unmap().WithZone("")}
			continue
		}
		addrs, err := n.lookUp(ctx, "ip", name)
		if err != nil {
			continue
		}
		for i, a := range addrs {
			addrs[i] = a.Unmap().WithZone("")
		}
		n.names[name] = addrs
	}
}
