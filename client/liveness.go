package client

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	pingAfter   = 2 * time.Second // without a frame, while there are circuits
	silentAfter = 3 * time.Second // without an answer, while there are circuits, until another gateway is worth a try
	minSilence  = 3 * time.Second
	maxSilence  = idleTimeout
	lateness    = time.Second // with which a check proves nothing
)

// liveness tells when to ask the gateway for a sign of life, when to doubt that it comes, and when
// to give the gateway up. It holds no clock and no timer.
type liveness struct {
	silence time.Duration // constant; when to give up

	heard    time.Time // when the last frame came
	asked    time.Time // when a PING was sent that is not answered; zero without one
	doubted  bool      // silent was found since
	deadline time.Time // of the next check; zero before the first
}

// hear notes that a frame came, and reports whether that was doubted.
func (l *liveness) hear(now time.Time) bool {
	doubted := l.doubted
	l.heard, l.asked, l.doubted = now, time.Time{}, false
	return doubted
}

// sign is what a check found.
type sign int

const (
	alive  sign = iota
	quiet       // a PING is to be sent
	silent      // it is not answered; told once
	heard       // what was told before says nothing
	lost
)

// check says how it is with the gateway, and sets the deadline of the next check; one before it
// does no harm. A check that comes late says that this program did not run, and nothing about the
// gateway: the wait begins anew.
func (l *liveness) check(now time.Time, circuits bool) sign {
	found := alive
	if !l.deadline.IsZero() && now.Sub(l.deadline) > lateness && l.hear(now) {
		found = heard
	}
	patience := l.silence * 3 / 5
	if circuits {
		patience = min(patience, pingAfter)
	}
	asked := !l.asked.IsZero()
	switch since := now.Sub(l.heard); {
	case asked && since >= l.silence:
		return lost
	case asked && circuits && !l.doubted && now.Sub(l.asked) >= silentAfter:
		found = silent
		l.doubted = true
	case !asked && since >= patience:
		found = quiet
		l.asked, asked = now, true
	}
	l.deadline = l.heard.Add(patience)
	if asked { // an answer counts from its time, so look again as if it came now
		l.deadline = now.Add(patience)
		for _, due := range []time.Time{l.heard.Add(l.silence), l.asked.Add(silentAfter)} {
			if due.After(now) && due.Before(l.deadline) {
				l.deadline = due
			}
		}
	}
	return found
}

// question is a PING that is longer than it has to be: QUIC answers a packet of a connection that
// it does not know, as a gateway does that was restarted, only where the packet is longer than that
// answer.
type question struct{}

const questionSize = 32

// Append adds the frame to b.
func (question) Append(b []byte) []byte {
	b = append(b, byte(wtproto.TypePing), questionSize)
	return append(b, make([]byte, questionSize)...)
}
