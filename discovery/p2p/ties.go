package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxPending    = 256  // streams of one address without a first frame, or that wait for our answer
	maxPendingAll = 1024 // such streams of all together: each may hold what fits into a first window
	// maxCircuitHosts is how many hosts may have circuits with this one. With maxMeetingHosts it
	// bounds the connections that the connection manager may not cut.
	maxCircuitHosts = 2048
	tagCircuit      = "swarmgate/circuit"
	tagMeeting      = "swarmgate/meeting"
)

// ties counts circuits and meetings with each other host, within limits. It has the connection
// manager keep the connections of these hosts. All other hosts, such as those of the DHT, have a
// share of their own.
type ties struct {
	conns   connmgr.ConnManager
	pending *crowd.Crowd[network.Stream]
	rooms   *sharing // the hosts that topics may meet

	mu       sync.Mutex
	circuits map[peer.ID]int  // guarded by mu, like all below
	meetings map[peer.ID]bool // hosts that are met, on any number of topics
}

func newTies(c connmgr.ConnManager) *ties {
	return &ties{
		conns: c, pending: crowd.New[network.Stream](maxPendingAll, maxPending),
		rooms:    &sharing{places: newPlaces[*topic](maxMeetingHosts)},
		circuits: make(map[peer.ID]int), meetings: make(map[peer.ID]bool),
	}
}

// add changes a count by one, removes it at zero, and returns it.
func add(m map[peer.ID]int, id peer.ID, n int) int {
	m[id] += n
	if m[id] == 0 {
		delete(m, id)
		return 0
	}
	return m[id]
}

// addCircuit notes a circuit with id, open or being opened, unless there are too many.
func (t *ties) addCircuit(id peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.circuits[id]; n >= MaxCircuits || n == 0 && len(t.circuits) >= maxCircuitHosts {
		return false
	}
	if add(t.circuits, id, 1) == 1 {
		t.conns.Protect(id, tagCircuit)
	}
	return true
}

// dropCircuit notes the end of one.
func (t *ties) dropCircuit(id peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if add(t.circuits, id, -1) == 0 {
		t.conns.Unprotect(id, tagCircuit)
	}
}

// hasCircuits reports whether there are circuits with id.
func (t *ties) hasCircuits(id peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.circuits[id] > 0
}

// addMeeting notes that id is met.
func (t *ties) addMeeting(id peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meetings[id] = true
	t.conns.Protect(id, tagMeeting)
}

// dropMeeting notes that id is not met on any topic any more.
func (t *ties) dropMeeting(id peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.meetings, id)
	t.conns.Unprotect(id, tagMeeting)
}

// addPending notes a stream that is not a link or a circuit yet, until it leaves pending. If there
// are too many, it resets the oldest one of the busiest address, so that silent streams shut
// nobody out.
func (t *ties) addPending(s network.Stream) *crowd.Place[network.Stream] {
	from, _ := plainTCP(s.Conn().RemoteMultiaddr())
	place, out := t.pending.Enter(from.Addr(), s)
	if out != nil {
		reset(out.Who, wtproto.CodeBusy)
	}
	return place
}
