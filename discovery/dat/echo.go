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
	if !h.ownPorts().has(c.remote.Port()) {
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
//
// A stranger who repeats what a client writes to everybody must not make others' addresses ours. So
// frames without a nonce do not count, nor does anything but a frame at the shared port, whose
// number is one that many peers have.
func (h *Host) echoed(b []byte, d *door) bool {
	found, _ := parseFeed(b)
	if found == feedHere && len(b) < feedMost || found != feedHere && d.owner == nil {
		return false
	}
	port := d.port()
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

// turnBack reports whether id, by which the connection v begins, is one of ours: a handshake of
// discovery-swarm has come back to us. It then repeats the id, so that the end that we dialed from
// knows where it is: any peer that we have dialed knows our id, and a connection with it says
// nothing about where the handshake was sent.
func (h *Host) turnBack(v *visitor, id string) bool {
	if !h.isSwarmID(id) {
		return false
	}
	if _, err := v.Write(appendID(nil, id)); err == nil && v.CloseWrite() == nil {
		_, _ = v.Stream.Read(make([]byte, 1)) // a reset might overtake the id
	}
	return true
}
