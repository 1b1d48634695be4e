package discovery

import (
	"context"
	"net/netip"
	"time"
)

// Stagger is how long a dial waits for an answer of one address before it tries the next one as
// well (RFC 8305, 5).
const Stagger = 250 * time.Millisecond

// maxTried is how many addresses of one peer are tried, one by one or at once.
const maxTried = 8

// race calls dial for addrs until one call succeeds. It calls it for the next address as soon as a
// call has failed, or after [Stagger]. If there are several addresses, the calls run in goroutines
// of their own. race then cancels the other calls, passes the results of those that succeed all
// the same to lose, and returns when all have returned. If no call succeeds, it returns their
// errors in the order of addrs.
func race[T any](
	ctx context.Context, addrs []netip.AddrPort,
	dial func(ctx context.Context, i int) (T, error), lose func(i int, loser T),
) (winner int, won T, errs []error) {
	if len(addrs) == 1 {
		c, err := dial(ctx, 0)
		if err != nil {
			return -1, won, []error{err}
		}
		return 0, c, nil
	}
	type result struct {
		i    int
		conn T
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan result)
	running, next := 0, 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			if r := <-results; r.err == nil {
				lose(r.i, r.conn)
			}
		}
	}()
	all := make([]error, len(addrs))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case r := <-results:
			if running--; r.err == nil {
				return r.i, r.conn, nil
			}
			all[r.i] = r.err
		}
		if next < len(addrs) && ctx.Err() == nil {
			i := next
			go func() {
				c, err := dial(ctx, i)
				results <- result{i, c, err}
			}()
			running++
			next++
			timer.Reset(Stagger)
		}
		if running == 0 {
			return -1, won, all[:next]
		}
	}
}
