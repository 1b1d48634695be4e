package mdns

import (
	"container/list"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Bounds of the cache. A machine with 40 services has about 120 records for each family.
const (
	maxRecords   = 8192 // of all origins
	maxOwn       = 512  // of one origin
	maxOrigins   = 2048
	maxTTL       = 75 * time.Minute // RFC 6762, 10 recommends this for the most stable records
	goodbyeAfter = time.Second      // a withdrawn record lives on for this time (RFC 6762, 10.1)
)

// origin is the sender of packets: a source address on an interface. The cache keeps the records
// of each origin apart, so no machine can withdraw, change or push out the records of another one.
type origin struct {
	index int        // of the interface
	addr  netip.Addr // unmapped, without zone
}

// hostname is the name of a host on an interface.
type hostname struct {
	index int
	name  string // canonical
}

// set names the records of one name and type.
type set struct {
	name string // canonical: lower case, with the last dot
	kind uint16 // such as dns.TypePTR
}

// data is the content of a record without its name, type and time. Only the fields of the record's
// type are set. Names in it are canonical.
type data struct {
	target string     // of PTR and SRV, canonical
	port   uint16     // of SRV
	text   string     // of TXT: the value of the service's key
	addr   netip.Addr // of A and AAAA
}

// answer is a record as a packet holds it.
type answer struct {
	set
	data
	owner, pointed string // the names of set and data as the packet spells them, for questions
	ttl            time.Duration
	flush          bool // older records of the origin in this set are over (RFC 6762, 10.2)
}

// entry is a record in the cache.
type entry struct {
	answer
	lastSeen, expires time.Time
	asked             int       // how often we asked for it again since we heard it
	jitter            float64   // delay of these questions as a part of the TTL, from 0 to 0.02
	rechecks          int       // of a suspect SRV: how many questions are left before it is dropped
	recheckAt         time.Time // when to ask the next one
	of                *neighbour
	at                *list.Element // in of.order
}

// neighbour holds the records of one origin.
type neighbour struct {
	origin
	first time.Time // when we heard it first
	sets  map[set][]*entry
	order *list.List     // of *entry, the one heard longest ago first
	hosts map[string]int // how many SRV records point to a name
}

// cache keeps records as long as they are valid, by their origin. It does no I/O.
type cache struct {
	maxRecords, maxOwn, maxOrigins int

	all   map[origin]*neighbour
	hosts map[hostname]int // how many SRV records point to a name
	// services holds the SRV records of an instance, in no order.
	services map[hostname][]*entry
	size     int          // records
	evicted  uint64       // records that had to go before they expired
	pay      []*neighbour // the neighbours that lose records next, the next one last; some may be gone
}

func newCache() cache {
	return cache{
		maxRecords: maxRecords, maxOwn: maxOwn, maxOrigins: maxOrigins,
		all: make(map[origin]*neighbour), hosts: make(map[hostname]int), services: make(map[hostname][]*entry),
	}
}

// add takes in a record that came from an origin at now. If there is no room, an origin with many
// records loses its oldest one. If there are too many origins, one of the newest goes.
func (c *cache) add(from origin, a answer, now time.Time) {
	n := c.all[from]
	if n == nil {
		if a.ttl == 0 {
			return
		}
		if len(c.all) >= c.maxOrigins {
			c.drop(c.youngest())
		}
		n = &neighbour{ // it is in all as soon as it has a record
			origin: from, first: now, sets: make(map[set][]*entry), order: list.New(), hosts: make(map[string]int),
		}
	}
	var same *entry
	for _, e := range n.sets[a.set] {
		switch {
		case e.data == a.data:
			same = e
		case a.flush && now.Sub(e.lastSeen) > goodbyeAfter:
			e.endBy(now.Add(goodbyeAfter))
		}
	}
	switch {
	case a.ttl == 0 && same != nil:
		same.endBy(now.Add(goodbyeAfter))
	case a.ttl == 0:
	case same != nil:
		same.refresh(a, now)
		n.order.MoveToBack(same.at)
	default:
		if n.order.Len() >= c.maxOwn {
			c.evict(n)
		} else if c.size >= c.maxRecords {
			c.evict(c.payer())
		}
		e := &entry{of: n}
		e.refresh(a, now)
		e.at = n.order.PushBack(e)
		n.sets[a.set] = append(n.sets[a.set], e)
		c.all[from] = n
		c.size++
		c.point(e, 1)
	}
}

// refresh notes that e came again, as a.
func (e *entry) refresh(a answer, now time.Time) {
	a.ttl = min(a.ttl, maxTTL)
	e.answer, e.lastSeen, e.expires = a, now, now.Add(a.ttl)
	e.asked, e.jitter, e.rechecks = 0, rand.Float64()*0.02, 0
}

// endBy lets e expire at t if it would live longer.
func (e *entry) endBy(t time.Time) {
	if t.Before(e.expires) {
		e.expires = t
	}
}

// ends reports whether e was withdrawn, and only lives on for a moment.
func (e *entry) ends() bool { return e.expires.Before(e.lastSeen.Add(e.ttl)) }

// refreshAt returns when to ask for e again: at 80, 85, 90 and 95 % of its time, plus a bit (RFC
// 6762, 5.2). It reports false if that has been done, or if e was withdrawn.
func (e *entry) refreshAt() (time.Time, bool) {
	if e.asked > 3 || e.ends() {
		return time.Time{}, false
	}
	part := 0.8 + 0.05*float64(e.asked) + e.jitter
	return e.lastSeen.Add(time.Duration(part * float64(e.ttl))), true
}

// newest returns the last record of n with name and kind, or nil.
func (n *neighbour) newest(name string, kind uint16) *entry {
	var best *entry
	for _, e := range n.sets[set{name, kind}] {
		if best == nil || !e.lastSeen.Before(best.lastSeen) {
			best = e
		}
	}
	return best
}

// addresses returns the address records of name.
func (n *neighbour) addresses(name string) []*entry {
	v4, v6 := n.sets[set{name, dns.TypeA}], n.sets[set{name, dns.TypeAAAA}]
	return append(v4[:len(v4):len(v4)], v6...)
}

// expire drops the records that are expired at now. It returns when the next one expires, or a
// zero time.
func (c *cache) expire(now time.Time) (next time.Time) {
	for _, n := range c.all {
		for e := n.order.Front(); e != nil; {
			x := e.Value.(*entry)
			e = e.Next()
			if !x.expires.After(now) {
				c.remove(x)
			} else {
				next = earlier(next, x.expires)
			}
		}
		if n.order.Len() == 0 {
			c.drop(n)
		}
	}
	return next
}

// keep forgets the origins on interfaces that are not on the LAN any more.
func (c *cache) keep(isOn func(origin) bool) {
	for o, n := range c.all {
		if !isOn(o) {
			c.drop(n)
		}
	}
}

// earlier returns the earlier one of a and b. A zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// youngest returns the newest of a few origins chosen at random. So origins from before a flood of
// made-up ones stay, and origins that come after the flood find room.
func (c *cache) youngest() *neighbour {
	const sample = 8
	var young *neighbour
	k := 0
	for _, n := range c.all { // a random order
		if young == nil || n.first.After(young.first) {
			young = n
		}
		if k++; k == sample {
			break
		}
	}
	return young
}

// payer returns the origin that has to lose records: the newest of those that have more than half
// of an equal share. If the cache is full, there is one. So records from before a flood stay, and
// an origin that comes during a flood and says little is not worse off. One origin loses records
// until it has no more than that, and then the next one. payer looks for several such origins at
// once, so that looking costs little.
func (c *cache) payer() *neighbour {
	half := c.maxRecords / len(c.all) / 2
	for ; len(c.pay) > 0; c.pay = c.pay[:len(c.pay)-1] {
		if n := c.pay[len(c.pay)-1]; c.all[n.origin] == n && n.order.Len() > half {
			return n
		}
	}
	for _, n := range c.all {
		if n.order.Len() > half {
			c.pay = append(c.pay, n)
		}
	}
	slices.SortFunc(c.pay, func(a, b *neighbour) int { return a.first.Compare(b.first) })
	c.pay = c.pay[len(c.pay)/2:] // the younger ones may have grown again before it is the turn of the older ones
	return c.pay[len(c.pay)-1]
}

// evict drops the oldest record of n, and n itself if that was its last one.
func (c *cache) evict(n *neighbour) {
	c.evicted++
	c.remove(n.order.Front().Value.(*entry))
	if n.order.Len() == 0 {
		c.drop(n)
	}
}

// drop forgets n.
func (c *cache) drop(n *neighbour) {
	c.size -= n.order.Len()
	for e := n.order.Front(); e != nil; e = e.Next() {
		c.point(e.Value.(*entry), -1)
	}
	delete(c.all, n.origin)
}

// remove forgets e.
func (c *cache) remove(e *entry) {
	n := e.of
	n.order.Remove(e.at)
	c.size--
	c.point(e, -1)
	rest := n.sets[e.set]
	for i, other := range rest {
		if other == e {
			rest[i] = rest[len(rest)-1]
			rest[len(rest)-1] = nil
			rest = rest[:len(rest)-1]
			break
		}
	}
	if n.sets[e.set] = rest; len(rest) == 0 {
		delete(n.sets, e.set)
	}
}

// point notes that e, if it is an SRV record, came (1) or went (-1).
func (c *cache) point(e *entry, by int) {
	if e.kind != dns.TypeSRV {
		return
	}
	n, at := e.of, hostname{e.of.index, e.target}
	if n.hosts[e.target] += by; n.hosts[e.target] == 0 {
		delete(n.hosts, e.target)
	}
	if c.hosts[at] += by; c.hosts[at] == 0 {
		delete(c.hosts, at)
	}
	of := hostname{e.of.index, e.name}
	if by > 0 {
		c.services[of] = append(c.services[of], e)
		return
	}
	rest := c.services[of]
	if i := slices.Index(rest, e); i >= 0 {
		rest[i] = rest[len(rest)-1]
		rest[len(rest)-1] = nil
		rest = rest[:len(rest)-1]
	}
	if c.services[of] = rest; len(rest) == 0 {
		delete(c.services, of)
	}
}

// isHost reports whether a service is on the host with this name: a service that from announced
// or, with anybody, one that any origin announced on the same interface.
func (c *cache) isHost(from origin, name string, anybody bool) bool {
	if anybody {
		return c.hosts[hostname{from.index, name}] > 0
	}
	n := c.all[from]
	return n != nil && n.hosts[name] > 0
}
