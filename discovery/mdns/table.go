package mdns

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxAddrs is how many addresses an instance has at most.
const maxAddrs = 8

// key identifies an instance. The same name on another interface is another instance.
type key struct {
	iface    string // name of the interface
	instance string // its full name, canonical
	value    string // of the service's TXT key
}

// instance is an instance of a service, built from claims.
type instance struct {
	key
	addrs   []netip.AddrPort // where it may be dialed, best first
	refused error            // why it may not be dialed at all; nil if it may
	since   time.Time        // when we heard its first claimant first
	expires time.Time
	version uint64 // changes whenever there is news of it
}

// instances builds the instances of s from claims: where each may be dialed, or why not. An
// address has to be in a subnet of the interface on which it was claimed, and pass check. A
// link-local address gets the zone of the interface.
func instances(s *service, claims []claim, lan map[int]discovery.Interface, check func(netip.AddrPort) error) map[key]*instance {
	slices.SortFunc(claims, func(a, b claim) int { // the oldest claimant first
		return cmp.Or(a.since.Compare(b.since), a.addr.Compare(b.addr), a.index-b.index, cmp.Compare(a.instance, b.instance))
	})
	out := make(map[key]*instance)
	perOrigin := make(map[origin]int)
	for _, c := range claims {
		iface, on := lan[c.index]
		if c.of != s || !on {
			continue
		}
		if perOrigin[c.origin]++; s.most > 0 && perOrigin[c.origin] > s.most {
			continue
		}
		k := key{iface.Name, c.instance, c.value}
		i := out[k]
		if i == nil {
			i = &instance{key: k, since: c.since}
			out[k] = i
		}
		if c.expires.After(i.expires) {
			i.expires = c.expires
		}
		for _, ip := range c.addrs {
			i.add(c, ip, iface, check)
		}
	}
	for _, i := range out {
		if len(i.addrs) > 0 {
			i.refused = nil
		}
		slices.SortFunc(i.addrs, byRank)
	}
	return out
}

// add adds the address ip of c, which was claimed on iface, or the reason against it.
func (i *instance) add(c claim, ip netip.Addr, iface discovery.Interface, check func(netip.AddrPort) error) {
	switch {
	case c.foreign:
		i.refused = wtproto.Errorf(wtproto.CodeForbidden, "%s says it is at %s, which is not its own address: allow proxies with --lan-any-host", c.addr, ip)
		return
	case !slices.ContainsFunc(iface.Subnets, func(s netip.Prefix) bool { return s.Contains(ip) }):
		i.refused = wtproto.Errorf(wtproto.CodeForbidden, "%s is in no subnet of %s: have the service announce an address of this LAN, or configure it with --static", ip, iface.Name)
		return
	}
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(iface.Name)
	}
	at := netip.AddrPortFrom(ip, c.port)
	if err := check(at); err != nil {
		i.refused = err
		return
	}
	if len(i.addrs) < maxAddrs && !slices.Contains(i.addrs, at) {
		i.addrs = append(i.addrs, at)
	}
}

// byRank puts addresses into the order in which they are tried: IPv4 first, link-local last.
func byRank(a, b netip.AddrPort) int {
	rank := func(ip netip.Addr) int {
		switch {
		case ip.Is4():
			return 0
		case !ip.IsLinkLocalUnicast():
			return 1
		default:
			return 2
		}
	}
	return cmp.Or(rank(a.Addr())-rank(b.Addr()), a.Compare(b))
}

// table holds the present instances, by their topic or host. It does no I/O.
type table struct {
	all     map[string]map[key]*instance
	version uint64 // of the last changed instance
}

func newTable() table { return table{all: make(map[string]map[key]*instance)} }

// replace sets the instances to list. It returns the values with news: their instances came, went
// or moved, or expire much later than before.
func (t *table) replace(list map[key]*instance, now time.Time) (news map[string]bool) {
	news = make(map[string]bool)
	for value, known := range t.all {
		for k := range known {
			if list[k] == nil {
				delete(known, k)
				news[value] = true
			}
		}
		if len(known) == 0 {
			delete(t.all, value)
		}
	}
	for k, i := range list {
		if t.all[k.value] == nil {
			t.all[k.value] = make(map[key]*instance)
		}
		before := t.all[k.value][k]
		if before != nil && before.matches(i, now) {
			continue
		}
		t.version++
		i.version = t.version
		t.all[k.value][k] = i
		news[k.value] = true
	}
	return news
}

// matches reports whether i differs from after in nothing that anybody needs to know.
func (i *instance) matches(after *instance, now time.Time) bool {
	same := slices.Equal(i.addrs, after.addrs) && (i.refused == nil) == (after.refused == nil)
	return same && i.expires.Sub(now) >= after.expires.Sub(now)/2
}

// count returns how many instances there are.
func (t *table) count() (n int) {
	for _, known := range t.all {
		n += len(known)
	}
	return n
}
