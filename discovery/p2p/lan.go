package p2p

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxLAN is how many hosts of the LAN are remembered. A LAN is trusted little: anybody on it can
// claim to be thousands.
const maxLAN = 256

// lan remembers the hosts that were seen on the LAN, for a while. Any number of goroutines may use
// it.
type lan struct {
	hold time.Duration

	mu    sync.Mutex
	hosts map[peer.ID]lanHost // guarded by mu
}

type lanHost struct {
	addrs []netip.AddrPort
	seen  time.Time
}

func newLAN(hold time.Duration) *lan { return &lan{hold: hold, hosts: make(map[peer.ID]lanHost)} }

// saw notes that id is at addrs, and keeps maxAddrs of them. The least recently seen host makes
// room.
func (l *lan) saw(id peer.ID, addrs []netip.AddrPort) {
	kept := make([]netip.AddrPort, 0, maxAddrs)
	for _, a := range addrs[:min(len(addrs), maxAddrs)] {
		kept = append(kept, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.hosts[id]; !known && len(l.hosts) >= maxLAN {
		var oldest peer.ID
		for other, h := range l.hosts {
			if oldest == "" || h.seen.Before(l.hosts[oldest].seen) {
				oldest = other
			}
		}
		delete(l.hosts, oldest)
	}
	l.hosts[id] = lanHost{addrs: kept, seen: time.Now()}
}

// forget forgets id.
func (l *lan) forget(id peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hosts, id)
}

// has reports whether id was seen at addr.
func (l *lan) has(id peer.ID, addr netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.hosts[id]
	return ok && time.Since(h.seen) < l.hold && slices.Contains(h.addrs, addr)
}

// target returns id with its addresses, if it is on the LAN.
func (l *lan) target(id peer.ID) (target, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.hosts[id]
	if !ok || time.Since(h.seen) >= l.hold {
		return target{}, false
	}
	return h.target(id), true
}

// all returns the hosts that are there, and forgets those that are not.
func (l *lan) all() []target {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []target
	for id, h := range l.hosts {
		if time.Since(h.seen) >= l.hold {
			delete(l.hosts, id)
			continue
		}
		all = append(all, h.target(id))
	}
	return all
}

func (h lanHost) target(id peer.ID) target {
	t := target{id: id, network: networkLAN}
	for _, a := range h.addrs {
		if m, err := toMultiaddr(a); err == nil {
			t.addrs = append(t.addrs, m)
		}
	}
	return t
}
