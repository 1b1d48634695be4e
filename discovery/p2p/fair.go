package p2p

import (
	"container/list"
	"slices"

	"github.com/swarmgate/swarmgate/discovery"
)

// rank orders the work that waits for one session. Lower ranks go first.
type rank int

const (
	rankFirst rank = iota // the first time for a topic
	rankEarly             // one of the next few times
	rankLater
	numRanks
)

// earlyRounds is up to how many rounds work is early.
const earlyRounds = 6

// rankOf returns the rank of work that was done so often.
func rankOf(rounds int) rank {
	switch {
	case rounds == 0:
		return rankFirst
	case rounds < earlyRounds:
		return rankEarly
	default:
		return rankLater
	}
}

// oldTurn says that each so-many-th turn is of one who had turns before, however many newcomers
// there are.
const oldTurn = 4

// fairQueue decides whose work is next. The widest parts of payers take turns, then the narrower
// parts within each, down to the sessions, of which each does its work by rank and then by age.
// Whoever has waited for nothing lately goes before those who always do. Work for several payers
// is done when the first of them has its turn; work for nobody comes after all other work. Pure
// accounting. Make it with newFairQueue.
type fairQueue[T any] struct {
	root   *turns[T]
	unpaid ranked[T] // work for no payer
	n      int
}

// entry is work in a fairQueue, or work that was taken out of it and runs.
type entry[T any] struct {
	what   T
	places []spot[T] // in the queues of payers, or one in unpaid
	taken  *turns[T] // the widest part of the payer whose turn it was, while the work runs
}

// spot is where an entry waits.
type spot[T any] struct {
	of   *turns[T] // nil in unpaid
	in   *list.List
	here *list.Element
}

// ranked is work by rank, each the oldest first.
type ranked[T any] [numRanks]list.List // of *entry[T]

// first returns the place of the next entry, whose list is nil if there is none.
func (r *ranked[T]) first() (*list.List, *list.Element) {
	for i := range r {
		if e := r[i].Front(); e != nil {
			return &r[i], e
		}
	}
	return nil, nil
}

// turns is a part of payers: what waits for it, or its narrower parts, who take turns.
type turns[T any] struct {
	key     any
	within  *turns[T] // nil for the root
	parts   map[any]*turns[T]
	fresh   list.List // of *turns[T]; those with work that had no turn since they came
	old     list.List // of *turns[T]; all others, some of them without work
	count   int       // turns that were taken
	here    *list.Element
	isFresh bool
	work    ranked[T]
	n       int // places in it and its parts
	running int // entries that were taken from it and run; counted for the widest parts only
}

func newFairQueue[T any]() *fairQueue[T] {
	return &fairQueue[T]{root: &turns[T]{parts: make(map[any]*turns[T])}}
}

// len returns how many entries wait.
func (q *fairQueue[T]) len() int { return q.n }

// push adds work for payers, or for nobody if there are none.
func (q *fairQueue[T]) push(what T, r rank, payers []discovery.Payer) *entry[T] {
	e := &entry[T]{what: what}
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

// part returns the narrower part of t called key, which it makes if need be.
func (t *turns[T]) part(key any) *turns[T] {
	p := t.parts[key]
	if p == nil {
		p = &turns[T]{key: key, within: t, parts: make(map[any]*turns[T])}
		t.parts[key] = p
		p.here, p.isFresh = t.fresh.PushBack(p), true
	}
	return p
}

// drop takes out an entry that waits.
func (q *fairQueue[T]) drop(e *entry[T]) {
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

// pop takes out the entry whose turn it is, which runs until done. With kept it takes work only
// for those of whom nothing runs. It returns nil if there is none.
func (q *fairQueue[T]) pop(kept bool) *entry[T] {
	if q.root.n > 0 {
		if leaf, widest := q.root.next(kept); leaf != nil {
			_, el := leaf.work.first()
			e := el.Value.(*entry[T])
			widest.running++
			e.taken = widest
			q.drop(e)
			return e
		}
	}
	if _, el := q.unpaid.first(); el != nil && !kept && q.root.n == 0 {
		e := el.Value.(*entry[T])
		q.drop(e)
		return e
	}
	return nil
}

// done says that an entry that was taken out runs no more.
func (q *fairQueue[T]) done(e *entry[T]) {
	if e.taken != nil {
		e.taken.running--
		e.taken = nil
	}
	if q.n == 0 {
		q.root.forget()
	}
}

// next takes a turn of t, and returns the part whose own work is next and the widest part that it
// is in. With kept, widest parts of which something runs are passed over.
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

// choose returns the part of t whose turn it is. It forgets those that it meets on the way and
// that have nothing.
func (t *turns[T]) choose(kept bool) *turns[T] {
	lists := []*list.List{&t.fresh, &t.old}
	if t.count%oldTurn == oldTurn-1 {
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

// forget removes the parts of t that have nothing.
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
