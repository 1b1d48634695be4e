package server

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever is added and taken out: choose finds a candidate that fits if there is one that was not
// seen, and none that was seen.
func TestChooseProperty(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		pools := make([]pool[int], 3)
		seen := make([]uint64, len(pools))
		type place struct {
			pool   int
			number uint64
		}
		in := make(map[int]place) // the model
		fitting := make(map[int]bool)
		unseen := make(map[int]bool) // those that may be found
		next := 0
		for range 2000 {
			switch op := random.IntN(5); {
			case op < 2:
				i := random.IntN(len(pools))
				in[next] = place{i, pools[i].add(next)}
				fitting[next], unseen[next] = random.IntN(4) == 0, true
				next++
			case op < 4:
				for x, p := range in {
					pools[p.pool].remove(p.number)
					pools[p.pool].remove(p.number) // again, to no effect
					delete(in, x)
					break
				}
			default:
				usable := random.IntN(1 << len(pools))
				mayUse := func(i int) bool { return usable&(1<<i) != 0 }
				var want []int
				for x, p := range in {
					if mayUse(p.pool) && fitting[x] && unseen[x] {
						want = append(want, x)
					}
				}
				got, ok := choose(pools, seen, mayUse, func(x int) fit {
					if _, is := in[x]; !is {
						t.Fatalf("seed %d: looked at %d, which was taken out", seed, x)
					}
					if fitting[x] {
						return fits
					}
					return unfit
				})
				if ok != (len(want) > 0) || ok && !slices.Contains(want, got) {
					t.Fatalf("seed %d: chose %d, %v of %d", seed, got, ok, want)
				}
				if !ok {
					for x, p := range in {
						if mayUse(p.pool) {
							unseen[x] = false
						}
					}
				}
			}
			for i := range pools {
				if n := len(pools[i].entries); n > 2*pools[i].size()+1 {
					t.Fatalf("seed %d: %d entries for %d items", seed, n, pools[i].size())
				}
			}
		}
	}
}

// All candidates have the same chance, and those that do not fit now are looked at again.
func TestChooseIsRandom(t *testing.T) {
	var p pool[int]
	for i := range 100 {
		p.add(i)
	}
	pools, seen := []pool[int]{p}, make([]uint64, 1)
	all := func(int) bool { return true }
	counts := make([]int, 100)
	for range 100_000 {
		x, ok := choose(pools, seen, all, func(int) fit { return fits })
		if !ok {
			t.Fatal("nothing chosen")
		}
		counts[x]++
	}
	for x, n := range counts {
		if n < 700 || n > 1300 { // nine standard deviations
			t.Errorf("%d was chosen %d times of 100,000, want about 1,000", x, n)
		}
	}
	if _, ok := choose(pools, seen, all, func(int) fit { return unfitNow }); ok || seen[0] != 0 {
		t.Errorf("chosen %v, seen up to %d, want nothing chosen and nothing seen", ok, seen[0])
	}
	choose(pools, seen, all, func(int) fit { return unfit })
	looks := 0
	choose(pools, seen, all, func(int) fit { looks++; return unfit })
	if looks != 0 {
		t.Errorf("%d were looked at again, want none", looks)
	}
}

func TestRing(t *testing.T) {
	type member struct{ place int }
	r := ring[*member]{place: func(m *member) *int { return &m.place }}
	members := make([]*member, 10)
	for i := range members {
		members[i] = &member{}
	}
	for range 10_000 {
		m := members[rand.IntN(len(members))]
		if rand.IntN(2) == 0 {
			r.add(m)
		} else {
			r.remove(m)
		}
		for i, m := range r.items {
			if m.place != i+1 {
				t.Fatalf("item %d knows place %d", i, m.place)
			}
		}
	}
}
