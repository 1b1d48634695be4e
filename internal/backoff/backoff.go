// Package backoff computes how long to wait between attempts that fail. It is arithmetic only: the
// caller owns the timer, and says with [Backoff.Reset] when an attempt has succeeded.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff is a jittered exponential backoff. It is a value, which the maker of the attempts keeps.
// The zero value never waits. Not for use by several goroutines at once.
type Backoff struct {
	// Int64N returns a random number from 0 to n-1, for n > 0. Nil means [rand.Int64N].
	Int64N func(n int64) int64

	low, high time.Duration
	next      time.Duration // the lower bound of the next delay
}

// New returns a Backoff with delays from low to high, both included. It panics unless 0 < low <=
// high.
func New(low, high time.Duration) Backoff {
	if low <= 0 || high < low {
		panic("backoff: want 0 < low <= high")
	}
	return Backoff{low: low, high: high, next: low}
}

// Next returns the delay before the next attempt. Its n-th call, counted from 0, chooses evenly
// from low·2ⁿ to twice that, cut at high; once that would leave no room it chooses from high/2 (or
// low, if that is more) to high. So the first delays of many callers are spread already, and no
// delay is shorter than the one before until high is near.
func (b *Backoff) Next() time.Duration {
	if b.high == 0 {
		return 0
	}
	int64N := b.Int64N
	if int64N == nil {
		int64N = rand.Int64N
	}
	from := min(b.next, max(b.low, b.high/2))
	to := from + min(from, b.high-from) // no overflow for any high
	b.next = to
	return from + time.Duration(int64N(int64(to-from)+1))
}

// Reset makes the next delay a first one again.
func (b *Backoff) Reset() { b.next = b.low }
