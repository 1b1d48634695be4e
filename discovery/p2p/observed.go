package p2p

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// observed are the addresses at which others reach this host although no interface has them,
// because a router translates them, as in most clouds. A seed says from which address we connect
// to it. If it then calls back and reaches us, that address is ours, with the port that it
// reached. The operator chose the seeds, so we believe them. We do not believe strangers here
// (libp2p believes four that agree). Any number of goroutines may use it.
type observed struct {
	mu    sync.Mutex
	seeds map[peer.ID]view // guarded by mu
}

// view is the view of one seed.
type view struct {
	at   netip.Addr // where the seed is
	from netip.Addr // the address that we come from, as it says
	port uint16     // at which it reached us; 0 if it has not
}

// trust sets the seeds to believe.
func (o *observed) trust(seeds []target) {
	o.seeds = make(map[peer.ID]view)
	for _, s := range seeds {
		o.seeds[s.id] = view{}
	}
}

// noteView notes that id, to which we are connected at the address at, says that we come from the
// address from.
func (o *observed) noteView(id peer.ID, at, from netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.seeds[id]
	switch {
	case !ok:
	case v.at != at:
		o.seeds[id] = view{at: at, from: from}
	default:
		v.from = from
		o.seeds[id] = v
	}
}

// reached notes that id has connected to our port from an address. It reports whether that shows a
// new address of ours.
func (o *observed) reached(id peer.ID, from netip.Addr, port uint16) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.seeds[id]
	if !ok || v.at != from || !v.from.IsValid() || v.port == port {
		return false
	}
	v.port = port
	o.seeds[id] = v
	return true
}

// addrs returns the shown addresses, in order.
func (o *observed) addrs() []netip.AddrPort {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make(map[netip.AddrPort]bool)
	for _, v := range o.seeds {
		if v.port != 0 {
			all[netip.AddrPortFrom(v.from, v.port)] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), netip.AddrPort.Compare)
}

// add returns addrs and the shown addresses.
func (o *observed) add(addrs []ma.Multiaddr) []ma.Multiaddr {
	for _, a := range o.addrs() {
		if m, err := toMultiaddr(a); err == nil && !ma.Contains(addrs, m) {
			addrs = append(addrs[:len(addrs):len(addrs)], m)
		}
	}
	return addrs
}
