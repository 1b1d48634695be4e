package client

import (
	"context"
	"time"

	"github.com/swarmgate/swarmgate/internal/oneline"
)

// runner is one of several ways to the same.
type runner[T any] struct {
	name string
	run  func(context.Context) (T, error)
}

// race returns what comes about first. Each of the field has a head start before the next one, or
// until it fails. Those that are in progress are given up, and have ended when race returns; what
// comes about nevertheless is thrown away.
func race[T any](ctx context.Context, headStart time.Duration, field []runner[T], discard func(T)) (winner T, err error) {
	if len(field) == 1 {
		return field[0].run(ctx) // whose error needs no name
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		found   T
		failure oneline.Failure // Err is nil if there is something
	}
	results := make(chan result)
	next := time.NewTimer(headStart)
	defer next.Stop()
	running, won := 0, false
	start := func() {
		r := field[0]
		field = field[1:]
		running++
		next.Reset(headStart)
		go func() {
			found, err := r.run(ctx)
			results <- result{found, oneline.Failure{Of: r.name, Err: err}}
		}()
	}
	start()
	var failures []oneline.Failure
	for running > 0 {
		select {
		case <-next.C:
			if len(field) > 0 && !won {
				start()
			}
		case r := <-results:
			running--
			switch {
			case r.failure.Err != nil:
				failures = append(failures, r.failure)
			case !won:
				winner, won = r.found, true
				cancel()
			default:
				discard(r.found)
			}
			if r.failure.Err != nil && len(field) > 0 && !won && ctx.Err() == nil {
				start()
			}
		}
	}
	if !won {
		return winner, oneline.Join(failures...)
	}
	return winner, nil
}
