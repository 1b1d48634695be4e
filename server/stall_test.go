package server

import (
	"slices"
	"testing"
	"time"
)

func TestOverBudget(t *testing.T) {
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		held   []int64 // the i-th has stalled for ages[i]
		ages   []int   // seconds
		budget int64
		want   []int // ages of those to end, in order
	}{
		{"nothing", nil, nil, 0, nil},
		{"within", []int64{10, 10}, []int{1, 2}, 21, nil},
		{"exactly the budget", []int64{10, 10}, []int{1, 2}, 20, nil},
		{"a byte over it", []int64{10, 10}, []int{1, 2}, 19, []int{2}},
		{"longest first", []int64{10, 10, 10}, []int{5, 9, 7}, 10, []int{9, 7}},
		{"as many as needed", []int64{10, 10, 10, 10}, []int{1, 2, 3, 4}, 15, []int{4, 3, 2}},
		{"one that holds enough", []int64{1, 100, 1}, []int{1, 9, 2}, 2, []int{9}},
		{"one that is too large alone", []int64{100}, []int{1}, 99, []int{1}},
		{"small ones that stalled longer go too", []int64{100, 1, 1}, []int{1, 9, 8}, 50, []int{9, 8, 1}},
		{"no budget", []int64{1, 1}, []int{1, 2}, 0, []int{2, 1}},
	} {
		var stalls []stall
		for i, held := range test.held {
			stalls = append(stalls, stall{since: began.Add(-time.Duration(test.ages[i]) * time.Second), held: held})
		}
		var got []int
		for _, s := range overBudget(stalls, test.budget) {
			got = append(got, int(began.Sub(s.since).Seconds()))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v held for %v s, budget %d: ended %v, want %v", test.name, test.held, test.ages, test.budget, got, test.want)
		}
	}
}
