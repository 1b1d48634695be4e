package client

import (
	"slices"
)

// roster is who is on a topic: the peers that there are open circuits with. It does no I/O and no
// locking.
type roster struct {
	stays []*stay // in the order in which they began
	last  uint64  // number of the newest stay
}

// stay is the time of a peer from its first open circuit to the end of its last.
type stay struct {
	n        uint64 // from 1, another one for each stay
	peer     Peer   // as its first circuit told
	circuits []*Conn
}

// member is a stay to those who watch.
type member struct {
	n    uint64
	peer Peer
}

// add notes that c is open, and reports whether its peer is new.
func (r *roster) add(c *Conn) bool {
	for _, s := range r.stays {
		if s.peer.same(c.peer) {
			s.circuits = append(s.circuits, c)
			return false
		}
	}
	r.last++
	r.stays = append(r.stays, &stay{n: r.last, peer: c.peer, circuits: []*Conn{c}})
	return true
}

// remove notes that the circuits of which ended reports true have ended, and reports whether a
// peer went with the last one.
func (r *roster) remove(ended func(*Conn) bool) bool {
	before := len(r.stays)
	r.stays = slices.DeleteFunc(r.stays, func(s *stay) bool {
		s.circuits = slices.DeleteFunc(s.circuits, ended)
		return len(s.circuits) == 0
	})
	return len(r.stays) < before
}

// members returns who is there now, in the order in which they came.
func (r *roster) members() []member {
	all := make([]member, len(r.stays))
	for i, s := range r.stays {
		all[i] = member{s.n, s.peer}
	}
	return all
}

// changes returns who has left and who has joined between two looks.
func changes(before, after []member) (left, joined []Peer) {
	for _, m := range before {
		if !slices.ContainsFunc(after, func(a member) bool { return a.n == m.n }) {
			left = append(left, m.peer)
		}
	}
	for _, m := range after {
		if !slices.ContainsFunc(before, func(b member) bool { return b.n == m.n }) {
			joined = append(joined, m.peer)
		}
	}
	return left, joined
}
