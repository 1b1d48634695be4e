package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// terminal prints events as lines for people. Any number of goroutines may use it.
type terminal struct {
	out    io.Writer
	colors bool

	mu       sync.Mutex
	presence presence    // guarded by mu
	timer    *time.Timer // guarded by mu; for the next line of presence
	closed   bool        // guarded by mu
	circuits []circuitOf // guarded by mu; those of a native peer
	native   bool        // guarded by mu; events of circuits say who is there, not here
}

// circuitOf is a circuit with a peer.
type circuitOf struct {
	n    int
	peer string
}

// newTerminal obeys NO_COLOR (https://no-color.org). The caller closes it.
func newTerminal(out io.Writer) *terminal {
	return &terminal{out: out, colors: os.Getenv("NO_COLOR") == ""}
}

// tell prints the line for an event, at once or when more is known.
func (p *terminal) tell(v event) {
	now := time.Now()
	switch v.Event {
	case "joined":
		p.change(func(s *presence) { s.joined(v.Name+over(v.Transport), now) })
	case "disconnected":
		p.change(func(s *presence) { s.disconnected(v.Message, now) })
	case "connected":
		p.change(func(s *presence) { s.connected(over(v.Transport), now) })
	case "ready":
		p.change(func(s *presence) { p.native, s.entered = true, true })
	case "peer":
		p.change(func(s *presence) {
			p.circuits = append(p.circuits, circuitOf{v.Circuit, v.Peer.short()})
			p.circuitsChangedLocked(now)
		})
	case "end":
		p.change(func(s *presence) {
			p.circuits = slices.DeleteFunc(p.circuits, func(c circuitOf) bool { return c.n == v.Circuit })
			p.circuitsChangedLocked(now)
		})
	}
	if line := p.line(v); line != "" {
		_, _ = io.WriteString(p.out, line)
	}
}

// circuitsChangedLocked notes who is there, if the circuits say that.
func (p *terminal) circuitsChangedLocked(now time.Time) {
	if !p.native {
		return
	}
	var peers []string
	for _, c := range p.circuits {
		if !slices.Contains(peers, c.peer) {
			peers = append(peers, c.peer)
		}
	}
	p.presence.setPeers(peers, now)
}

// setPeers notes who is on the topic.
func (p *terminal) setPeers(peers []string) {
	p.change(func(s *presence) { s.setPeers(peers, time.Now()) })
}

// change calls f and starts the timer for the next line.
func (p *terminal) change(f func(*presence)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.presence)
	p.setTimerLocked()
}

// setTimerLocked has tellPresence run when a line is due.
func (p *terminal) setTimerLocked() {
	if p.timer != nil {
		p.timer.Stop()
	}
	if !p.closed && !p.presence.due.IsZero() {
		p.timer = time.AfterFunc(time.Until(p.presence.due), p.tellPresence)
	}
}

// tellPresence prints a line that is due.
func (p *terminal) tellPresence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && !p.presence.due.IsZero() && !time.Now().Before(p.presence.due) {
		p.printLocked()
		p.setTimerLocked()
	}
}

func (p *terminal) printLocked() {
	if words, good := p.presence.line(); words != "" {
		_, _ = io.WriteString(p.out, p.marked(words, good))
	}
}

// close prints that the topic was joined if that line was still due, and nothing after that.
func (p *terminal) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	if !p.closed && !p.presence.entered && !p.presence.due.IsZero() && p.presence.lost.IsZero() {
		p.printLocked()
	}
	p.closed = true
}

// line returns the line for an event, or an empty text if people need not know of it.
func (p *terminal) line(v event) string {
	good := true
	var words string
	switch v.Event {
	case "listening":
		words = "listening on " + v.Address
	case "ready":
		words = "peer " + shortID(v.Peer.name()) + " on " + v.Name
	case "joined":
		if v.Key == "" {
			return ""
		}
		words = "your key is " + keyForPeople(v.Key)
	case "peer":
		if v.Peer.Key == "" || v.Peer.Further {
			return ""
		}
		words = "the key of " + v.Peer.short() + " is " + keyForPeople(v.Peer.Key)
	case "waiting":
		good, words = false, "waiting for a peer"
	case "refused":
		good, words = false, "no stream for "+v.Address+": "+v.Message
	case "end":
		if v.Message == "" {
			return ""
		}
		good, words = false, "a peer was cut off: "+v.Message
	case "warning":
		good, words = false, v.Message
	default:
		return ""
	}
	return p.marked(words, good)
}

// marked returns a line.
func (p *terminal) marked(words string, good bool) string {
	mark, color := "✓ ", "\x1b[32m"
	if !good {
		mark, color = "✗ ", "\x1b[31m"
	}
	if p.colors {
		mark = color + mark + "\x1b[0m"
	}
	return mark + printable(words) + "\n"
}

// printable replaces control characters, with which a stranger could steer the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}
