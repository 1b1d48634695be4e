package dat

import (
	"bytes"
	"sync"
	"time"
)

// A router may lead a dial of our public address back to us, and no list of our own addresses has
// it. It shows in the bytes: what a client writes to an address whose port we announce comes in at
// that port.

const (
	// echoMost is how many bytes are compared, echoLeast how many must be the same: those of a
	// frame with a nonce, or the beginning of a Noise handshake, of which no two are alike.
	echoMost, echoLeast = feedMost, 32
	// echoWithin is how long they may be on their way.
	echoWithin = 10 * time.Second
)

// echo is the beginning of what a client wrote to an address that may be ours. A nil echo notes
// nothing.
type echo struct {
	circuit *circuit
	since   time.Time

	mu   sync.Mutex
	sent []byte // guarded by mu
}

func (e *echo) note(b []byte) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sent = append(e.sent, b[:min(len(b), echoMost-len(e.sent))]...)
}

// is reports whether b, the beginning of a connection, is what was written.
func (e *echo) is(b []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(b), len(e.sent))
	return n >= echoLeast && bytes.Equal(b[:n], e.sent[:n])
}

// listenFor remembers what is written to c if its port is one of ours.
func (h *Host) listenFor(c *circuit) {
	port := c.remote.Port()
	r := h.cfg.Ports
	if (h.shared == nil || port != h.shared.port()) && (r.size() == 0 || port < r.First || port > r.Last) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.echo = &echo{circuit: c, since: time.Now()}
	h.echoes[c.echo] = struct{}{}
}

func (h *Host) silenceLocked(e *echo) {
	if e != nil {
		delete(h.echoes, e)
	}
}

// echoed reports whether b, the beginning of a connection at one of our ports, comes from
// ourselves. Then it ends the circuit at the other end, and its address counts as our own.
func (h *Host) echoed(b []byte, port uint16) bool {
	if found, _ := parseFeed(b); found == feedHere && len(b) < feedMost {
		return false // without a nonce, such frames are alike
	}
	h.mu.Lock()
	var c *circuit
	for e := range h.echoes {
		if e.circuit.remote.Port() == port && time.Since(e.since) < echoWithin && e.is(b) {
			c = e.circuit
		}
	}
	h.mu.Unlock()
	if c == nil {
		return false
	}
	h.noteOwn(c.remote)
	c.fail(errSelf)
	return true
}

// greeting notes that a handshake with our id own begins at a, until the function is called.
func (h *Host) greeting(own string, a address) (done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.greets[own] = a
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.greets[own] == a {
			delete(h.greets, own)
		}
	}
}

// isGreeting reports whether id, by which a connection begins, is one of ours, in a handshake that
// we have begun. The address of that counts as our own from then on.
func (h *Host) isGreeting(id string) bool {
	h.mu.Lock()
	a, ours := h.greets[id]
	h.mu.Unlock()
	if ours {
		h.noteOwn(a.at)
	}
	return ours
}
