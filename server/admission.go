package server

import (
	"net/netip"
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// admission counts connections against the limits of the gateway and of each address.
type admission struct {
	total, perAddress int // negative means no limit

	mu        sync.Mutex
	n         int                  // guarded by mu
	addresses map[netip.Prefix]int // guarded by mu
}

func newAdmission(total, perAddress int) *admission {
	return &admission{total: total, perAddress: perAddress, addresses: make(map[netip.Prefix]int)}
}

// enter counts a connection from addr, to be given back by leave. The error says which limit it is over; it is counted even
// then, so that a refusal in progress counts too.
func (a *admission) enter(addr netip.Addr) *wtproto.Error {
	key := addressKey(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	n, same := a.n, a.addresses[key]
	a.n++
	a.addresses[key]++
	switch {
	case !within(same, a.perAddress):
		return wtproto.Errorf(wtproto.CodeRateLimited, "%d sessions from %v are the most", a.perAddress, key)
	case !within(n, a.total):
		return wtproto.Errorf(wtproto.CodeBusy, "%d sessions are the most", a.total)
	}
	return nil
}

func (a *admission) leave(addr netip.Addr) {
	key := addressKey(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n--
	if a.addresses[key]--; a.addresses[key] == 0 {
		delete(a.addresses, key)
	}
}
