package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/backoff"
)

// stand is how things stand with a host on a topic.
type stand byte

const (
	standApart stand = iota // nothing is going on
	standAsked              // we ask it
	standMet                // there is a meeting
)

// acquaintance is a host that is on the topic, or is said to be.
type acquaintance struct {
	id     peer.ID
	stand  stand
	slow   bool      // asked, and making room for others
	ours   bool      // met, and we chose it
	chosen bool      // asked, by our choice
	spare  bool      // asked to take the place of another one
	since  time.Time // it stands so
	index  int       // in meetings.all

	named bool // the operator says that it is on the topic
	near  bool // it is on the LAN
	real  bool // it has answered once, or asked
	seen  time.Time

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
