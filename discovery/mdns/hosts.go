package mdns

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// notifyEvery is how often HostSeen is called for a host that is still there.
const notifyEvery = 25 * time.Second

// hosts are the libp2p hosts of the LAN. It does no I/O.
type hosts struct {
	all  map[string]*host // by id
	gone []string         // for which HostGone is due
	next time.Time        // when HostSeen is due again; zero for never
}

// host is one host, on whatever interfaces it is.
type host struct {
	addrs    []netip.AddrPort // best first
	notified time.Time        // zero if HostSeen is due now
}

func newHosts() hosts { return hosts{all: make(map[string]*host)} }

// replace sets the hosts to those of list.
func (h *hosts) replace(list map[key]*instance) {
	addrs := make(map[string][]netip.AddrPort)
	byAge := func(a, b *instance) int { return a.since.Compare(b.since) }
	for _, i := range slices.SortedFunc(maps.Values(list), byAge) { // the first claim of an id comes first
		known := addrs[i.value]
		for _, a := range i.addrs {
			if len(known) < maxAddrs && !slices.Contains(known, a) {
				known = append(known, a)
			}
		}
		addrs[i.value] = known
	}
	for id := range h.all {
		if len(addrs[id]) == 0 {
			delete(h.all, id)
			h.gone = append(h.gone, id)
		}
	}
	for id, list := range addrs {
		if len(list) == 0 {
			continue
		}
		slices.SortFunc(list, byRank)
		if known := h.all[id]; known == nil || !slices.Equal(known.addrs, list) {
			h.all[id] = &host{addrs: list}
		}
	}
}

// notify calls to for what is new, and for hosts that were not reported for a while.
func (h *hosts) notify(to Hosts, now time.Time) {
	for _, id := range h.gone {
		to.HostGone(id)
	}
	h.gone, h.next = nil, time.Time{}
	for id, x := range h.all {
		if now.Sub(x.notified) >= notifyEvery {
			x.notified = now
			to.HostSeen(id, x.addrs)
		}
		h.next = earlier(h.next, x.notified.Add(notifyEvery))
	}
}
