package client

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Event is something that happened to a client's session: a [Connected], a [Disconnected] or a [Reconnecting]. A session that was
// lost is a Disconnected, then one or more Reconnecting, then a Connected. A Connected alone says that the client
// has moved to another gateway, and lost nothing.
type Event interface{ event() }

// Connected says that a session has begun: the first one, or one that took the place of the one before. The JOINs of all
// topics are with its gateway.
type Connected struct {
	Gateway string            // as it was given to [Dial] or in [Config.Gateways], without a topic
	Session wtproto.SessionID // its name, for people and logs
}

// Disconnected says that the session was lost, and that the client looks for another one.
type Disconnected struct {
	Err error // why, as [Client.Err] would say it
}

// Reconnecting says that gateways are tried after Delay.
type Reconnecting struct {
	Attempt int           // counts from 1 since the session was lost
	Delay   time.Duration // may be 0
	Err     error         // why the session was lost or, from the second attempt on, the attempt before has failed
}

func (Connected) event()    {}
func (Disconnected) event() {}
func (Reconnecting) event() {}

// maxEvents is how many events a client remembers.
const maxEvents = 256

// history holds the newest events.
type history struct {
	gone int // how many are forgotten
	kept []Event
	more chan struct{} // closed when there is another one
}

// add appends an event, and forgets the oldest where there are too many.
func (h *history) add(e Event) {
	if len(h.kept) == maxEvents {
		h.kept = slices.Delete(h.kept, 0, 1)
		h.gone++
	}
	h.kept = append(h.kept, e)
	close(h.more)
	h.more = make(chan struct{})
}

// from returns the events from the n-th on, and the number of the first of them, which is more than n where that one is
// forgotten.
func (h *history) from(n int) ([]Event, int) {
	n = max(n, h.gone)
	return slices.Clone(h.kept[n-h.gone:]), n
}

// Events yields each event of the client, from that of the first session on, and waits for the next one, until the client has
// ended, ctx ends or the caller breaks. It may be called any number of times, and each sees all events; who falls behind by
// more than 256 misses the oldest.
func (c *Client) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for next := 0; ; {
			over := closed(c.done)
			c.mu.Lock()
			events, first := c.history.from(next)
			more := c.history.more
			c.mu.Unlock()
			for _, e := range events {
				if ctx.Err() != nil || !yield(e) {
					return
				}
			}
			next = first + len(events)
			if len(events) > 0 {
				continue
			}
			if over {
				return
			}
			select {
			case <-more:
			case <-c.done:
			case <-ctx.Done():
				return
			}
		}
	}
}

// logEvent writes e to the log.
func logEvent(log *slog.Logger, e Event) {
	switch e := e.(type) {
	case Connected:
		log.Debug("connected", "gateway", e.Gateway, "session", e.Session)
	case Disconnected:
		log.Info("session lost", "error", e.Err)
	case Reconnecting:
		log.Info("connecting again", "attempt", e.Attempt, "delay", e.Delay, "error", e.Err)
	}
}
