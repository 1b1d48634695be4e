package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"

	"github.com/swarmgate/swarmgate/discovery"
)

// maxAddrs is how many addresses of one host are tried.
const maxAddrs = 8

// maxSameIP is how many of them may have the same IP address. With more, somebody could have us
// scan the ports of a third party.
const maxSameIP = 2

// Names of the ways by which a host is found, as clients and operators see them.
const (
	networkDHT    = "dht"
	networkLAN    = "lan"
	networkStatic = "static"
)

// target is a host that was found or configured.
type target struct {
	id      peer.ID
	addrs   []ma.Multiaddr // may be empty if the host is connected, or the DHT knows its addresses
	network string         // how it was found
	named   bool           // the operator wrote addrs
}

// errNotPlainTCP describes valid addresses for Listen and Announce.
var errNotPlainTCP = errors.New("want /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT")

// parseMultiaddr reads s. Its error does not repeat s.
func parseMultiaddr(s string) (ma.Multiaddr, error) {
	m, err := ma.NewMultiaddr(s)
	if err == nil {
		return m, nil
	}
	prefix := fmt.Sprintf("failed to parse multiaddr %q: ", strings.TrimRight(s, "/"))
	return nil, errors.New(strings.TrimPrefix(err.Error(), prefix))
}

// parseTarget reads what an operator wrote: the address or name of a host, TCP, and its id.
func parseTarget(s string) (target, error) {
	m, err := parseMultiaddr(s)
	if err != nil {
		return target{}, err
	}
	addr, id := peer.SplitAddr(m)
	if id == "" {
		return target{}, errors.New("want /p2p/ID at its end")
	}
	_, plain := plainTCP(addr)
	dnsaddr := len(addr) == 1 && addr[0].Code() == ma.P_DNSADDR
	dns := len(addr) == 2 && isName(addr) && addr[1].Code() == ma.P_TCP
	if !plain && !dnsaddr && !dns {
		return target{}, errors.New("want an address or a name, with /tcp/PORT")
	}
	return target{id: id, addrs: []ma.Multiaddr{addr}, named: true}, nil
}

// isName reports whether m begins with a name that has addresses.
func isName(m ma.Multiaddr) bool {
	if len(m) == 0 {
		return false
	}
	switch m[0].Code() {
	case ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
		return true
	}
	return false
}

// plainTCP returns the address in m if m is an IP address with TCP, perhaps with the id of the
// host, and nothing else. It rejects addresses with a zone, because the zone of a stranger means
// nothing here.
func plainTCP(m ma.Multiaddr) (netip.AddrPort, bool) {
	if len(m) == 3 && m[2].Code() == ma.P_P2P {
		m = m[:2]
	}
	if len(m) != 2 || m[1].Code() != ma.P_TCP {
		return netip.AddrPort{}, false
	}
	if c := m[0].Code(); c != ma.P_IP4 && c != ma.P_IP6 {
		return netip.AddrPort{}, false
	}
	ip, ok := netip.AddrFromSlice(m[0].RawValue())
	port := m[1].RawValue()
	if !ok || len(port) != 2 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port[0])<<8|uint16(port[1])), true
}

// isLoopback reports whether m is an address of loopback.
func isLoopback(m ma.Multiaddr) bool {
	a, ok := plainTCP(m)
	return ok && a.Addr().IsLoopback()
}

// inOrder returns the addresses of one host in the order in which to try them, that of their
// [discovery.Class], at most maxAddrs and at most maxSameIP of one IP address. Loopback cannot be
// an address of another machine, and a host that was restarted often has many of them. So loopback
// addresses count only if the host has no other address, or has an address of this machine.
func inOrder(addrs []ma.Multiaddr, around *surroundings) []ma.Multiaddr {
	here := around.addrs()
	class := func(m ma.Multiaddr) discovery.Class {
		a, _ := plainTCP(m)
		return discovery.ClassOf(a.Addr(), here)
	}
	ordered := slices.Clone(addrs)
	slices.SortStableFunc(ordered, func(a, b ma.Multiaddr) int { return cmp.Compare(class(a), class(b)) })
	loopback := slices.IndexFunc(ordered, isLoopback)
	isHere := func(m ma.Multiaddr) bool {
		a, _ := plainTCP(m)
		return around.isOurs(a.Addr())
	}
	if loopback > 0 && !slices.ContainsFunc(ordered[:loopback], isHere) {
		ordered = ordered[:loopback]
	}
	ips := make(map[netip.Addr]int)
	ordered = slices.DeleteFunc(ordered, func(m ma.Multiaddr) bool {
		a, _ := plainTCP(m)
		ips[a.Addr()]++
		return ips[a.Addr()] > maxSameIP
	})
	return ordered[:min(len(ordered), maxAddrs)]
}

// toMultiaddr is the inverse of plainTCP.
func toMultiaddr(a netip.AddrPort) (ma.Multiaddr, error) {
	family := "ip4"
	if a.Addr().Is6() {
		family = "ip6"
	}
	return ma.NewMultiaddr(fmt.Sprintf("/%s/%s/tcp/%d", family, a.Addr(), a.Port()))
}

// names resolves the names that the operator wrote.
type names struct{ network.MultiaddrDNSResolver }

// systemNames asks the resolver of the system.
func systemNames() names { return names{swarm.ResolverFromMaDNS{Resolver: madns.DefaultResolver}} }

// resolve returns the plain TCP addresses that t's addresses mean now. If there is an error, it
// returns the addresses that could be resolved too.
func (n names) resolve(ctx context.Context, t target) ([]ma.Multiaddr, error) {
	const depth, limit = 4, 64
	var plain []ma.Multiaddr
	var errs []error
	for _, m := range t.addrs {
		found := []ma.Multiaddr{m}
		if m[0].Code() == ma.P_DNSADDR {
			var err error
			if found, err = n.ResolveDNSAddr(ctx, t.id, m, depth, limit); err != nil {
				errs = append(errs, fmt.Errorf("p2p: resolve %s: %w", m, err))
				continue
			}
		}
		for _, f := range found {
			f, _ = peer.SplitAddr(f)
			addrs := []ma.Multiaddr{f}
			if len(f) == 2 && isName(f) && f[1].Code() == ma.P_TCP {
				var err error
				if addrs, err = n.ResolveDNSComponent(ctx, f, limit); err != nil {
					errs = append(errs, fmt.Errorf("p2p: resolve %s: %w", f, err))
					continue
				}
			}
			for _, a := range addrs {
				if _, ok := plainTCP(a); ok {
					plain = append(plain, a)
				}
			}
		}
	}
	return plain, errors.Join(errs...)
}

// noNames is the resolver for libp2p. It resolves nothing, because strangers may have chosen the
// names.
type noNames struct{}

func (noNames) ResolveDNSAddr(context.Context, peer.ID, ma.Multiaddr, int, int) ([]ma.Multiaddr, error) {
	return nil, nil
}

func (noNames) ResolveDNSComponent(context.Context, ma.Multiaddr, int) ([]ma.Multiaddr, error) {
	return nil, nil
}
