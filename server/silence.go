package server

import "time"

// lateness is how late a check may come and still say something about the client.
const lateness = time.Second

// silence tells when to ask a client for a sign of life, and when to give it up. It holds no clock
// and no timer, and does no locking.
type silence struct {
	// constant
	ask, idle         time.Duration // of silence, until PING is sent and until the session ends
	askBusy, idleBusy time.Duration // the same, if the client has circuits

	heard time.Time // when the last control frame came
	asked time.Time // when PING was sent, if nothing has come since
	due   time.Time // of the next check; zero before the first
}

// newSilence begins at now, when a frame has come.
func newSilence(cfg *Config, now time.Time) silence {
	l := silence{ask: min(cfg.PingAfter, cfg.Idle), idle: cfg.Idle, heard: now}
	l.idleBusy = min(cfg.Silence, cfg.Idle)
	l.askBusy = min(l.ask, l.idleBusy/5)
	return l
}

// hear notes that a control frame came.
func (l *silence) hear(now time.Time) { l.heard, l.asked = now, time.Time{} }

// check says whether PING is to be sent to a client that may have circuits, whether the session has
// to end, and else how long to wait for the next check at most. A client that had no circuits when
// its silence began is asked before it is given up. A check that comes late says that the gateway
// did not run, and nothing about the client: the wait begins anew.
func (l *silence) check(now time.Time, circuits bool) (ping, over bool, wait time.Duration) {
	if !l.due.IsZero() && now.Sub(l.due) > lateness {
		l.hear(now)
	}
	ask, end := l.ask, l.heard.Add(l.idle)
	if circuits {
		ask = l.askBusy
	}
	if l.asked.IsZero() && now.Sub(l.heard) >= ask {
		ping, l.asked = true, now
	}
	next := l.heard.Add(ask)
	if !l.asked.IsZero() {
		next = now.Add(ask) // an answer may begin another silence
		if patience := l.asked.Add(l.idleBusy - l.askBusy); circuits && patience.Before(end) {
			end = patience
			if whole := l.heard.Add(l.idleBusy); whole.After(end) {
				end = whole
			}
		}
	}
	if !now.Before(end) {
		return false, true, 0
	}
	if end.Before(next) {
		next = end
	}
	l.due = next
	return ping, false, next.Sub(now)
}
