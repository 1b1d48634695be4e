package backoff

import (
	"math"
	"testing"
	"time"
)

func least(int64) int64  { return 0 }
func most(n int64) int64 { return n - 1 }

func TestNext(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		name      string
		low, high time.Duration
		from, to  []time.Duration // what the least and the most random number give
	}{
		{
			"1s to 2m", s, 120 * s,
			[]time.Duration{1 * s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s},
			[]time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 120 * s, 120 * s},
		},
		{"high is less than twice low", 2 * s, 3 * s, []time.Duration{2 * s, 2 * s}, []time.Duration{3 * s, 3 * s}},
		{"high is low", 2 * s, 2 * s, []time.Duration{2 * s, 2 * s}, []time.Duration{2 * s, 2 * s}},
		{"one nanosecond", 1, 1, []time.Duration{1, 1}, []time.Duration{1, 1}},
		{
			"the longest duration", math.MaxInt64/4 + 1, math.MaxInt64,
			[]time.Duration{math.MaxInt64/4 + 1, math.MaxInt64 / 2, math.MaxInt64 / 2},
			[]time.Duration{math.MaxInt64/2 + 1, math.MaxInt64 - 1, math.MaxInt64 - 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			low, high := New(tc.low, tc.high), New(tc.low, tc.high)
			low.Int64N, high.Int64N = least, most
			for range 2 { // Reset starts the same sequence again
				for n := range tc.from {
					if got := low.Next(); got != tc.from[n] {
						t.Errorf("least delay %d = %v, want %v", n, got, tc.from[n])
					}
					if got := high.Next(); got != tc.to[n] {
						t.Errorf("most delay %d = %v, want %v", n, got, tc.to[n])
					}
				}
				low.Reset()
				high.Reset()
			}
		})
	}
}

func TestNextIsRandomWithinBounds(t *testing.T) {
	const low, high = time.Second, time.Minute
	seen := make(map[time.Duration]bool)
	for range 100 {
		b := New(low, high)
		for range 10 {
			d := b.Next()
			if d < low || d > high {
				t.Fatalf("Next = %v, want %v to %v", d, low, high)
			}
			seen[d] = true
		}
	}
	if len(seen) < 900 { // of billions of values: that a tenth repeats is impossible
		t.Errorf("1000 delays took %d values", len(seen))
	}
}

func TestZeroNeverWaits(t *testing.T) {
	var b Backoff
	for range 3 {
		if d := b.Next(); d != 0 {
			t.Errorf("Next = %v, want 0", d)
		}
	}
}

func TestNewPanics(t *testing.T) {
	for _, tc := range [][2]time.Duration{{0, 1}, {-1, 1}, {2, 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%d, %d) did not panic", tc[0], tc[1])
				}
			}()
			New(tc[0], tc[1])
		}()
	}
}
