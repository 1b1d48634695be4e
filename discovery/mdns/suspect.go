package mdns

import (
	"time"

	"github.com/miekg/dns"
)

// A machine withdraws its services from one of its addresses, or from a new one. That does not
// withdraw what it said from its other addresses, because another machine could do the same. Such
// a record is a suspect: the resolver asks the address that it came from, and only silence ends it
// (RFC 6762, 10.1, 10.2 and 10.4).
const (
	maxRechecks = 4               // after 0, 1, 3 and 7 s
	recheckRest = 3 * time.Second // after the last one
)

// contested returns the instance that the answer a of from withdraws or replaces, if it does.
// eitherFamily says whether that concerns records of both families, or only of the family of from.
func (r *resolver) contested(from origin, a answer) (instance string, eitherFamily bool) {
	switch {
	case a.ttl == 0 && a.kind == dns.TypePTR:
		return a.target, true
	case a.ttl == 0 && (a.kind == dns.TypeSRV || a.kind == dns.TypeTXT):
		return a.name, true
	case a.kind != dns.TypeSRV || !a.flush:
		return "", false
	}
	if n := r.cache.all[from]; n != nil {
		for _, e := range n.sets[a.set] {
			if e.data == a.data {
				return "", false
			}
		}
	}
	return a.name, false
}

// suspect asks the origins other than from again that said where instance is, unless they have
// just said so. The questions count against the quota of from. If that is used up, it asks nobody.
func (r *resolver) suspect(from origin, instance string, eitherFamily bool, now time.Time) {
	for _, e := range r.cache.services[hostname{from.index, instance}] {
		o := e.of.origin
		if o == from || e.rechecks > 0 || e.ends() || !eitherFamily && o.link() != from.link() || now.Sub(e.lastSeen) <= goodbyeAfter {
			continue
		}
		if !r.quota.take(from, maxRechecks, r.knows(from, now), now) {
			return
		}
		e.rechecks, e.recheckAt = maxRechecks, now
	}
}

// recheck asks n where instance is, if n's record is a suspect and the question is due.
func (d *decision) recheck(n *neighbour, instance string) {
	for _, e := range n.sets[set{instance, dns.TypeSRV}] {
		switch {
		case e.rechecks == 0:
			continue
		case !e.recheckAt.After(d.now):
			d.ask(n.link(), e.owner, e.kind)
			if e.rechecks--; e.rechecks == 0 {
				e.endBy(d.now.Add(recheckRest))
				d.next = earlier(d.next, e.expires)
				continue
			}
			e.recheckAt = d.now.Add(time.Second << (maxRechecks - 1 - e.rechecks))
		}
		d.next = earlier(d.next, e.recheckAt)
	}
}
