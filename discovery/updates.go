package discovery

import "context"

// Update is one item that [Network.Join] yields.
type Update struct {
	Sighting Sighting
	Err      error
}

// Updates is one call of [Network.Join], of a network that compares what is there with what it has
// told. So nothing waits in a queue, however slowly the caller pulls. Make it with [NewUpdates].
type Updates struct{ changed chan struct{} } // holds 1

// NewUpdates returns Updates that have nothing to tell yet.
func NewUpdates() Updates { return Updates{make(chan struct{}, 1)} }

// Wake says that something may have changed. It does not block.
func (u Updates) Wake() {
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// Yield yields what next returns, once and then after each Wake, until ctx ends or yield returns
// false. It returns what it has got from next and not yielded.
func (u Updates) Yield(ctx context.Context, next func() []Update, yield func(Sighting, error) bool) (rest []Update) {
	for {
		for list := next(); len(list) > 0; {
			if ctx.Err() != nil {
				return list
			}
			x := list[0]
			if list = list[1:]; !yield(x.Sighting, x.Err) {
				return list
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-u.changed:
		}
	}
}
