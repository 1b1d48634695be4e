package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/wtproto"
)

// lostHold is how long a host whose link was lost may come back before its peers are forgotten.
const lostHold = time.Minute

// neighbor is what all topics together have with another host. links.mu guards it.
type neighbor struct {
	id      peer.ID
	link    *link         // nil without one
	trying  *link         // ours, on which the other host has not said HOST yet
	opening bool          // a goroutine is getting a link, or will
	turn    *turn         // to dial; set while it waits, if no topic has brought a turn
	sought  bool          // a link is wanted to send GUESS
	arrived chan struct{} // closed by the next link

	wants    map[[32]byte]want    // topics for which MEET has to be sent
	asked    map[[32]byte]*remote // topics whose MEET is under way; nil if the topic was left meanwhile
	meetings map[[32]byte]*remote // topics on which the two have met
	former   map[[32]byte]*remote // topics on which the two had met when the last link was lost
	run      wtproto.Run          // of the last link
}

// want is a host that a topic wants to meet.
type want struct {
	r     *remote
	where target
	flags wtproto.MeetFlags
}

func (ls *links) neighborLocked(id peer.ID) *neighbor {
	n := ls.hosts[id]
	if n == nil {
		n = &neighbor{
			id: id, arrived: make(chan struct{}), wants: make(map[[32]byte]want),
			asked: make(map[[32]byte]*remote), meetings: make(map[[32]byte]*remote), former: make(map[[32]byte]*remote),
		}
		ls.hosts[id] = n
	}
	return n
}

// forgetLocked removes n if there is nothing with it.
func (ls *links) forgetLocked(n *neighbor) {
	if n.link == nil && n.trying == nil && !n.opening && len(n.wants)+len(n.former) == 0 {
		delete(ls.hosts, n.id)
	}
}

// usedLocked returns how many topics need n.
func (n *neighbor) usedLocked() int { return len(n.wants) + len(n.asked) + len(n.meetings) }

// addMeeting notes a meeting with r over l, or returns a code that says why that is impossible.
func (ls *links) addMeeting(l *link, r *remote) wtproto.Code {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := l.n
	switch {
	case n.link != l:
		return wtproto.CodeBusy // the link has ended
	case n.meetings[r.t.digest] == nil && len(n.meetings) >= maxLinkTopics:
		return wtproto.CodeTopicLimit
	}
	if len(n.meetings) == 0 {
		ls.h.ties.addMeeting(n.id)
	}
	n.meetings[r.t.digest] = r
	delete(n.former, r.t.digest)
	ls.kinLocked(l, kinMeeting)
	return wtproto.CodeNone
}

// dropMeetingLocked notes the end of the meeting with r, and reports whether there was one.
func (ls *links) dropMeetingLocked(n *neighbor, r *remote) bool {
	if n.meetings[r.t.digest] != r {
		return false
	}
	delete(n.meetings, r.t.digest)
	if len(n.meetings) == 0 {
		ls.h.ties.dropMeeting(n.id)
	}
	return true
}

// dropMeeting notes that the other host has ended the meeting with r.
func (ls *links) dropMeeting(l *link, r *remote) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.dropMeetingLocked(l.n, r)
	ls.restLocked(l)
}

// forgetFormer forgets the meetings on the last link with n, unless there is a newer link.
func (ls *links) forgetFormer(n *neighbor) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if n.link == nil && ls.hosts[n.id] == n {
		clear(n.former)
		ls.forgetLocked(n)
	}
}
