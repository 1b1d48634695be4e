package crowd

import (
	"container/heap"
	"container/list"
	"net/netip"
	"sync"
)

// Crowd holds places for values of type T. Make it with [New].
type Crowd[T any] struct {
	each   int // limit of an IPv4 address or IPv6 /64; negative means none
	shared Shared

	mu     sync.Mutex
	all    group[T]                   // guarded by mu
	groups map[netip.Prefix]*group[T] // guarded by mu; those with places
	made   uint64                     // guarded by mu; how many groups there ever were
}

// Place is a place in a [Crowd].
type Place[T any] struct {
	who   T
	group *group[T]     // the narrowest; nil after Leave or an eviction
	here  *list.Element // in group.places
}

// Reason says why a place is taken away.
type Reason int

// The reasons.
const (
	Full      Reason = iota // all places are taken
	GroupFull               // all places of the newcomer's group of addresses are taken
	TooOften                // newcomers from this group come too fast
)

// Eviction says who has lost a place, and whether because of Full or GroupFull.
type Eviction[T any] struct {
	Who    T
	Reason Reason
}

// group is the whole crowd, or a network. The narrowest groups hold places, the others hold
// groups.
type group[T any] struct {
	prefix  netip.Prefix
	within  *group[T] // nil for all
	limit   int       // negative means none
	n       int       // places, including those of groups in it
	age     uint64    // lower is older
	index   int       // in within.busiest
	busiest busiest[T]
	places  list.List // of *Place[T], the oldest first
}

// New returns a Crowd of at most total places, of which an IPv4 address or IPv6 /64 has at most
// each, a /56 four times as many and a /48 sixteen times. A negative limit means none; 0 is taken
// for 1, because a newcomer always gets in. An address in shared may take all of them.
func New[T any](total, each int, shared ...netip.Prefix) *Crowd[T] {
	c := &Crowd[T]{each: atLeastOne(each), shared: shared, groups: make(map[netip.Prefix]*group[T])}
	c.all.limit = atLeastOne(total)
	return c
}

func atLeastOne(limit int) int {
	if limit == 0 {
		return 1
	}
	return limit
}

// Enter gives who a place, until [Crowd.Leave] gives it back. If there is no room, somebody else
// loses a place: the oldest of the busiest group among the newcomer's own addresses, or among all.
// The caller must end that one, and need not call Leave for it.
func (c *Crowd[T]) Enter(addr netip.Addr, who T) (*Place[T], *Eviction[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groupLocked(c.groupsOf(addr))
	p := &Place[T]{who: who, group: g}
	p.here = g.places.PushBack(p)
	for ; g != nil; g = g.within {
		g.add(1)
	}
	// An eviction makes room in the wider groups too, so one is enough.
	for g = p.group; g != nil; g = g.within {
		if g.limit >= 0 && g.n > g.limit {
			out := g.oldest()
			c.leaveLocked(out)
			reason := GroupFull
			if g == &c.all {
				reason = Full
			}
			return p, &Eviction[T]{Who: out.who, Reason: reason}
		}
	}
	return p, nil
}

// Leave gives p back, and reports whether p was still there. It may be called again, and after an
// eviction.
func (c *Crowd[T]) Leave(p *Place[T]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.group == nil {
		return false
	}
	c.leaveLocked(p)
	return true
}

// Renew makes p the newest of its group, for a holder that has shown a sign of life.
func (c *Crowd[T]) Renew(p *Place[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.group != nil {
		p.group.places.MoveToBack(p.here)
	}
}

// Len returns how many places are taken.
func (c *Crowd[T]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.n
}

// groupsOf returns the groups that addr belongs to, narrowest first, and the limit of the first.
func (c *Crowd[T]) groupsOf(addr netip.Addr) (prefixes []netip.Prefix, limit int) {
	if c.shared.Contains(addr) {
		addr = addr.Unmap().WithZone("")
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, -1
	}
	return Groups(addr), c.each
}

// groupLocked returns the narrowest of the groups, each within the next. limit is its own.
func (c *Crowd[T]) groupLocked(prefixes []netip.Prefix, limit int) *group[T] {
	within := &c.all
	for i := range prefixes {
		if i > 0 {
			limit *= Widen
		}
	}
	for i := len(prefixes) - 1; i >= 0; i-- {
		g := c.groups[prefixes[i]]
		if g == nil {
			c.made++
			g = &group[T]{prefix: prefixes[i], within: within, limit: limit, age: c.made}
			c.groups[prefixes[i]] = g
			heap.Push(&within.busiest, g)
		}
		limit /= Widen
		within = g
	}
	return within
}

// leaveLocked gives p back.
func (c *Crowd[T]) leaveLocked(p *Place[T]) {
	g := p.group
	g.places.Remove(p.here)
	p.group = nil
	for ; g != nil; g = g.within {
		g.add(-1)
		if g.n == 0 && g.within != nil {
			heap.Remove(&g.within.busiest, g.index)
			delete(c.groups, g.prefix)
		}
	}
}

// add counts n more places in g.
func (g *group[T]) add(n int) {
	g.n += n
	if g.within != nil {
		heap.Fix(&g.within.busiest, g.index)
	}
}

// oldest returns the oldest place of the busiest group in g.
func (g *group[T]) oldest() *Place[T] {
	for len(g.busiest) > 0 {
		g = g.busiest[0]
	}
	return g.places.Front().Value.(*Place[T])
}

// busiest is a heap of groups, those with the most places first, and among equals the oldest.
type busiest[T any] []*group[T]

func (b busiest[T]) Len() int { return len(b) }

func (b busiest[T]) Less(i, j int) bool {
	if b[i].n != b[j].n {
		return b[i].n > b[j].n
	}
	return b[i].age < b[j].age
}

func (b busiest[T]) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].index, b[j].index = i, j
}

func (b *busiest[T]) Push(x any) {
	g := x.(*group[T])
	g.index = len(*b)
	*b = append(*b, g)
}

func (b *busiest[T]) Pop() any {
	last := len(*b) - 1
	g := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return g
}
