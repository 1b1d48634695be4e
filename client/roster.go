package client

import (
	"slices"

	"github.com/swarmgate/swarmgate/wtproto"
)

// maxIdle is how many peers are taken for here though there is no open circuit with them.
const maxIdle = 256

// roster is who is on a topic, as far as the client knows. It does no I/O and no locking.
type roster struct {
	stays []*stay // in the order in which they began
	last  uint64  // number of the newest stay
}

// stay is the time of a peer from its first open circuit until it is known to have gone.
type stay struct {
	n        uint64 // from 1, another one for each stay
	peer     Peer   // as in the PEER of its first circuit
	circuits []*Conn
	further  bool     // a further circuit was opened
	lost     bool     // the gateway did not reach it, and there was a circuit
	session  *session // of the newest circuit
}

// member is a stay to those who watch.
type member struct {
	n    uint64
	peer Peer
}

// ending is what the end of a circuit says of its peer.
type ending int

const (
	endedHere  ending = iota // this end was the first to end it, which says nothing
	endedThere               // the peer was
	endedLost                // the peer is gone, or cannot be reached
)

// endingOf returns what a circuit says that the other side has reset with code.
func endingOf(code wtproto.Code) ending {
	switch code {
	case wtproto.CodePeerGone, wtproto.CodePeerUnreachable, wtproto.CodeLeft, wtproto.CodeShutdown, wtproto.CodeReplaced:
		return endedLost
	}
	return endedThere
}

// add notes that c is open, and reports whether its peer is new. It may be called again.
func (r *roster) add(c *Conn) bool {
	s := r.find(c.peer)
	isNew := s == nil
	if isNew {
		r.last++
		s = &stay{n: r.last, peer: c.peer}
		r.stays = append(r.stays, s)
	}
	if !slices.Contains(s.circuits, c) {
		s.circuits = append(s.circuits, c)
		s.lost = false
	}
	s.further = s.further || c.peer.Further
	s.session = c.session
	return isNew
}

func (r *roster) find(p Peer) *stay {
	for _, s := range r.stays {
		if s.peer.same(p) {
			return s
		}
	}
	return nil
}

// end notes how c has ended, and returns who is taken for gone because of that. A peer that had
// further circuits ends them as it likes, as a web server does with connections that are idle; one
// that had only its first circuit goes with it.
func (r *roster) end(c *Conn, how ending) []Peer {
	s := r.find(c.peer)
	if s == nil || !slices.Contains(s.circuits, c) {
		return nil
	}
	s.circuits = slices.DeleteFunc(s.circuits, func(o *Conn) bool { return o == c })
	if len(s.circuits) > 0 {
		return nil
	}
	gone := s.lost || how == endedLost || how == endedThere && !s.further
	idle := 0
	for _, o := range r.stays {
		if len(o.circuits) == 0 {
			idle++
		}
	}
	return r.drop(func(o *stay) bool {
		if len(o.circuits) == 0 && idle > maxIdle { // the oldest
			idle--
			return true
		}
		return o == s && gone
	})
}

// unreachable notes that the gateway does not reach p, and reports whether p was taken for here.
// Circuits that the program has not taken prove nothing: nobody reads or writes them. With one that
// it has taken p is here until the end of that.
func (r *roster) unreachable(p Peer) bool {
	s := r.find(p)
	if s == nil {
		return false
	}
	s.lost = true
	return len(r.drop(func(o *stay) bool {
		return o == s && !slices.ContainsFunc(s.circuits, func(c *Conn) bool { return c.taken })
	})) > 0
}

// lose notes that a session has ended, and returns who went with it.
func (r *roster) lose(session *session) []Peer {
	for _, s := range r.stays {
		s.circuits = slices.DeleteFunc(s.circuits, func(c *Conn) bool { return c.session == session })
	}
	return r.drop(func(s *stay) bool { return len(s.circuits) == 0 && s.session == session })
}

// drop takes out the stays that are over, and returns their peers.
func (r *roster) drop(over func(*stay) bool) (gone []Peer) {
	r.stays = slices.DeleteFunc(r.stays, func(s *stay) bool {
		if !over(s) {
			return false
		}
		gone = append(gone, s.peer)
		return true
	})
	return gone
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
