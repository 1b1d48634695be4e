package client

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Event is something that happened to a client's session: a [Connected], a [GoingAway], a
// [Disconnected] or a [Reconnecting]. A session that was lost is a Disconnected, then one or more
// Reconnecting, then a Connected. A Connected without a Disconnected before it says that the
// client has moved to another gateway, and lost nothing.
type Event interface{ event() }

// Connected says that a session has begun: the first one, or one that took the place of the one
// before. The JOINs of all topics are with its gateway.
type Connected struct {
	Gateway string            // as it was given to [Dial] or in [Config.Gateways], without a topic
	Session wtproto.SessionID // its name, for people and logs
}

// GoingAway says that the gateway gives the session nothing new. Circuits that are open go on,
// and there are no new ones until the client has another session: with another gateway at once,
// with this one after it has ended.
type GoingAway struct {
	Code       wtproto.Code  // CodeShutdown
	Reason     string        // for people
	RetryAfter time.Duration // until the client comes back to this gateway
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
func (GoingAway) event()    {}
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

// from returns the events from the n-th on, and the number of the first of them, which is more
// than n where that one is forgotten.
func (h *history) from(n int) ([]Event, int) {
	n = max(n, h.gone)
	return slices.Clone(h.kept[n-h.gone:]), n
}

// Events yields each event of the client, from that of the first session on, and waits for the
// next one, until the client has ended, ctx ends or the caller breaks. It may be called any
// number of times, and each sees all events; who falls behind by more than 256 misses the oldest.
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

// TopicEvent is something that happened on a topic: a [PeerJoined], a [PeerLeft] or another
// [Status].
type TopicEvent interface{ topicEvent() }

// PeerJoined says that there is an open circuit with a peer that was not here before
// ([Topic.Peers]).
type PeerJoined struct{ Peer Peer }

// PeerLeft says that a peer has gone, as far as the client knows ([Topic.Peers]): it has ended the
// last circuit with it or was lost, or [Topic.Open] does not reach it. A peer that crashed is
// lost when its gateway notices, after up to 25 s. If this end has closed all circuits with a
// peer, the gateway does not report when that leaves.
type PeerLeft struct{ Peer Peer }

func (PeerJoined) topicEvent() {}
func (PeerLeft) topicEvent()   {}
func (Status) topicEvent()     {}

// Events yields who is on the topic and what the gateway says of it, as one event for each, then
// each change, until the topic has ended, ctx ends or the caller breaks. Each peer that joined
// leaves, at the end of the topic at the latest. It may be called any number of times, and each
// sees all peers; who falls behind sees only the newest Status, and none of the peers that came
// and left meanwhile.
func (t *Topic) Events(ctx context.Context) iter.Seq[TopicEvent] {
	return func(yield func(TopicEvent) bool) {
		var seen []member
		var heard uint64 // of t.said
		for {
			t.client.mu.Lock()
			members, status, said := t.roster.members(), t.status.clone(), t.said
			over, changed := t.err != nil, t.changed
			t.client.mu.Unlock()
			var events []TopicEvent
			left, joined := changes(seen, members)
			for _, p := range left {
				events = append(events, PeerLeft{p})
			}
			for _, p := range joined {
				events = append(events, PeerJoined{p})
			}
			if said != heard && !over {
				events = append(events, status)
			}
			for _, e := range events {
				if ctx.Err() != nil || !yield(e) {
					return
				}
			}
			seen, heard = members, said
			if over {
				return
			}
			select {
			case <-changed:
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
