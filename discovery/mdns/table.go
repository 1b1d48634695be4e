package mdns

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// table remembers the instances of one service type: what answers said, put together over several cycles, since one answer
// may carry a part of the addresses. It does no I/O.
type table struct {
	max  int
	hold time.Duration
	all  map[string]*instance
	full bool // something was not taken since there last was room

	version uint64 // of the instance that changed last
}

// instance is one instance of a service.
type instance struct {
	name    string
	value   string // of the service's TXT key
	port    uint16
	addrs   map[netip.Addr]time.Time // when each was seen last
	refused error                    // why the policy allows none of its addresses; nil where addrs is not empty
	seen    time.Time
	version uint64 // another one whenever it was seen
}

func newTable(limit int, hold time.Duration) table {
	return table{max: limit, hold: hold, all: make(map[string]*instance)}
}

// merge adds what r says now, with its addresses that may be dialed, or none and the reason. It returns the instance, and
// the value that it had before; or nil where r is of no use or there is no room, and full where that is so for the first time.
func (t *table) merge(r record, allowed []netip.Addr, refused error, now time.Time) (i *instance, before string, full bool) {
	i, known := t.all[r.instance]
	switch {
	case known:
		before = i.value
	case r.value == "":
		return nil, "", false
	case len(t.all) >= t.max:
		full, t.full = !t.full, true
		return nil, "", full
	default:
		i = &instance{name: r.instance, addrs: make(map[netip.Addr]time.Time)}
		t.all[r.instance] = i
	}
	if r.value != "" {
		i.value = r.value
	}
	if i.port != r.port {
		clear(i.addrs) // the policy was asked about the old port
	}
	t.version++
	i.port, i.seen, i.version = r.port, now, t.version
	for ip, seen := range i.addrs {
		if now.Sub(seen) >= t.hold {
			delete(i.addrs, ip)
		}
	}
	for _, ip := range allowed {
		i.addrs[ip] = now
	}
	if list := i.list(); len(list) > maxAddrs {
		for _, ip := range list[maxAddrs:] {
			delete(i.addrs, ip)
		}
	}
	if i.refused = refused; len(i.addrs) > 0 {
		i.refused = nil
	}
	return i, before, false
}

// forget drops the instances that are not there any more.
func (t *table) forget(now time.Time) {
	for name, i := range t.all {
		if !t.isThere(i, now) {
			delete(t.all, name)
		}
	}
	t.full = t.full && len(t.all) >= t.max
}

// isThere reports whether i was seen lately enough.
func (t *table) isThere(i *instance, now time.Time) bool { return now.Sub(i.seen) < t.hold }

// list returns the addresses of i in the order in which they are tried: IPv4 first, link-local last.
func (i *instance) list() []netip.Addr {
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
	return slices.SortedFunc(maps.Keys(i.addrs), func(a, b netip.Addr) int {
		return cmp.Or(rank(a)-rank(b), a.Compare(b))
	})
}

// listPorts returns the addresses of i with its port, in the order of list.
func (i *instance) listPorts() []netip.AddrPort {
	var out []netip.AddrPort
	for _, ip := range i.list() {
		out = append(out, netip.AddrPortFrom(ip, i.port))
	}
	return out
}
