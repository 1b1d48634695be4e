package server

import (
	"github.com/swarmgate/swarmgate/wtproto"
)

// outbox holds the control frames that wait for a session's writer. Of PONG and of a topic's
// STATUS it keeps the newest only; the rest keeps its order. It does no I/O and no locking.
type outbox struct {
	limit    int    // bytes, without STATUS; negative means none
	frames   []byte // in order
	pong     *wtproto.Pong
	statuses map[wtproto.Topic][]byte // nil if there are none, as mostly: a map would cost each session memory
	size     int                      // bytes of all the above
	news     int                      // of these, bytes of statuses
}

const pongSize = 10

// add appends a frame. It reports whether there was room.
func (o *outbox) add(frame []byte) bool {
	o.frames = append(o.frames, frame...)
	return o.grow(len(frame))
}

// setPong replaces the answer to the client's last PING.
func (o *outbox) setPong(p wtproto.Pong) bool {
	n := pongSize
	if o.pong != nil {
		n = 0
	}
	o.pong = &p
	return o.grow(n)
}

// setStatus replaces the STATUS of a topic. There is always room: a session has so many topics,
// and each one STATUS.
func (o *outbox) setStatus(t wtproto.Topic, frame []byte) {
	if o.statuses == nil {
		o.statuses = make(map[wtproto.Topic][]byte)
	}
	n := len(frame) - len(o.statuses[t])
	o.statuses[t] = frame
	o.size += n
	o.news += n
}

// dropStatus forgets the STATUS of a topic that was left.
func (o *outbox) dropStatus(t wtproto.Topic) {
	o.size -= len(o.statuses[t])
	o.news -= len(o.statuses[t])
	delete(o.statuses, t)
}

func (o *outbox) grow(n int) bool {
	o.size += n
	return o.limit < 0 || o.size-o.news <= o.limit
}

// take appends all frames to b and is empty then.
func (o *outbox) take(b []byte) []byte {
	b = append(b, o.frames...)
	if o.pong != nil {
		b = o.pong.Append(b)
	}
	for _, s := range o.statuses {
		b = append(b, s...)
	}
	*o = outbox{limit: o.limit, frames: o.frames[:0]}
	if cap(o.frames) > 4<<10 {
		o.frames = nil // a rare burst is not kept
	}
	return b
}
