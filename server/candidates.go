package server

import (
	"math/rand/v2"
	"slices"
)

// pool holds candidates of one kind, in the order in which they came. It numbers them, so that
// whoever found nothing in it can remember the number of the newest, and next time look at later
// ones only. The zero value is empty.
type pool[T any] struct {
	entries []entry[T] // by number
	last    uint64     // the number given last
	dead    int        // entries that were taken out
}

// entry is the place of an item in a pool. The first one is always live.
type entry[T any] struct {
	number uint64
	item   T
	live   bool
}

// add puts x last, and returns its number.
func (p *pool[T]) add(x T) uint64 {
	p.last++
	p.entries = append(p.entries, entry[T]{p.last, x, true})
	return p.last
}

// remove takes the item with a number out.
func (p *pool[T]) remove(number uint64) {
	i := p.after(number - 1)
	if i == len(p.entries) || p.entries[i].number != number || !p.entries[i].live {
		return
	}
	p.entries[i] = entry[T]{number: number}
	p.dead++
	for len(p.entries) > 0 && !p.entries[0].live {
		p.entries = p.entries[1:]
		p.dead--
	}
	if p.dead > len(p.entries)/2 {
		p.entries = slices.DeleteFunc(p.entries, func(e entry[T]) bool { return !e.live })
		p.dead = 0
	}
}

// after returns the index of the first entry with a greater number.
func (p *pool[T]) after(number uint64) int {
	if number >= p.last {
		return len(p.entries)
	}
	i, _ := slices.BinarySearchFunc(p.entries, number+1, func(e entry[T], n uint64) int {
		switch {
		case e.number < n:
			return -1
		case e.number > n:
			return 1
		}
		return 0
	})
	return i
}

// first returns the item that has been in the pool for the longest time.
func (p *pool[T]) first() (x T, ok bool) {
	if len(p.entries) == 0 {
		return x, false
	}
	return p.entries[0].item, true
}

// size returns how many items there are.
func (p *pool[T]) size() int { return len(p.entries) - p.dead }

// fit says whether a candidate fits the subscription that looks for one.
type fit int

const (
	fits     fit = iota
	unfit        // and stays so, until it is added anew or the one who looks forgets what was seen
	unfitNow     // look at it again next time
)

// choose returns a random candidate that fits from those of pools that usable names, without those
// that were seen. If there is none, all of them are seen: seen[i] belongs to pools[i]. The cost of
// the searches that find something is O(log n) on average, that of later ones without success is
// O(1).
func choose[T any](pools []pool[T], seen []uint64, usable func(i int) bool, check func(T) fit) (x T, ok bool) {
	type part struct{ pool, from, n int }
	var space [maxPools]part
	parts, total := space[:0], 0
	for i := range pools {
		if pools[i].last == seen[i] || !usable(i) {
			continue
		}
		from := pools[i].after(seen[i])
		if n := len(pools[i].entries) - from; n > 0 {
			parts, total = append(parts, part{i, from, n}), total+n
		} else {
			seen[i] = pools[i].last
		}
	}
	if total == 0 {
		return x, false
	}
	at := func(i int) *entry[T] {
		for _, p := range parts {
			if i < p.n {
				return &pools[p.pool].entries[p.from+i]
			}
			i -= p.n
		}
		return nil
	}
	for range min(probes, total) {
		if e := at(rand.IntN(total)); e.live && check(e.item) == fits {
			return e.item, true
		}
	}
	all, start := true, rand.IntN(total)
	for i := range total {
		e := at((start + i) % total)
		if !e.live {
			continue
		}
		switch check(e.item) {
		case fits:
			return e.item, true
		case unfitNow:
			all = false
		}
	}
	if all {
		for _, p := range parts {
			seen[p.pool] = pools[p.pool].last
		}
	}
	return x, false
}

// edge returns the newest of the candidates that usable names and that were not seen, or the
// oldest one, if one of the first few fits.
func edge[T any](pools []pool[T], seen []uint64, usable func(i int) bool, newest bool, check func(T) fit) (x T, ok bool) {
	for i := range pools {
		if pools[i].last == seen[i] || !usable(i) {
			continue
		}
		entries := pools[i].entries[pools[i].after(seen[i]):]
		for k := range min(probes, len(entries)) {
			e := &entries[k]
			if newest {
				e = &entries[len(entries)-1-k]
			}
			if e.live && check(e.item) == fits {
				return e.item, true
			}
		}
	}
	return x, false
}

const (
	probes   = 8  // random tries before all candidates are looked at in turn
	maxPools = 24 // that choose looks at
)

// ring is a set whose members know their place in it, so that adding, taking out and a random
// choice cost O(1). Its order means nothing. The zero value is empty.
type ring[T any] struct {
	items []T
	place func(T) *int // of an item, counted from 1; 0 while it is not in the set
}

func (r *ring[T]) add(x T) {
	if p := r.place(x); *p == 0 {
		r.items = append(r.items, x)
		*p = len(r.items)
	}
}

func (r *ring[T]) remove(x T) {
	p := r.place(x)
	if *p == 0 {
		return
	}
	last := len(r.items) - 1
	r.items[*p-1] = r.items[last]
	*r.place(r.items[*p-1]) = *p
	clear(r.items[last:])
	r.items = r.items[:last]
	*p = 0
}
