package discovery

import (
	"context"
	"net/netip"
	"time"
)

// Stagger is how long an address of a peer may be without an answer before the next one is tried
// beside it (RFC 8305, 5).
const Stagger = 250 * time.Millisecond

// maxTried is how many addresses of one peer are tried, and so how many at once.
const maxTried = 8

// race calls dial for each of addrs, if there are several in goroutines of its own: for the next
// one as soon as one has failed, or after [Stagger], until one succeeds. It cancels the others,
// hands those of them that succeed all the same to lose, and returns once all have returned. If
// none succeeds, it returns the errors of those that were tried, in the order of addrs.
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
