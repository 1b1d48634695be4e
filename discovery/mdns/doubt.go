package mdns

import (
	"time"

	"github.com/miekg/dns"
)

// A machine takes back its services from one of its addresses, or from a new one, and what it said
// from others is not taken back with that, for another machine could say so too. It is in doubt: who
// said it is asked, and only silence ends it (RFC 6762, 10.1, 10.2 and 10.4).
const (
	doubtAsks = 4               // after 0, 1, 3 and 7 s
	doubtRest = 3 * time.Second // after the last one
)

// contested returns the instance that a, which from is about to say, takes back or says anew, if it
// does, and whether that is about what either family said, or only that of from.
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

// doubt has those asked who said where instance is, other than from, unless they just did. The
// questions are for the sake of from: if it had too many, there is no doubt.
func (r *resolver) doubt(from origin, instance string, eitherFamily bool, now time.Time) {
	for _, e := range r.cache.services[hostname{from.index, instance}] {
		o := e.of.origin
		if o == from || e.doubts > 0 || e.ends() || !eitherFamily && o.link() != from.link() || now.Sub(e.heard) <= goodbyeAfter {
			continue
		}
		if !r.quota.take(from, doubtAsks, r.knows(from, now), now) {
			return
		}
		e.doubts, e.doubtAt = doubtAsks, now
	}
}

// recheck asks for what n says of where instance is, if that is in doubt and due.
func (d *decision) recheck(n *neighbour, instance string) {
	for _, e := range n.sets[set{instance, dns.TypeSRV}] {
		switch {
		case e.doubts == 0:
			continue
		case !e.doubtAt.After(d.now):
			d.ask(n.link(), e.owner, e.kind)
			if e.doubts--; e.doubts == 0 {
				e.endBy(d.now.Add(doubtRest))
				d.next = earlier(d.next, e.expires)
				continue
			}
			e.doubtAt = d.now.Add(time.Second << (doubtAsks - 1 - e.doubts))
		}
		d.next = earlier(d.next, e.doubtAt)
	}
}
