package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Deadlines come when they are due, in order, however they were set, set again and cleared.
func TestAgenda(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var a agenda
		now := time.Unix(0, 0)
		all := make([]*deadline, 20)
		want := make(map[*deadline]time.Time)
		for i := range all {
			all[i] = &deadline{}
		}
		for range 1000 {
			d := all[random.IntN(len(all))]
			switch random.IntN(4) {
			case 0, 1:
				want[d] = now.Add(time.Duration(random.IntN(100)))
				a.set(d, want[d])
			case 2:
				delete(want, d)
				a.clear(d)
			default:
				now = now.Add(time.Duration(random.IntN(20)))
				var times []time.Time
				for d := a.pop(now); d != nil; d = a.pop(now) {
					if at, ok := want[d]; !ok || at.After(now) || !at.Equal(d.at) {
						t.Fatalf("seed %d: at %v came a deadline of %v", seed, now, at)
					}
					times = append(times, d.at)
					delete(want, d)
				}
				if !slices.IsSortedFunc(times, time.Time.Compare) {
					t.Fatalf("seed %d: deadlines came in the order %v", seed, times)
				}
			}
			var next time.Time
			for _, at := range want {
				if next.IsZero() || at.Before(next) {
					next = at
				}
			}
			if !a.next().Equal(next) {
				t.Fatalf("seed %d: next is %v, want %v", seed, a.next(), next)
			}
		}
	}
}
