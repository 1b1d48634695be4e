package fair

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
)

// of returns one payer, whose parts are separated by slashes, the widest first.
func of(path string) discovery.Payer {
	var p discovery.Payer
	for _, part := range strings.Split(path, "/") {
		p = append(p, part)
	}
	return p
}

// push adds work that is called "NAME" or, if it is not the first time, "NAME:ROUNDS", for payers,
// separated by spaces.
func push(q *Queue[string], what, payers string) *Entry[string] {
	name, rounds, _ := strings.Cut(what, ":")
	n := 0
	fmt.Sscan(rounds, &n)
	var ps []discovery.Payer
	for _, p := range strings.Fields(payers) {
		ps = append(ps, of(p))
	}
	return q.Push(name, RankOf(n), ps)
}

// The order of work that all waits from the beginning.
func TestQueueOrder(t *testing.T) {
	for _, tc := range []struct {
		name string
		work [][2]string // what, payers
		want string
	}{
		{"one after the other", [][2]string{{"1", "a/s"}, {"2", "a/s"}, {"3", "a/s"}}, "1 2 3"},
		{"principals in turn", [][2]string{{"a1", "a/s"}, {"a2", "a/s"}, {"a3", "a/s"}, {"b1", "b/s"}, {"b2", "b/s"}, {"c1", "c/s"}}, "a1 b1 c1 a2 b2 a3"},
		{
			"sessions in turn", // two sessions of one principal are still one principal
			[][2]string{{"a1", "a/s"}, {"a2", "a/s"}, {"a3", "a/t"}, {"a4", "a/t"}, {"b1", "b/s"}, {"b2", "b/s"}, {"b3", "b/s"}},
			"a1 b1 a3 b2 a2 b3 a4",
		},
		{
			"networks in turn", // whoever has a whole network of addresses has no more turns than who has one
			[][2]string{{"x1", "x/1/s"}, {"x2", "x/2/s"}, {"x3", "x/3/s"}, {"x4", "x/4/s"}, {"y1", "y/1/s"}, {"y2", "y/1/s"}},
			"x1 y1 x2 y2 x3 x4",
		},
		{"the first time first", [][2]string{{"1:20", "a/s"}, {"2:2", "a/s"}, {"3", "a/s"}, {"4:30", "a/s"}, {"5", "a/s"}}, "3 5 2 1 4"},
		{"but not of others", [][2]string{{"a1", "a/s"}, {"a2", "a/s"}, {"b1:20", "b/s"}}, "a1 b1 a2"},
		{"nobody's last", [][2]string{{"n1", ""}, {"n2:9", ""}, {"n3", ""}, {"a1:20", "a/s"}, {"a2:30", "a/s"}}, "a1 a2 n1 n3 n2"},
		{
			"who shares a topic has it when the first of them has a turn",
			[][2]string{{"a1", "a/s"}, {"a2", "a/s"}, {"ab", "a/s b/s"}, {"b1", "b/s"}},
			"a1 ab a2 b1",
		},
		{"one payer named twice", [][2]string{{"1", "a/s a/s"}, {"2", "a/s"}}, "1 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := New[string]()
			for _, w := range tc.work {
				push(q, w[0], w[1])
			}
			var got []string
			for e := q.Pop(false); e != nil; e = q.Pop(false) {
				got = append(got, e.What)
				q.Done(e)
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("order %s, want %s", s, tc.want)
			}
			wantEmpty(t, q)
		})
	}
}

// wantEmpty fails if a queue remembers anything.
func wantEmpty(t *testing.T, q *Queue[string]) {
	t.Helper()
	if q.Len() != 0 || q.root.n != 0 || len(q.root.parts) != 0 || q.root.fresh.Len()+q.root.old.Len() != 0 {
		t.Errorf("the queue has %d entries, %d places, %d parts", q.Len(), q.root.n, len(q.root.parts))
	}
}

// A newcomer goes before all who always have work, however many they are; and newcomers without
// end do not shut these out.
func TestQueueNewcomer(t *testing.T) {
	q := New[string]()
	const hammers = 200
	for i := range hammers {
		for n := range 64 {
			push(q, fmt.Sprintf("h%d-%d", i, n), fmt.Sprintf("h%d/s", i))
		}
	}
	for range 2 * hammers { // each has had its first turn
		q.Done(q.Pop(false))
	}
	push(q, "newcomer", "n/s")
	if e := q.Pop(false); e.What != "newcomer" {
		t.Errorf("next is %s, want the newcomer", e.What)
	}
	old := 0
	for i := range 40 {
		push(q, "new", fmt.Sprintf("n%d/s", i))
		if e := q.Pop(false); e.What != "new" {
			old++
		}
	}
	if old != 40/OldTurn {
		t.Errorf("%d of 40 turns for those who wait, want %d", old, 40/OldTurn)
	}

	// Who had a turn a moment ago and asks again is no newcomer.
	push(q, "again", "n/s")
	for range 2 {
		if e := q.Pop(false); e.What == "again" {
			t.Error("whoever has just had a turn goes before those who wait")
		}
	}
}

// The last places are for those who have nothing running.
func TestQueueKept(t *testing.T) {
	q := New[string]()
	for _, w := range []string{"a1", "a2", "a3"} {
		push(q, w, "a/s")
	}
	push(q, "nobody's", "")
	a1 := q.Pop(true)
	if a1 == nil || a1.What != "a1" {
		t.Fatalf("next is %v, want a1: nothing of a runs", a1)
	}
	if e := q.Pop(true); e != nil {
		t.Errorf("a place that is kept went to %s, while a has one", e.What)
	}
	push(q, "b1", "b/s")
	if e := q.Pop(true); e == nil || e.What != "b1" {
		t.Errorf("next is %v, want b1", e)
	}
	q.Done(a1)
	if e := q.Pop(true); e == nil || e.What != "a2" {
		t.Errorf("next is %v, want a2: what ran of a has ended", e)
	}
}

// What is dropped is not done, and leaves nothing behind.
func TestQueueDrop(t *testing.T) {
	q := New[string]()
	var es []*Entry[string]
	for i := range 10 {
		es = append(es, push(q, fmt.Sprint(i), "a/s b/t c/u/v"))
	}
	n := push(q, "nobody's", "")
	for _, e := range slices.Backward(es[1:]) {
		q.Drop(e)
	}
	q.Drop(n)
	if q.Len() != 1 {
		t.Errorf("%d wait, want 1", q.Len())
	}
	e := q.Pop(false)
	if e == nil || e.What != "0" || q.Pop(false) != nil {
		t.Errorf("next is %v, want 0 and then nothing", e)
	}
	q.Done(e)
	wantEmpty(t, q)
}
