package main

import (
	"context"
	"sync/atomic"

	"github.com/swarmgate/swarmgate/wtproto"
)

// dispatcher numbers circuits, gives them to a handler, and reports their beginning and end. Any
// number of goroutines may use it.
type dispatcher struct {
	events  *events
	handler handler
	once    func(error) // if it is set, one circuit only is served, and told of here at its end
	count   atomic.Int64
}

// errOne is what all circuits but the first one get if only one is wanted.
var errOne = wtproto.Errorf(wtproto.CodeDeclined, "the program serves one peer")

// serve handles a circuit until it is over, and returns what passed and why it was cut off, if so.
func (w *dispatcher) serve(ctx context.Context, c circuit, p peerInfo) (traffic, error) {
	return w.serveWith(ctx, c, p, w.handler.handle)
}

// serveWith is serve with another handle.
func (w *dispatcher) serveWith(
	ctx context.Context, c circuit, p peerInfo, handle func(context.Context, int, circuit) (traffic, error),
) (traffic, error) {
	n := int(w.count.Add(1))
	if w.once != nil && n > 1 {
		c.Reset(errOne.Code)
		return traffic{}, errOne
	}
	w.events.peer(n, p)
	moved, err := handle(ctx, n, c)
	w.events.end(n, moved, err)
	if w.once != nil {
		w.once(err)
	}
	return moved, err
}
