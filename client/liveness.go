package client

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	pingAfter  = 2 * time.Second // without a frame, while there are circuits
	minSilence = 3 * time.Second
	maxSilence = idleTimeout
	lateness   = time.Second // with which a check proves nothing
)

// liveness tells when to ask the gateway for a sign of life, and when to give it up. It holds no clock and no timer.
type liveness struct {
	silence time.Duration // constant; when to give up

	heard    time.Time // when the last frame came
	asked    bool      // a PING is out
	deadline time.Time // of the next check; zero before the first
}

// hear notes that a frame came.
func (l *liveness) hear(now time.Time) { l.heard, l.asked = now, false }

// sign is what a check found.
type sign int

const (
	alive sign = iota
	quiet      // a PING is to be sent
	lost
)

// check says how it is with the gateway, and sets the deadline of the next check; one before it does no harm. A check that
// comes late says that this program did not run, and nothing about the gateway: the wait begins anew.
func (l *liveness) check(now time.Time, circuits bool) sign {
	if !l.deadline.IsZero() && now.Sub(l.deadline) > lateness {
		l.hear(now)
	}
	patience := l.silence * 3 / 5
	if circuits {
		patience = min(patience, pingAfter)
	}
	found := alive
	switch silent := now.Sub(l.heard); {
	case l.asked && silent >= l.silence:
		return lost
	case !l.asked && silent >= patience:
		found = quiet
		l.asked = true
	}
	l.deadline = l.heard.Add(patience)
	if l.asked { // an answer counts from its time, so look again as if it came now
		l.deadline = now.Add(patience)
		if end := l.heard.Add(l.silence); end.Before(l.deadline) {
			l.deadline = end
		}
	}
	return found
}

// question is a PING that is longer than it has to be: QUIC answers a packet of a connection that it does not know, as a
// gateway does that was restarted, only where the packet is longer than that answer.
type question struct{}

const questionSize = 32

// Append adds the frame to b.
func (question) Append(b []byte) []byte {
	b = append(b, byte(wtproto.TypePing), questionSize)
	return append(b, make([]byte, questionSize)...)
}
