package fair

import (
	"container/list"
	"slices"

	"github.com/swarmgate/swarmgate/discovery"
)

// Rank orders the work that waits for one session. Lower ranks go first.
type Rank int

// The ranks.
const (
	First Rank = iota // the first time for a topic
	Early             // one of the next few times
	Later
	numRanks
)

// earlyRounds is up to how many rounds work is early.
const earlyRounds = 6

// RankOf returns the rank of work that has run rounds times.
func RankOf(rounds int) Rank {
	switch {
	case rounds == 0:
		return First
	case rounds < earlyRounds:
		return Early
	default:
		return Later
	}
}

// OldTurn is the share of turns for payers that had turns before, however many newcomers there
// are: one in so many.
const OldTurn = 4

// Queue decides whose work is next. The widest parts of payers take turns, then the narrower
// parts within each, down to the sessions, of which each does its work by rank and then by age. A
// payer that has not waited lately goes before payers that always wait. Work for several payers is
// done when the first of them has its turn; work for nobody comes after all other work. Pure
// accounting. Make it with [New].
type Queue[T any] struct {
	root   *turns[T]
	unpaid ranked[T] // work for no payer
	n      int
}

// Entry is work that waits in a [Queue], or that has left it and runs.
type Entry[T any] struct {
	What   T
	places []spot[T] // in the queues of payers, or one in unpaid
	taken  *turns[T] // the widest part of its payer, while the work runs
}

// Payer returns the widest part of the payer whose turn the running entry took, or nil if there is
// none.
func (e *Entry[T]) Payer() any {
	if e.taken == nil {
		return nil
	}
	return e.taken.key
}

// spot is where an entry waits.
type spot[T any] struct {
	of   *turns[T] // nil in unpaid
	in   *list.List
	here *list.Element
}

// ranked is work by rank, each the oldest first.
type ranked[T any] [numRanks]list.List // of *Entry[T]

// first returns the place of the next entry, whose list is nil if there is none.
func (r *ranked[T]) first() (*list.List, *list.Element) {
	for i := range r {
		if e := r[i].Front(); e != nil {
			return &r[i], e
		}
	}
	return nil, nil
}

// turns is a part of payers: its waiting work, or its narrower parts, which take turns.
type turns[T any] struct {
	key     any
	within  *turns[T] // nil for the root
	parts   map[any]*turns[T]
	fresh   list.List // of *turns[T]; parts with work that had no turn yet
	old     list.List // of *turns[T]; all other parts, with or without work
	count   int       // turns that were taken
	here    *list.Element
	isFresh bool
	work    ranked[T]
	n       int // places in it and its parts
	running int // running entries; counted for the widest parts only
}

// New returns an empty queue.
func New[T any]() *Queue[T] {
	return &Queue[T]{root: &turns[T]{parts: make(map[any]*turns[T])}}
}

// Len returns how many entries wait.
func (q *Queue[T]) Len() int { return q.n }

// Push adds work for payers, or for nobody if there are none.
func (q *Queue[T]) Push(what T, r Rank, payers []discovery.Payer) *Entry[T] {
	e := &Entry[T]{What: what}
	q.n++
	for _, p := range payers {
		leaf := q.root
		for _, key := range p {
			leaf = leaf.part(key)
		}
		if leaf == q.root || slices.ContainsFunc(e.places, func(o spot[T]) bool { return o.of == leaf }) {
			continue
		}
		l := &leaf.work[r]
		e.places = append(e.places, spot[T]{leaf, l, l.PushBack(e)})
		for t := leaf; t != nil; t = t.within {
			t.n++
		}
	}
	if len(e.places) == 0 {
		l := &q.unpaid[r]
		e.places = append(e.places, spot[T]{nil, l, l.PushBack(e)})
	}
	return e
}

// part returns the narrower part of t called key, and makes it if necessary.
func (t *turns[T]) part(key any) *turns[T] {
	p := t.parts[key]
	if p == nil {
		p = &turns[T]{key: key, within: t, parts: make(map[any]*turns[T])}
		t.parts[key] = p
		p.here, p.isFresh = t.fresh.PushBack(p), true
	}
	return p
}

// Drop removes an entry that waits.
func (q *Queue[T]) Drop(e *Entry[T]) {
	for _, p := range e.places {
		p.in.Remove(p.here)
		for t := p.of; t != nil; t = t.within {
			t.n--
		}
	}
	if len(e.places) > 0 {
		q.n--
	}
	e.places = nil
	if q.n == 0 {
		q.root.forget()
	}
}

// Pop removes and returns the entry whose turn it is, or nil. The entry runs until [Queue.Done].
// With kept, Pop takes only work of payers that have nothing running.
func (q *Queue[T]) Pop(kept bool) *Entry[T] {
	if q.root.n > 0 {
		if leaf, widest := q.root.next(kept); leaf != nil {
			_, el := leaf.work.first()
			e := el.Value.(*Entry[T])
			widest.running++
			e.taken = widest
			q.Drop(e)
			return e
		}
	}
	if _, el := q.unpaid.first(); el != nil && !kept && q.root.n == 0 {
		e := el.Value.(*Entry[T])
		q.Drop(e)
		return e
	}
	return nil
}

// Done notes that an entry does not run any more.
func (q *Queue[T]) Done(e *Entry[T]) {
	if e.taken != nil {
		e.taken.running--
		e.taken = nil
	}
	if q.n == 0 {
		q.root.forget()
	}
}

// next takes a turn of t. It returns the part whose own work is next, and the widest part around
// it. With kept, it skips widest parts that have something running.
func (t *turns[T]) next(kept bool) (leaf, widest *turns[T]) {
	if t.within != nil {
		if _, e := t.work.first(); e != nil {
			return t, nil
		}
	}
	p := t.choose(kept)
	if p == nil {
		return nil, nil
	}
	leaf, _ = p.next(false)
	t.count++
	if p.isFresh {
		t.fresh.Remove(p.here)
		p.here, p.isFresh = t.old.PushBack(p), false
	} else {
		t.old.MoveToBack(p.here)
	}
	return leaf, p
}

// choose returns the part of t whose turn it is. It removes parts without work that it passes.
func (t *turns[T]) choose(kept bool) *turns[T] {
	lists := []*list.List{&t.fresh, &t.old}
	if t.count%OldTurn == OldTurn-1 {
		slices.Reverse(lists)
	}
	for _, l := range lists {
		for el := l.Front(); el != nil; {
			p, next := el.Value.(*turns[T]), el.Next()
			switch {
			case p.n > 0 && !(kept && p.running > 0):
				return p
			case p.n == 0 && p.running == 0:
				l.Remove(el)
				delete(t.parts, p.key)
			}
			el = next
		}
	}
	return nil
}

// forget removes the parts of t without work.
func (t *turns[T]) forget() {
	for key, p := range t.parts {
		if p.n > 0 || p.running > 0 {
			p.forget()
			continue
		}
		if p.isFresh {
			t.fresh.Remove(p.here)
		} else {
			t.old.Remove(p.here)
		}
		delete(t.parts, key)
	}
}
