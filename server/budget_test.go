package server

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
)

func TestBudget(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		memory, limit int64
		want          budget
	}{
		{1000 * mib, 1 << 62, budget{600 * mib, 700 * mib}},   // Go has no limit
		{1000 * mib, 800 * mib, budget{600 * mib, 700 * mib}}, // or four fifths
		{1000 * mib, 400 * mib, budget{300 * mib, 350 * mib}}, // or less, by GOMEMLIMIT
		{1 << 62, 1 << 62, budget{(1 << 62) / 5 * 4 / 4 * 3, (1 << 62) / 5 * 4 / 8 * 7}},
	} {
		if got := newBudget(test.memory, test.limit); got != test.want {
			t.Errorf("newBudget(%d, %d) = %+v, want %+v", test.memory, test.limit, got, test.want)
		}
	}
}

// A stream that was not read has its first window. The next one is granted after more than half of
// the one before was read.
func TestWindow(t *testing.T) {
	for _, test := range []struct{ read, want int64 }{
		{0, 32}, {16, 32}, {17, 64}, {16 + 32, 64}, {16 + 32 + 1, 128}, {16 + 32 + 64 + 1, 256}, {16 + 32 + 64 + 128 + 1, 300}, {1 << 60, 300},
	} {
		if got := window(32, 300, test.read); got != test.want {
			t.Errorf("after %d bytes: %d, want %d", test.read, got, test.want)
		}
	}
}

func TestRelief(t *testing.T) {
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	type held struct {
		circuit int    // 0 for one that was ended
		who     string // an address, or a name
		age     int    // seconds
		bytes   int64
	}
	var crowd []held // 400 bytes of a /48, in 20 /56s
	for i := range 20 {
		crowd = append(crowd, held{i + 1, fmt.Sprintf("2001:db8:1:%x00::1", i), i, 20})
	}
	for _, test := range []struct {
		name  string
		held  []held
		want  int64
		least int64
		ended []int // circuits
	}{
		{"nothing is held", nil, 100, 0, nil},
		{"nothing is wanted", []held{{1, "a", 1, 50}}, 0, 0, nil},
		{"the longest first", []held{{1, "a", 1, 10}, {2, "a", 3, 10}, {3, "a", 2, 10}}, 20, 0, []int{2, 3}},
		{"not for one who still owes more", []held{{0, "a", 1, 100}, {1, "b", 9, 50}}, 20, 0, nil},
		{"one who owes, and holds more", []held{{0, "a", 1, 100}, {2, "a", 1, 10}, {3, "a", 2, 10}, {1, "b", 9, 50}}, 200, 0, []int{3, 2}},
		{"for one who owes less", []held{{0, "a", 1, 40}, {1, "b", 9, 50}, {2, "b", 8, 50}, {3, "b", 7, 50}}, 200, 0, []int{1, 2, 3}},
		{"as many as it takes", []held{{1, "a", 1, 10}, {2, "a", 3, 10}, {3, "a", 2, 10}}, 21, 0, []int{2, 3, 1}},
		{"more is wanted than there is", []held{{1, "a", 1, 10}, {2, "b", 2, 20}}, 1000, 0, []int{2, 1}},
		{"not one who holds little beside all that another one has", []held{{1, "victim", 3600, 2}, {2, "x", 2, 20}, {3, "x", 3, 20}}, 1000, 0, []int{3, 2}},
		{"nor an address beside all that a /48 has", append(crowd[:20:20], held{100, "192.0.2.1", 9, 1}), 1000, 0, []int{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{"not who has waited longest, but who holds most", []held{{1, "victim", 3600, 50}, {2, "x", 2, 30}, {3, "x", 3, 30}}, 10, 0, []int{3}},
		{"in turn once they hold the same", []held{
			{1, "victim", 3600, 30}, {2, "x", 2, 30}, {3, "x", 3, 30}, {4, "x", 4, 30}, {5, "victim", 1, 1},
		}, 120, 0, []int{4, 3, 1, 2}},
		{"both directions of a circuit at once", []held{{1, "a", 9, 10}, {1, "a", 1, 10}, {2, "a", 8, 10}}, 20, 0, []int{1}},
		{"both directions, of two principals", []held{{1, "a", 1, 100}, {1, "b", 2, 10}, {2, "b", 1, 60}}, 110, 0, []int{1}},
		{"a circuit that was ended for one is nothing to the other", []held{{1, "a", 1, 100}, {1, "b", 9, 70}, {2, "b", 1, 60}}, 200, 0, []int{1, 2}},
		{"one /64 of many in a /48, before an address that holds less than a sixteenth of it", []held{
			{1, "2001:db8:1:1::1", 1, 20},
			{2, "2001:db8:1:101::1", 2, 20},
			{3, "2001:db8:1:201::1", 3, 20},
			{4, "2001:db8:1:301::1", 4, 20},
			{5, "192.0.2.1", 9, 21},
		}, 1, 0, []int{5}},
		{"and after one that holds more", []held{
			{1, "2001:db8:1:1::1", 1, 20}, {2, "2001:db8:1:1::2", 2, 20}, {5, "192.0.2.1", 9, 21},
		}, 1, 0, []int{2}},
		{"a /48 that holds more than sixteen times as much", append(crowd[:20:20], held{100, "192.0.2.1", 9, 24}), 1, 0, []int{20}},
		{"nobody who holds less than the least", []held{{1, "a", 3, 40}, {2, "a", 2, 40}, {3, "b", 9, 49}}, 200, 50, []int{1}},
		{"a /48 holds less than a /64 does", []held{
			{1, "2001:db8:1:1::1", 1, 40}, {2, "2001:db8:1:101::1", 2, 40}, {3, "2001:db8:2:1::1", 3, 50},
		}, 200, 50, []int{3}},
		{"and one that does not", append(crowd[:20:20], held{100, "192.0.2.1", 9, 26}), 1, 0, []int{100}},
	} {
		circuits := make(map[int]*circuit)
		var all []holding
		for _, h := range test.held {
			if circuits[h.circuit] == nil && h.circuit > 0 {
				circuits[h.circuit] = &circuit{}
			}
			who := newPrincipal(&auth.Grant{Name: h.who}, netip.Addr{})
			if a, err := netip.ParseAddr(h.who); err == nil {
				who = newPrincipal(&auth.Grant{}, a)
			}
			all = append(all, holding{circuits[h.circuit], nil, who, began.Add(-time.Duration(h.age) * time.Second), h.bytes})
		}
		var ended []int
		for _, h := range relief(all, test.want, test.least) {
			for n, c := range circuits {
				if c == h.circuit {
					ended = append(ended, n)
				}
			}
		}
		if !slices.Equal(ended, test.ended) {
			t.Errorf("%s: of %+v, %d bytes wanted: ended %v, want %v", test.name, test.held, test.want, ended, test.ended)
		}
	}
}
