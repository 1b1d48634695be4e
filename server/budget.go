package server

import (
	"container/heap"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

// This file is the accounting of memory. Nobody can ask QUIC or yamux what a stream has received
// and not handed out yet, so what circuits hold is bounded from above, by the windows that their
// streams can have. Such bounds say who holds most; that memory is short is measured.

// budget is how much memory may be in use, in bytes.
type budget struct {
	full int64 // from here on a principal that has sessions or circuits gets no further ones
	over int64 // from here on circuits that wait are ended, until no more than full is in use
}

// newBudget divides memory, which is what the program may use, and limit, at which Go collects
// garbage all the time.
func newBudget(memory, limit int64) budget {
	limit = min(limit, memory/5*4)
	return budget{full: limit / 4 * 3, over: limit / 8 * 7}
}

// window returns how large the receive window of a stream can be, in bytes, after so many were
// read. It begins with initial, and doubles, up to most, each time that more than half of it was
// read fast.
func window(initial, most, read int64) int64 {
	w := initial
	for w < most && read > w/2 {
		read -= w / 2
		w *= 2
	}
	return min(w, most)
}

// holding is what one direction of a circuit holds while it waits for its far end to take
// something.
type holding struct {
	circuit *circuit   // nil if it was ended, and what it held may not have been given back yet
	session *session   // that sent it, or that lets its peer send
	who     *principal // of session
	since   time.Time  // when the far end took something last
	held    int64      // bytes, at most
}

// relief returns which of all to end so that want bytes become free, or as many as there are: of
// the account that holds most the one that has waited longest, again and again. An account of more
// addresses may hold more, as in the ledger. A circuit that is ended frees what it holds in both
// directions, and is returned once. Nobody has to give for an account that holds more, but has
// nothing left to end: what its ended circuits held will come back. Nobody has to who holds less
// than a quarter of what another one gives. And nobody has to who holds less than least, or than
// as many times that as an account of more addresses may hold more.
func relief(all []holding, want, least int64) []holding {
	slices.SortStableFunc(all, func(a, b holding) int { return a.since.Compare(b.since) })
	byAccount := make(map[account]*debtor)
	byCircuit := make(map[*circuit][]holding)
	for _, h := range all {
		if h.circuit != nil {
			byCircuit[h.circuit] = append(byCircuit[h.circuit], h)
		}
		share := int64(1)
		for _, a := range h.who.accounts {
			d := byAccount[a]
			if d == nil {
				d = &debtor{share: share}
				byAccount[a] = d
			}
			d.held += h.held
			if h.circuit != nil {
				d.holdings = append(d.holdings, h)
			} else {
				d.owes = true
			}
			share *= crowd.Widen
		}
	}
	var most debtors
	for _, d := range byAccount {
		d.place = len(most)
		most = append(most, d)
	}
	heap.Init(&most)
	var ended []holding
	var gives int64 // by the account that gives most
	for want > 0 && len(most) > 0 {
		d := most[0]
		if holds := d.held / d.share; holds < least || d.gives == 0 && holds < gives/crowd.Widen {
			break
		}
		if len(d.holdings) == 0 {
			if d.owes {
				break
			}
			heap.Pop(&most)
			continue
		}
		h := d.holdings[0]
		d.holdings = d.holdings[1:]
		both, open := byCircuit[h.circuit]
		if !open {
			continue
		}
		delete(byCircuit, h.circuit)
		ended = append(ended, h)
		for _, h := range both {
			want -= h.held
			for _, a := range h.who.accounts {
				other := byAccount[a]
				other.held -= h.held
				other.gives += h.held
				gives = max(gives, other.gives/other.share)
				if other.place >= 0 {
					heap.Fix(&most, other.place)
				}
			}
		}
	}
	return ended
}

// debtor is an account that holds something.
type debtor struct {
	held, share int64     // it holds as much as one that holds held/share
	gives       int64     // what its circuits held that are to be ended
	owes        bool      // some of it by circuits that were ended
	holdings    []holding // that may not have been ended yet, longest first
	place       int       // in debtors, or -1
}

// debtors is a heap, with who holds most on top.
type debtors []*debtor

func (d debtors) Len() int { return len(d) }

func (d debtors) Less(i, j int) bool {
	a, b := d[i], d[j]
	if x, y := a.held/a.share, b.held/b.share; x != y {
		return x > y
	}
	return len(a.holdings) > 0 && len(b.holdings) > 0 && a.holdings[0].since.Before(b.holdings[0].since)
}

func (d debtors) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

func (d *debtors) Push(x any) { *d = append(*d, x.(*debtor)) }

func (d *debtors) Pop() any {
	last := (*d)[len(*d)-1]
	last.place = -1
	*d = (*d)[:len(*d)-1]
	return last
}
