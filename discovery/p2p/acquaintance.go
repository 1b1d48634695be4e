package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/backoff"
)

// stand is how things stand with a host on a topic.
type stand byte

const (
	standApart   stand = iota // nothing is going on
	standAsked                // we ask it
	standMeeting              // there is a meeting
)

// acquaintance is a host that is on the topic, or is said to be.
type acquaintance struct {
	id     peer.ID
	stand  stand
	slow   bool      // asked, and making room for others
	ours   bool      // met, and we chose it
	chosen bool      // asked, by our choice
	spare  bool      // asked to take the place of another one
	climb  bool      // asked because it may be the gateway with the next greater id
	since  time.Time // it stands so
	index  int       // in meetings.all

	named bool // the operator says that it is on the topic
	near  bool // it is on the LAN
	real  bool // it has answered once, or asked
	seen  time.Time

	gateway, native bool // what it says that it is; neither before it has answered

	failures int // in a row; a host without room counts too
	retry    backoff.Backoff
	next     time.Time // it is not asked before
	parted   time.Time // when one of us let the other go last
}

// fresh reports whether nothing speaks against a.
func (a *acquaintance) fresh(now time.Time) bool {
	return a.failures == 0 && now.Sub(a.parted) >= partedFor
}

// The ranks of those who may be forgotten, the greatest first.
const (
	evictNear = 1 + iota
	evictReal
	evictNever
	evictFailed
)

// evictable returns with which rank a may be forgotten, 0 if it may not.
func (a *acquaintance) evictable() int {
	switch {
	case a.stand != standApart, a.named:
		return 0
	case a.near:
		return evictNear
	case a.real:
		return evictReal
	case a.failures > 0:
		return evictFailed
	}
	return evictNever
}

// learn notes that id is said to be on the topic. It returns nil if there is no room.
func (m *meetings) learn(id peer.ID, now time.Time) *acquaintance {
	a := m.known[id]
	if a == nil {
		if len(m.known) >= maxKnown && !m.evict() {
			return nil
		}
		a = &acquaintance{id: id, retry: backoff.New(m.retryMin, m.retryMax)}
		a.retry.Int64N = func(n int64) int64 { return int64(m.random(int(n))) }
		a.index = len(m.all)
		m.known[id], m.all = a, append(m.all, a)
	}
	a.seen = now
	return a
}

// evict forgets somebody, and reports whether there was one: rather one that failed and never
// answered than one that was never asked, and rather this one than one that is known to be real.
// Among equals chance decides, so whoever makes up hosts pushes out its own. Those of the
// LAN go last, and those of the operator stay.
func (m *meetings) evict() bool {
	for _, least := range [...]int{evictFailed, evictNever, evictReal, evictNear} {
		if a := m.choose(func(a *acquaintance) bool { return a.evictable() >= least }); a != nil {
			m.drop(a)
			return true
		}
	}
	return false
}

// name notes that the operator says that id is on the topic. It returns nil if there is no room.
func (m *meetings) name(id peer.ID, now time.Time) *acquaintance {
	a := m.learn(id, now)
	if a != nil && !a.named {
		a.named = true
		m.operators++
		if a.stand == standMeeting {
			m.named++
			if a.ours {
				m.own--
			}
		}
	}
	return a
}

// drop takes a, which stands apart, out.
func (m *meetings) drop(a *acquaintance) {
	last := len(m.all) - 1
	m.all[a.index] = m.all[last]
	m.all[a.index].index = a.index
	m.all[last] = nil
	m.all = m.all[:last]
	delete(m.known, a.id)
	if m.dropped != nil {
		m.dropped(a.id)
	}
}

// again notes that id is somewhere else now, so that its failures do not count.
func (m *meetings) again(id peer.ID) {
	if a := m.known[id]; a != nil && a.stand == standApart {
		a.failures, a.next = 0, time.Time{}
	}
}

// forget drops hosts that were not found for so long that asking is in vain.
func (m *meetings) forget(now time.Time) {
	for i := len(m.all) - 1; i >= 0; i-- { // dropping one moves the last of them, which was there
		if a := m.all[i]; a.stand == standApart && !a.named && now.Sub(a.seen) > stale {
			m.drop(a)
		}
	}
}
