package client

import "slices"

// maxCandidates is how many peers are remembered to open streams with.
const maxCandidates = 256

// candidates are the peers of a topic, in the order in which they are asked for a stream: first
// those that did not fail, then those that did. Among the former the one that came last is the
// first: a server that has started again comes before the one that crashed. One that has given a
// stream since then stands before it. The zero value has none. It does no I/O and no locking.
type candidates struct {
	good, failed []Peer
}

// add adds a peer with an open circuit.
func (c *candidates) add(p Peer) {
	c.remove(p)
	c.good = slices.Insert(c.good, 0, p)
	c.forget()
}

// forget drops a peer if there are too many: of those that failed the one that did first, or else
// the oldest.
func (c *candidates) forget() {
	switch {
	case len(c.good)+len(c.failed) <= maxCandidates:
	case len(c.failed) > 0:
		c.failed = c.failed[1:]
	default:
		c.good = slices.Delete(c.good, len(c.good)-1, len(c.good))
	}
}

// succeed notes that p gave a stream.
func (c *candidates) succeed(p Peer) {
	if len(c.good) > 0 && c.good[0].same(p) {
		return
	}
	c.remove(p)
	c.good = slices.Insert(c.good, 0, p)
}

// fail notes that p gave none, or has left.
func (c *candidates) fail(p Peer) {
	c.remove(p)
	c.failed = append(c.failed, p)
	c.forget()
}

// order returns the peers to ask, one after the other.
func (c *candidates) order() []Peer { return slices.Concat(c.good, c.failed) }

func (c *candidates) remove(p Peer) {
	same := func(o Peer) bool { return o.same(p) }
	c.good = slices.DeleteFunc(c.good, same)
	c.failed = slices.DeleteFunc(c.failed, same)
}
