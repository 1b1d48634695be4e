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
	maxTTL       = 75 * time.Minute // what RFC 6762, 10 recommends for what changes least
	goodbyeAfter = time.Second      // what is taken back lives on for this time (RFC 6762, 10.1)
)

// origin is who said something: a source address on an interface. What it says is kept apart from
// what others say, so no machine can take back, change or push out what another one said.
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

// data is what a record says, apart from its name, type and time. It holds what its type has, and
// is compared with the name in canonical form.
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
	owner, pointed string // the names of set and data as they were written, for asking
	ttl            time.Duration
	flush          bool // what the origin said of set before is over (RFC 6762, 10.2)
}

// entry is a record in the cache.
type entry struct {
	answer
	lastSeen, expires time.Time
	asked             int       // how often it was asked for again since it was heard
	jitter            float64   // part of the TTL by which these questions are late, from 0 to 0.02
	rechecks          int       // of a suspect SRV: questions left before it is over
	recheckAt         time.Time // when to ask the next one
	of                *neighbour
	at                *list.Element // in of.order
}

// neighbour is what is known from one origin.
type neighbour struct {
	origin
	first time.Time // when it was heard first
	sets  map[set][]*entry
	order *list.List     // of *entry, the one that was heard longest ago first
	hosts map[string]int // how many SRV records point to a name
}

// cache keeps records for as long as they are valid, by who said them. It does no I/O.
type cache struct {
	maxRecords, maxOwn, maxOrigins int

	all   map[origin]*neighbour
	hosts map[hostname]int // how many SRV records point to a name
	// services holds the SRV records of an instance, in no order.
	services map[hostname][]*entry
	size     int          // records
	evicted  uint64       // records that had to go before their time
	pay      []*neighbour // who is to pay, the next one last; they may be gone
}

func newCache() cache {
	return cache{
		maxRecords: maxRecords, maxOwn: maxOwn, maxOrigins: maxOrigins,
		all: make(map[origin]*neighbour), hosts: make(map[hostname]int), services: make(map[hostname][]*entry),
	}
}

// add takes in what from said at now. If there is no room, an origin that has said a lot loses what
// it said longest ago; if there are too many origins, one of those goes that came last.
func (c *cache) add(from origin, a answer, now time.Time) {
	n := c.all[from]
	if n == nil {
		if a.ttl == 0 {
			return
		}
		if len(c.all) >= c.maxOrigins {
			c.drop(c.youngest())
		}
		n = &neighbour{ // in all once it has a record
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

// refresh notes that e was said again, as a.
func (e *entry) refresh(a answer, now time.Time) {
	a.ttl = min(a.ttl, maxTTL)
	e.answer, e.lastSeen, e.expires = a, now, now.Add(a.ttl)
	e.asked, e.jitter, e.rechecks = 0, rand.Float64()*0.02, 0
}

// endBy has e end at t if it would live longer.
func (e *entry) endBy(t time.Time) {
	if t.Before(e.expires) {
		e.expires = t
	}
}

// ends reports whether e was taken back, and only lives on for a while.
func (e *entry) ends() bool { return e.expires.Before(e.lastSeen.Add(e.ttl)) }

// refreshAt returns when e is to be asked for again: at 80, 85, 90 and 95 % of its time and a bit
// (RFC 6762, 5.2). It reports false if that was done, or if e was taken back.
func (e *entry) refreshAt() (time.Time, bool) {
	if e.asked > 3 || e.ends() {
		return time.Time{}, false
	}
	part := 0.8 + 0.05*float64(e.asked) + e.jitter
	return e.lastSeen.Add(time.Duration(part * float64(e.ttl))), true
}

// newest returns the record of name and kind that n said last, or nil.
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

// expire forgets what is over at now, and returns when the next record is, or a zero time.
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

// earlier returns the earlier one of a and b, of which a zero one stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// youngest returns, of a few origins chosen by chance, the one that came last: who was there
// before a flood from made-up origins stays, and who comes after it finds room.
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

// payer returns the origin that came last of those that have more than half of an equal share,
// which somebody has if the cache is full. So what was there before a flood stays, and who comes
// amid one and says little is no worse off than before. One origin pays until it has no more than
// that, and then the next one of those that were looked for together, so that looking costs
// little.
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
	c.pay = c.pay[len(c.pay)/2:] // until the older ones would have to, the younger ones may have grown again
	return c.pay[len(c.pay)-1]
}

// evict forgets what n said longest ago, and n if that was all.
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

// point notes that e came (1) or went (-1), if it says on which host a service is.
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

// isHost reports whether a service is on the host with this name: one that from told of or, with
// anybody, one that was told of on the same interface.
func (c *cache) isHost(from origin, name string, anybody bool) bool {
	if anybody {
		return c.hosts[hostname{from.index, name}] > 0
	}
	n := c.all[from]
	return n != nil && n.hosts[name] > 0
}
