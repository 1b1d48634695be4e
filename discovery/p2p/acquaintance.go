package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/backoff"
)

// stand is the state of a host on a topic.
type stand byte

const (
	standApart   stand = iota // nothing is going on
	standAsked                // we ask it
	standMeeting              // there is a meeting
)

// acquaintance is a host that is on the topic, or of which somebody says so.
type acquaintance struct {
	id     peer.ID
	stand  stand
	slow   bool      // we ask it, and it is so slow that others are asked beside it
	ours   bool      // there is a meeting, and we chose the host
	chosen bool      // we ask it because we chose it at random
	spare  bool      // we ask it to replace another meeting
	climb  bool      // we ask it because it may be the gateway with the next greater id
	since  time.Time // when stand began
	index  int       // in meetings.all

	named bool // the operator says that it is on the topic
	near  bool // it is on the LAN
	real  bool // it has answered or asked us once
	seen  time.Time

	gateway, native bool // its own claim; neither is set before it has answered

	failures int // in a row; BUSY counts too
	retry    backoff.Backoff
	next     time.Time // we do not ask it before that
	parted   time.Time // when one of us last ended the meeting to make room
}

// fresh reports whether a is a new candidate: it has not failed, and no meeting with it ended
// lately.
func (a *acquaintance) fresh(now time.Time) bool {
	return a.failures == 0 && now.Sub(a.parted) >= partedFor
}

// The ranks in which hosts are forgotten, the greatest first.
const (
	evictNear = 1 + iota
	evictReal
	evictNever
	evictFailed
)

// evictable returns the rank of a, or 0 if a must not be forgotten.
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

// learn notes that somebody says that id is on the topic. It returns nil if there is no room.
func (m *meetings) learn(id peer.ID, now time.Time) *acquaintance {
	a := m.known[id]
	if a == nil {
		if m.known == nil {
			m.first()
		}
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

// evict forgets a host, and reports whether it could: first hosts that failed and never answered,
// then those that we never asked, then those that are known to be real. Among equals it chooses at
// random, so made-up hosts mostly push out each other. Hosts of the LAN go last. Those of the
// operator stay.
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

// drop removes a, whose state is apart.
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

// again notes that id has another address now, so its failures do not count any more.
func (m *meetings) again(id peer.ID) {
	if a := m.known[id]; a != nil && a.stand == standApart {
		a.failures, a.next = 0, time.Time{}
	}
}

// forget drops hosts that we have not found for so long that they are probably gone.
func (m *meetings) forget(now time.Time) {
	for i := len(m.all) - 1; i >= 0; i-- { // dropping one moves the last of them, which was there
		if a := m.all[i]; a.stand == standApart && !a.named && now.Sub(a.seen) > stale {
			m.drop(a)
		}
	}
}
