package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// never is an address that does not answer.
const never = time.Duration(-1)

// Each address is tried after 250 ms beside those before it, at once if one of them has failed,
// and the first answer counts.
func TestRace(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name    string
		answers []time.Duration // after which each answers; with fails, has failed
		fails   []int
		limit   time.Duration // of the context
		winner  int
		took    time.Duration
		begun   []time.Duration // when each was tried
	}{
		{"first", []time.Duration{0, 0}, nil, 0, 0, 0, []time.Duration{0}},
		{
			"seven dead",
			[]time.Duration{never, never, never, never, never, never, never, ms},
			nil, 0, 7, 1751 * ms,
			[]time.Duration{0, 250 * ms, 500 * ms, 750 * ms, 1000 * ms, 1250 * ms, 1500 * ms, 1750 * ms},
		},
		{"slow", []time.Duration{300 * ms, 100 * ms}, nil, 0, 0, 300 * ms, []time.Duration{0, 250 * ms}},
		{"slower", []time.Duration{400 * ms, 100 * ms}, nil, 0, 1, 350 * ms, []time.Duration{0, 250 * ms}},
		{"failed", []time.Duration{ms, 2 * ms, 0}, []int{0, 1}, 0, 2, 3 * ms, []time.Duration{0, ms, 3 * ms}},
		{"all failed", []time.Duration{ms, 2 * ms}, []int{0, 1}, 0, -1, 3 * ms, []time.Duration{0, ms}},
		{"no time", []time.Duration{never, never, never}, nil, 300 * ms, -1, 300 * ms, []time.Duration{0, 250 * ms}},
		{"one", []time.Duration{ms}, nil, 0, 0, ms, []time.Duration{0}},
		{"one failed", []time.Duration{ms}, []int{0}, 0, -1, ms, []time.Duration{0}},
		{"none", nil, nil, 0, -1, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tc.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.limit)
					defer cancel()
				}
				start := time.Now()
				var mu sync.Mutex
				var begun []time.Duration // guarded by mu
				winner, won, errs := race(ctx, make([]netip.AddrPort, len(tc.answers)), func(ctx context.Context, i int) (int, error) {
					mu.Lock()
					begun = append(begun, time.Since(start))
					mu.Unlock()
					var answered <-chan time.Time
					if tc.answers[i] != never {
						answered = time.After(tc.answers[i])
					}
					select {
					case <-answered:
					case <-ctx.Done():
						return 0, ctx.Err()
					}
					if slices.Contains(tc.fails, i) {
						return 0, fmt.Errorf("%d", i)
					}
					return 100 + i, nil
				}, func(i, loser int) { t.Errorf("%d lost with %d", i, loser) })
				if took := time.Since(start); winner != tc.winner || took != tc.took || !slices.Equal(begun, tc.begun) {
					t.Errorf("won %d after %v, tried at %v; want %d, %v, %v", winner, took, begun, tc.winner, tc.took, tc.begun)
				}
				if winner >= 0 && (won != 100+winner || errs != nil) {
					t.Errorf("won %d, %v", won, errs)
				}
				if winner < 0 && (len(errs) != len(tc.begun) || slices.Contains(errs, nil)) {
					t.Errorf("errors %v", errs)
				}
			})
		})
	}
}

// Who answers too late is handed over, and waited for.
func TestRaceLoser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost []int
		winner, _, _ := race(t.Context(), make([]netip.AddrPort, 3), func(_ context.Context, i int) (int, error) {
			time.Sleep([]time.Duration{time.Second, time.Minute, 300 * time.Millisecond}[i]) // and hears of no end
			if i == 1 {
				return 0, errors.New("late")
			}
			return i, nil
		}, func(i, loser int) { lost = append(lost, i, loser) })
		if winner != 2 || !slices.Equal(lost, []int{0, 0}) {
			t.Errorf("won %d, lost %v, want 2 and the first", winner, lost)
		}
	})
}
