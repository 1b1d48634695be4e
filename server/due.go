package server

import (
	"container/heap"
	"time"
)

// deadline is something to do at a time. It waits in at most one agenda.
type deadline struct {
	do    func()
	at    time.Time
	place int // in the agenda, counted from 1; 0 while it is not set
}

// agenda holds deadlines, the next one first. Setting and clearing one costs O(log n). The zero
// value is empty.
type agenda struct{ heap deadlines }

// set makes d due at a time, instead of the time that it was due before.
func (a *agenda) set(d *deadline, at time.Time) {
	d.at = at
	if d.place == 0 {
		heap.Push(&a.heap, d)
	} else {
		heap.Fix(&a.heap, d.place-1)
	}
}

// clear takes d out, if it is set.
func (a *agenda) clear(d *deadline) {
	if d.place > 0 {
		heap.Remove(&a.heap, d.place-1)
	}
}

// next returns when the next deadline is due, or the zero time if none is set.
func (a *agenda) next() time.Time {
	if len(a.heap) == 0 {
		return time.Time{}
	}
	return a.heap[0].at
}

// pop takes out a deadline that is due at now, or returns nil.
func (a *agenda) pop(now time.Time) *deadline {
	if len(a.heap) == 0 || a.heap[0].at.After(now) {
		return nil
	}
	return heap.Pop(&a.heap).(*deadline)
}

// deadlines is the heap of an agenda.
type deadlines []*deadline

func (h deadlines) Len() int           { return len(h) }
func (h deadlines) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *deadlines) Push(x any) {
	d := x.(*deadline)
	*h = append(*h, d)
	d.place = len(*h)
}

func (h *deadlines) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	d.place = 0
	return d
}
