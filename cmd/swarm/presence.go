package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// batchDelay is how long changes are gathered into one line.
	batchDelay = time.Second
	// lossDelay is how long a session may be lost before people read of it.
	lossDelay = 2 * time.Second
	// maxNamed is how many peers a line names.
	maxNamed = 3
)

// presence is what people read of a topic: who is there, and whether the gateway is. It gathers
// changes: peers that come together are one line, and so is a session that is lost and soon back.
// It does no I/O and no locking, and takes the time from its caller. The zero value has no line
// due.
type presence struct {
	name      string    // of the topic
	now       []string  // peers that are there
	came      []string  // those that have come since the last line, whether they are there or not
	shown     []string  // those that were there at the last line
	entered   bool      // a line has told that the topic was joined
	due       time.Time // of the next line; zero for none
	lost      time.Time // when the session was lost; zero while there is one
	reason    string    // why
	shownLost bool      // a line has said so
	back      string    // what to say of a session that is back; empty for nothing
}

// joined notes that the topic was joined.
func (p *presence) joined(name string, now time.Time) {
	p.name = name
	p.wake(now.Add(batchDelay))
}

// setPeers notes who is there.
func (p *presence) setPeers(peers []string, now time.Time) {
	for _, q := range peers {
		if !slices.Contains(p.now, q) && !slices.Contains(p.came, q) {
			p.came = append(p.came, q)
		}
	}
	p.now = slices.Clone(peers)
	if p.lost.IsZero() {
		p.wake(now.Add(batchDelay))
	}
}

// disconnected notes that the session was lost.
func (p *presence) disconnected(reason string, now time.Time) {
	p.lost, p.reason, p.shownLost, p.back = now, reason, false, ""
	p.due = now.Add(lossDelay)
}

// connected notes that there is another session. how ends the words that say so.
func (p *presence) connected(how string, now time.Time) {
	if p.lost.IsZero() {
		return // it has moved, and lost nothing
	}
	gone := now.Sub(p.lost)
	p.back = fmt.Sprintf("connection lost and back after %.1fs", gone.Seconds())
	if p.shownLost {
		p.back = fmt.Sprintf("connected again after %v", gone.Round(time.Second))
	}
	p.back += how
	p.lost, p.due = time.Time{}, now.Add(batchDelay)
}

// wake makes a line due, unless one is due earlier.
func (p *presence) wake(at time.Time) {
	if p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
}

// line returns the line that is due, empty for none, and whether it is good news.
func (p *presence) line() (words string, good bool) {
	p.due = time.Time{}
	if !p.lost.IsZero() {
		if p.shownLost {
			return "", false
		}
		p.shownLost = true
		return "connection lost: " + p.reason, false
	}
	defer func() { p.shown, p.came, p.back, p.entered = slices.Clone(p.now), nil, "", true }()
	switch {
	case p.back != "" && len(p.now) == 0:
		return p.back, true
	case p.back != "":
		return p.back + " · " + peers(p.now, p.now), true
	case !p.entered && len(p.now) == 0 && len(p.came) > 0:
		return "joined " + p.name + " · " + peers(p.came, p.came), true
	case !p.entered:
		return "joined " + p.name + " · " + peers(p.now, p.now), true
	}
	come := without(p.now, p.shown)
	left := without(p.shown, p.now)
	switch {
	case len(come) > 0 && len(come) == len(p.now):
		return peers(p.now, come), true
	case len(come) > 0:
		return peers(p.now, nil) + ", " + names(come) + " joined", true
	case len(left) > 0:
		return peers(p.now, nil) + ", " + names(left) + " left", true
	}
	return "", true
}

// without returns those of all that are not in others.
func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(others, p) })
}

// peers says how many there are, and the names of some: "2 peers (dht 12D3…K9fQ, lan 12D3…8aFc)".
func peers(all, named []string) string {
	words := "1 peer"
	switch len(all) {
	case 0:
		words = "no peers"
	case 1:
	default:
		words = fmt.Sprint(len(all), " peers")
	}
	if len(named) > 0 {
		words += " (" + names(named) + ")"
	}
	return words
}

// names lists some of all, and counts the others.
func names(all []string) string {
	if n := len(all) - maxNamed; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:maxNamed], ", "), n)
	}
	return strings.Join(all, ", ")
}
