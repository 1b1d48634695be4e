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

// liveness decides when to send PING, when to suspect the gateway, and when to give it up. It
// holds no clock and no timer.
type liveness struct {
	silence time.Duration // constant; when to give up

	heard     time.Time // when the last frame came
	asked     time.Time // when the PING without an answer was sent; zero without one
	refused   bool      // others set it: nobody listens on the gateway's port, as far as one can know
	suspected bool      // check has found silent or refused since
	deadline  time.Time // of the next check; zero before the first
}

// hear notes that a frame came, and reports whether the gateway was suspected.
func (l *liveness) hear(now time.Time) bool {
	suspected := l.suspected
	l.heard, l.asked, l.refused, l.suspected = now, time.Time{}, false, false
	return suspected
}

// sign is the result of a check.
type sign int

const (
	alive   sign = iota
	quiet        // it is time to send PING
	silent       // no answer to it; reported once
	refused      // the same, without waiting for an answer: it is time to send PING
	heard        // silent or refused was wrong
	lost
)

// check returns the state of the gateway, and sets the deadline of the next check. An earlier
// check does no harm. A late check means that this program did not run. That proves nothing about
// the gateway, so the wait begins anew.
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
	case l.refused && !l.suspected:
		found = refused
		l.suspected = true
		if !asked {
			l.asked, asked = now, true
		}
	case asked && circuits && !l.suspected && now.Sub(l.asked) >= silentAfter:
		found = silent
		l.suspected = true
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

// paddedPing is a PING that is longer than necessary. A restarted gateway answers a packet of an
// unknown connection with QUIC's stateless reset, but only if the packet is longer than that reset.
type paddedPing struct{}

const paddedPingSize = 32

// Append adds the frame to b.
func (paddedPing) Append(b []byte) []byte {
	b = append(b, byte(wtproto.TypePing), paddedPingSize)
	return append(b, make([]byte, paddedPingSize)...)
}
