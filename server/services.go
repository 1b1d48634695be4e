package server

import (
	"net/netip"
	"slices"

	"github.com/swarmgate/swarmgate/discovery"
)

// This file is about plain TCP services that are seen by several networks, or by several names:
// those at one address are one. Nobody proves who a service is, so whoever says where it is
// matters: of two at one address, that of the more trusted source is dialed, and the other keeps
// nobody from it. Beyond that, an address counts for what a circuit is connected to.

// remoteOf returns the address of the service that stream is connected to, or the zero value.
func remoteOf(stream discovery.Stream) netip.AddrPort {
	if l, ok := stream.(discovery.Located); ok {
		return l.Remote()
	}
	return netip.AddrPort{}
}

// address returns where p is, for people: where it answered last, if it did.
func (p *peer) address() string {
	if p.Service != nil && p.at.IsValid() && !p.refused {
		return discovery.ServiceAddress(p.at)
	}
	return p.Address
}

// replace notes where p is now: where it was seen, and where it answered last. Others at these
// addresses, or at those of before, may be dialed because of that. As long as p is trusted no more
// than they are and never answered, nothing changes for them, so that any number of services made
// up at one address costs little.
func (t *topic) replace(p *peer) {
	answered := p.at.IsValid()
	var places []netip.AddrPort
	if p.known && p.Service != nil {
		places = slices.Clone(p.Service.At)
		if p.at.IsValid() && !slices.Contains(places, p.at) {
			if len(places) > 0 && p.Service.Source < discovery.SourceConfigured { // it has moved
				p.at = netip.AddrPort{}
			} else {
				places = append(places, p.at)
			}
		}
	}
	if slices.Equal(places, p.places) {
		return
	}
	before := t.around(p)
	for _, a := range p.places {
		if t.services[a] = slices.DeleteFunc(t.services[a], func(q *peer) bool { return q == p }); len(t.services[a]) == 0 {
			delete(t.services, a)
		}
	}
	p.places = places
	for _, a := range places {
		put(&t.services, a, append(t.services[a], p))
	}
	t.pick(p)
	for _, q := range t.around(p) {
		if q.Service.Source < p.Service.Source {
			t.pick(q)
		}
	}
	changed := before[:0]
	for _, q := range before {
		if same := q.sameAs == p; same || answered {
			if same {
				t.pick(q)
			}
			changed = append(changed, q)
		}
	}
	t.recheck(changed)
}

// around returns the other services at the addresses of p.
func (t *topic) around(p *peer) (others []*peer) {
	seen := map[*peer]bool{p: true}
	for _, a := range p.places {
		for _, q := range t.services[a] {
			if !seen[q] {
				seen[q] = true
				others = append(others, q)
			}
		}
	}
	return others
}

// pick notes which service of a more trusted source p is, if it is one.
func (t *topic) pick(p *peer) {
	var better *peer
	for _, a := range p.places {
		for _, q := range t.services[a] {
			if q.Service.Source > p.Service.Source && (better == nil || q.Service.Source > better.Service.Source) {
				better = q
			}
		}
	}
	if (better != nil) != (p.sameAs != nil) {
		if t.changed = true; better != nil {
			t.doubles++
		} else {
			t.doubles--
		}
	}
	p.sameAs = better
}

// recheck has the services of a list looked at again by everybody.
func (t *topic) recheck(list []*peer) {
	for _, q := range list {
		t.relist(q)
		if q.class > 0 {
			t.offer(q)
		}
	}
}

// redundant reports whether s need not dial p, since it is connected with the same service, or
// another peer is that, and is the one to be dialed: one of a more trusted source, or one that
// answered there before and that s is dialing. A service of which another address is known is
// dialed nevertheless once the other one fails.
func (t *topic) redundant(s *subscription, p *peer) bool {
	if p.Service == nil {
		return false
	}
	if q := p.sameAs; q != nil && s.meets(q.Network) {
		within := !slices.ContainsFunc(p.places, func(a netip.AddrPort) bool { return !slices.Contains(q.places, a) })
		if within || !q.refused {
			return true
		}
	}
	for _, a := range p.places {
		if s.services[a] > 0 {
			return true
		}
		for _, q := range t.services[a] {
			pr := s.pairs[q.key]
			if q != p && pr != nil && pr.state == pairDialing && q.at == a && q.Service.Source >= p.Service.Source {
				return true
			}
		}
	}
	return false
}
