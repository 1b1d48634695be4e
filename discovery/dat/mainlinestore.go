package dat

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Bounds on what our node keeps for others, and how long. Nodes announce again within this time.
const (
	maxStored      = 10_000 // peers of all ids
	maxStoredOfID  = 500
	maxStoredOfIP  = 16 // of one id
	maxStoredReply = 50 // in one answer
	storedFor      = 45 * time.Minute
)

// peerStore holds the peers that other nodes announce to ours. If it is full, it forgets the one
// that was announced the longest time ago. Any number of goroutines may use it.
type peerStore struct {
	mu  sync.Mutex
	ids map[id]map[netip.AddrPort]*list.Element // guarded by mu; none is empty
	age list.List                               // guarded by mu; of storedPeer, the oldest first
}

// storedPeer is a peer of an id.
type storedPeer struct {
	id id
	at netip.AddrPort
	on time.Time // when it was announced
}

func newPeerStore() *peerStore {
	return &peerStore{ids: make(map[id]map[netip.AddrPort]*list.Element)}
}

// add notes that a peer announced itself.
func (s *peerStore) add(i id, at netip.AddrPort, now time.Time) {
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if at.Port() == 0 || !at.Addr().IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
	peers := s.ids[i]
	if e := peers[at]; e != nil {
		s.dropLocked(e)
	} else if len(peers) >= maxStoredOfID || ofIP(peers, at.Addr()) >= maxStoredOfIP {
		return
	}
	if s.age.Len() >= maxStored {
		s.dropLocked(s.age.Front())
	}
	if peers = s.ids[i]; peers == nil {
		peers = make(map[netip.AddrPort]*list.Element)
		s.ids[i] = peers
	}
	peers[at] = s.age.PushBack(storedPeer{i, at, now})
}

func ofIP(peers map[netip.AddrPort]*list.Element, ip netip.Addr) (n int) {
	for at := range peers {
		if at.Addr() == ip {
			n++
		}
	}
	return n
}

// get returns some peers of an id, at random.
func (s *peerStore) get(i id, now time.Time) (peers []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
	for at := range s.ids[i] { // in no certain order
		if len(peers) == maxStoredReply {
			break
		}
		peers = append(peers, at)
	}
	return peers
}

// expireLocked forgets peers whose time is over.
func (s *peerStore) expireLocked(now time.Time) {
	for e := s.age.Front(); e != nil && now.Sub(e.Value.(storedPeer).on) >= storedFor; e = s.age.Front() {
		s.dropLocked(e)
	}
}

func (s *peerStore) dropLocked(e *list.Element) {
	p := s.age.Remove(e).(storedPeer)
	delete(s.ids[p.id], p.at)
	if len(s.ids[p.id]) == 0 {
		delete(s.ids, p.id)
	}
}
