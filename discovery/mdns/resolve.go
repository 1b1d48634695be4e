package mdns

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/internal/mcast"
)

// When questions are asked (RFC 6762, 5.2).
const (
	firstAskMin = 20 * time.Millisecond // not all machines of a LAN at once
	firstAskMax = 120 * time.Millisecond
	againMin    = time.Second // the second time; the delay doubles each time
	againMax    = time.Hour
	anewAfter   = time.Minute // a new interest starts the questions again if they last started that long ago
)

// How many questions one origin may cause, each second and at once, and for how many origins that
// is enough.
const (
	asksPerSecond = 20
	asksAtOnce    = 256
	asksOfAll     = 4
)

// link is a family on an interface. The answer to a question comes on the same link.
type link struct {
	index  int // of the interface
	family mcast.Family
}

func (o origin) link() link { return link{o.index, mcast.FamilyOf(o.addr)} }

// schedule says when to ask next.
type schedule struct {
	began time.Time // when we asked first
	next  time.Time
	delay time.Duration // after next; doubles
}

// begin returns a schedule that begins at t.
func begin(t time.Time) *schedule { return &schedule{began: t, next: t, delay: againMin} }

// asked notes that we asked at now.
func (s *schedule) asked(now time.Time) {
	s.next = now.Add(s.delay)
	s.delay = min(2*s.delay, againMax)
}

// ask is a question on a link for a record that somebody has mentioned.
type ask struct {
	link
	set
}

// query is a packet to send on a link.
type query struct {
	link
	questions []dns.Question
	known     []dns.RR
}

// browses reports whether q asks for instances.
func (q query) browses() bool {
	return slices.ContainsFunc(q.questions, func(q dns.Question) bool { return q.Qtype == dns.TypePTR })
}

// claim is one instance of a service as one origin describes it.
type claim struct {
	origin
	of       *service
	instance string // its full name, canonical
	value    string // of the service's TXT key
	port     uint16
	addrs    []netip.Addr // without zone; its addresses as the origin says
	foreign  bool         // addrs belong to another machine, which is not allowed for a TCP service
	since    time.Time    // when we heard the origin first
	expires  time.Time
}

// resolver decides what to ask, and keeps the answers. It does no I/O.
type resolver struct {
	services []*service
	anyHost  bool // TCP services may be on any machine of the LAN
	cache    cache

	local func(origin) bool  // whether it is in a subnet of its interface
	quota *allowances        // questions
	links map[link]*schedule // of the question for instances
	asks  map[ask]*schedule  // of the questions for missing records
}

func newResolver(services []*service, anyHost bool) *resolver {
	return &resolver{
		services: services, anyHost: anyHost, cache: newCache(),
		local: func(origin) bool { return true },
		quota: newAllowances(asksPerSecond, asksAtOnce, asksOfAll),
		links: make(map[link]*schedule), asks: make(map[ask]*schedule),
	}
}

// setLinks sets the links on which to ask. The resolver forgets what it heard on others. It asks
// on the links in anew as if they were new.
func (r *resolver) setLinks(links []link, anew func(link) bool, now time.Time) {
	before := r.links
	r.links = make(map[link]*schedule, len(links))
	for _, l := range links {
		if s := before[l]; s != nil && !anew(l) {
			r.links[l] = s
			continue
		}
		r.links[l] = begin(now.Add(firstAskMin + rand.N(firstAskMax-firstAskMin)))
	}
	r.cache.keep(func(o origin) bool { return r.links[o.link()] != nil })
}

// refresh asks for instances again because somebody wants to know now, unless it has just done so.
func (r *resolver) refresh(now time.Time) {
	for l, s := range r.links {
		if now.Sub(s.began) >= anewAfter {
			r.links[l] = begin(now)
		}
	}
}

// take takes in the answers of an origin. It reports whether they may change anything. It keeps
// addresses only of names that are the targets of services of the same interface.
func (r *resolver) take(from origin, answers []answer, now time.Time) bool {
	if r.links[from.link()] == nil {
		return false
	}
	of := len(answers)
	slices.SortStableFunc(answers, func(a, b answer) int { return cmp.Compare(rank(a.kind), rank(b.kind)) })
	for _, a := range answers {
		if rank(a.kind) == lastRank && !r.cache.isHost(from, a.name, r.anyHost) {
			of--
			continue
		}
		instance, others := r.contested(from, a)
		r.cache.add(from, a, now)
		if instance != "" {
			r.suspect(from, instance, others, now)
		}
	}
	return of > 0
}

// knows reports whether we heard o first long ago, and have not forgotten it since.
func (r *resolver) knows(o origin, now time.Time) bool {
	n := r.cache.all[o]
	return n != nil && now.Sub(n.first) >= standing
}

const lastRank = 1

// rank sorts addresses behind the records that refer to them.
func rank(kind uint16) int {
	if kind == dns.TypeA || kind == dns.TypeAAAA {
		return lastRank
	}
	return 0
}

// settle returns what to ask at now, the known claims, and when to settle again if no packet comes
// before. Its questions count as asked.
func (r *resolver) settle(now time.Time) (queries []query, claims []claim, next time.Time) {
	next = r.cache.expire(now)
	d := &decision{r: r, now: now, next: next, wanted: make(map[ask]bool), due: make(map[link]map[set]dns.Question)}
	if r.anyHost {
		d.index()
	}
	for _, n := range r.cache.all {
		for _, s := range r.services {
			for _, ptr := range n.sets[set{s.full(), dns.TypePTR}] {
				if c, ok := d.resolve(n, s, ptr); ok {
					claims = append(claims, c)
				}
			}
		}
	}
	for a := range r.asks {
		if !d.wanted[a] {
			delete(r.asks, a)
		}
	}
	return d.queries(claims), claims, d.next
}

// decision is one settling of a resolver.
type decision struct {
	r      *resolver
	now    time.Time
	next   time.Time
	wanted map[ask]bool                  // the missing records
	due    map[link]map[set]dns.Question // what to ask now
	hosts  map[hostname][]*entry         // address records by host name, if any machine may publish them
}

// index collects the address records of all origins.
func (d *decision) index() {
	d.hosts = make(map[hostname][]*entry)
	for o, n := range d.r.cache.all {
		for s, list := range n.sets {
			if rank(s.kind) == lastRank {
				at := hostname{o.index, s.name}
				d.hosts[at] = append(d.hosts[at], list...)
			}
		}
	}
}

// resolve builds a claim of what n says about an instance of s, and asks for missing records.
func (d *decision) resolve(n *neighbour, s *service, ptr *entry) (claim, bool) {
	srv, txt := n.newest(ptr.target, dns.TypeSRV), n.newest(ptr.target, dns.TypeTXT)
	d.refreshPTR(n, s, ptr)
	if srv == nil {
		d.want(n, ptr.pointed, dns.TypeSRV)
	}
	if txt == nil {
		d.want(n, ptr.pointed, dns.TypeTXT)
	}
	if srv == nil || txt == nil {
		return claim{}, false
	}
	d.recheck(n, ptr.target)
	d.refresh(n, srv)
	d.refresh(n, txt)
	if txt.text == "" || srv.port == 0 || srv.target == "." {
		return claim{}, false // not an instance of a topic or host, or withdrawn on purpose
	}
	c := claim{
		origin: n.origin, of: s, instance: ptr.target, value: txt.text, port: srv.port, since: n.first,
		expires: earlier(earlier(ptr.expires, srv.expires), txt.expires),
	}
	used, ok := d.places(n, s, srv, &c)
	if !ok {
		// Some responders answer for their services only, and not for their host.
		d.want(n, ptr.pointed, dns.TypeSRV)
		return claim{}, false
	}
	var last time.Time
	for _, e := range used {
		if e.of == n && d.refresh(n, e) {
			d.ask(n.link(), ptr.pointed, dns.TypeSRV)
		}
		if e.expires.After(last) {
			last = e.expires
		}
	}
	c.expires = earlier(c.expires, last)
	return c, true
}

// places sets the addresses of c, and returns the records that name them. If there are none, it
// asks for them.
//
// A TCP service is at the source address of the packets that announce it, and they have to name
// this address. Otherwise a machine could have us connect to another one. IPv6 packets come from a
// link-local address even if the machine names other IPv6 addresses, so any IPv6 address will do.
// Addresses of the other family than the packet's do not count, because the machine announces them
// in that family too.
func (d *decision) places(n *neighbour, s *service, srv *entry, c *claim) (used []*entry, ok bool) {
	own := n.addresses(srv.target)
	if s.proxy || d.r.anyHost {
		if used = own; d.r.anyHost {
			used = d.hosts[hostname{n.index, srv.target}]
		}
		for _, e := range used {
			c.addrs = append(c.addrs, e.addr)
		}
		if len(used) == 0 {
			d.want(n, srv.pointed, dns.TypeA)
			d.want(n, srv.pointed, dns.TypeAAAA)
		}
		return used, len(used) > 0
	}
	kind := dns.TypeA
	if n.addr.Is6() {
		kind = dns.TypeAAAA
	}
	for _, e := range own {
		if e.addr == n.addr || n.addr.Is6() && n.addr.IsLinkLocalUnicast() && e.kind == kind {
			used = append(used, e)
		}
	}
	if len(used) > 0 {
		c.addrs = []netip.Addr{n.addr}
		return used, true
	}
	for _, e := range own {
		if e.kind == kind {
			used = append(used, e)
			c.addrs, c.foreign = append(c.addrs, e.addr), true
		}
	}
	if c.foreign {
		return used, true
	}
	d.want(n, srv.pointed, kind)
	return nil, false
}

// want asks for a missing record, repeatedly with growing delays.
func (d *decision) want(n *neighbour, name string, kind uint16) {
	a := ask{n.link(), set{dns.CanonicalName(name), kind}}
	if d.wanted[a] {
		return
	}
	d.wanted[a] = true
	s := d.r.asks[a]
	if s == nil {
		s = begin(d.now)
		d.r.asks[a] = s
	}
	if !s.next.After(d.now) && d.mayAsk(n) {
		d.ask(a.link, name, kind)
		s.asked(d.now)
	}
	d.next = earlier(d.next, later(s.next, d.now.Add(againMin/2)))
}

// later returns the later one of a and b.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mayAsk reports whether n may cause one more question.
func (d *decision) mayAsk(n *neighbour) bool {
	return d.r.quota.take(n.origin, 1, d.r.knows(n.origin, d.now), d.now)
}

// ask asks for name on l now.
func (d *decision) ask(l link, name string, kind uint16) {
	if d.due[l] == nil {
		d.due[l] = make(map[set]dns.Question)
	}
	d.due[l][set{dns.CanonicalName(name), kind}] = dns.Question{Name: name, Qtype: kind, Qclass: dns.ClassINET}
}

// refresh asks for e again if that is due, and reports whether it does.
func (d *decision) refresh(n *neighbour, e *entry) bool {
	due := d.isDue(n, e, e.set)
	if due {
		d.ask(n.link(), e.owner, e.kind)
	}
	return due
}

// refreshPTR asks for the instances of s if that is due for ptr.
func (d *decision) refreshPTR(n *neighbour, s *service, ptr *entry) {
	if d.isDue(n, ptr, set{s.full(), dns.TypePTR}) {
		d.ask(n.link(), s.full(), dns.TypePTR)
	}
}

// isDue reports whether it is time to ask for e again, by the question for q, and counts the
// question if so.
func (d *decision) isDue(n *neighbour, e *entry, q set) bool {
	at, ok := e.refreshAt()
	if !ok {
		return false
	}
	_, asked := d.due[n.link()][q]
	if !at.After(d.now) && (asked || d.mayAsk(n)) {
		e.asked++
		if at, ok = e.refreshAt(); ok {
			d.next = earlier(d.next, later(at, d.now.Add(againMin/2)))
		}
		return true
	}
	d.next = earlier(d.next, later(at, d.now.Add(againMin/2)))
	return false
}

// queries returns the packets to send now. claims are the known instances, which the packets list
// as known answers.
func (d *decision) queries(claims []claim) (out []query) {
	for l, s := range d.r.links {
		if !s.next.After(d.now) {
			for _, service := range d.r.services {
				d.ask(l, service.full(), dns.TypePTR)
			}
			s.asked(d.now)
		}
		d.next = earlier(d.next, s.next)
	}
	for l, sets := range d.due {
		q := query{link: l}
		for _, question := range sets {
			q.questions = append(q.questions, question)
		}
		// The known answers stand beside their question, which is the last one.
		slices.SortFunc(q.questions, func(a, b dns.Question) int {
			browsing := func(q dns.Question) int { return map[bool]int{true: 1}[q.Qtype == dns.TypePTR] }
			return cmp.Or(browsing(a)-browsing(b), cmp.Compare(a.Name, b.Name), int(a.Qtype)-int(b.Qtype))
		})
		for _, s := range d.r.services {
			if _, asked := sets[set{s.full(), dns.TypePTR}]; asked {
				q.known = append(q.known, d.known(l, s, claims)...)
			}
		}
		out = append(out, q)
	}
	return out
}

// known returns the instances of s on l that others need not announce again (RFC 6762, 7.1): those
// that each of their origins has announced completely, and not long ago. So if another origin
// mentions an instance too, its own machine still answers. If its machine has a new address, it
// answers from there.
func (d *decision) known(l link, s *service, claims []claim) (out []dns.RR) {
	full := make(map[origin]map[string]bool)
	for _, c := range claims {
		if c.link() != l || c.of != s || c.foreign || !d.r.local(c.origin) {
			continue
		}
		if full[c.origin] == nil {
			full[c.origin] = make(map[string]bool)
		}
		full[c.origin][c.instance] = true
	}
	oldest := make(map[string]*entry)
	for _, n := range d.r.cache.all {
		if n.link() != l {
			continue
		}
		for _, ptr := range n.sets[set{s.full(), dns.TypePTR}] {
			e, seen := oldest[ptr.target]
			switch {
			case !full[n.origin][ptr.target] || ptr.expires.Sub(d.now) < ptr.ttl/2:
				oldest[ptr.target] = nil // not a known answer
			case !seen, e != nil && ptr.expires.Before(e.expires):
				oldest[ptr.target] = ptr
			}
		}
	}
	for _, e := range oldest {
		if e != nil {
			left := uint32(e.expires.Sub(d.now) / time.Second)
			out = append(out, &dns.PTR{Hdr: dns.RR_Header{Name: s.full(), Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: left}, Ptr: e.pointed})
		}
	}
	return out
}
