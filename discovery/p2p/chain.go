package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file keeps the gateways of a topic one chain: each meets the one with the next greater id of
// those that it has found, however many others it has met. Without it gateways that have met nobody
// greater, though there is somebody, head islands of clients.

const (
	// Hosts are asked because they may be the next greater one at this rate, whoever makes up ids.
	chainEvery, chainBurst = 10 * time.Second, 8
	// chainRoom is how many meetings there may be beyond those that others ask for: with the next
	// greater gateway and the next smaller one.
	chainRoom = 2
)

// chain is what meetings keeps for the sake of the chain. The zero value is that of a native peer,
// which is not in it.
type chain struct {
	self  peer.ID       // ours, "" for a native peer
	asks  *rate.Limiter // of hosts that may be the next greater one
	swaps *rate.Limiter // of others who go for the sake of one that asks and is next to us
}

// newChain returns the place of the gateway called self.
func newChain(self peer.ID) chain {
	return chain{self, rate.NewLimiter(rate.Every(chainEvery), chainBurst), rate.NewLimiter(rate.Every(chainEvery), chainBurst)}
}

// know notes whether id, with which there is a link, is a gateway.
func (m *meetings) know(id peer.ID, gateway bool) {
	if a := m.known[id]; a != nil {
		a.gateway, a.native = gateway, !gateway
	}
}

// above reports whether a may be a gateway with a greater id than ours.
func (m *meetings) above(a *acquaintance) bool {
	return m.chain.self != "" && !a.native && a.id > m.chain.self
}

// greater returns the host to ask because it may be the gateway with the next greater id, or nil.
// One that failed waits for its time, and for those that nothing speaks against: whoever makes
// up ids delays the next real one, but does not keep us from it.
func (m *meetings) greater(now time.Time) *acquaintance {
	if m.chain.self == "" {
		return nil
	}
	var next, failed *acquaintance
	nearer := func(a, than *acquaintance) bool { return than == nil || a.id < than.id }
	for _, a := range m.all {
		switch {
		case !m.above(a), a.stand == standAsked && now.Sub(a.since) >= askPatience:
		case a.stand == standApart && now.Before(a.next):
		case a.stand == standApart && a.failures > 0:
			if nearer(a, failed) {
				failed = a
			}
		case nearer(a, next):
			next = a
		}
	}
	switch {
	case next != nil && next.stand == standApart:
		return next
	case failed != nil && nearer(failed, next):
		return failed
	}
	return nil
}

// climbs returns whom to ask now because it may be the next greater one, or nil.
func (m *meetings) climbs(now time.Time) *acquaintance {
	a := m.greater(now)
	if a == nil || m.chain.asks.TokensAt(now) < 1 || m.room != nil && !m.room.may(a.id) {
		return nil
	}
	return a
}

// climbAt returns when climbs is to be called again, and no later than at.
func (m *meetings) climbAt(now, at time.Time) time.Time {
	if m.greater(now) == nil || m.chain.asks.TokensAt(now) >= 1 {
		return at
	}
	r := m.chain.asks.ReserveN(now, 1)
	defer r.CancelAt(now)
	if due := now.Add(max(r.DelayFrom(now), time.Millisecond)); due.Before(at) {
		return due
	}
	return at
}

// neighbors returns the gateways next to us of those that are met, each nil if there is none.
func (m *meetings) neighbors() (below, above *acquaintance) {
	if m.chain.self == "" {
		return nil, nil
	}
	for _, a := range m.all {
		switch {
		case a.stand != standMeeting || !a.gateway:
		case a.id > m.chain.self && (above == nil || a.id < above.id):
			above = a
		case a.id < m.chain.self && (below == nil || a.id > below.id):
			below = a
		}
	}
	return below, above
}

// isNext reports whether a, which is a gateway, is next to us, or would be if it were met.
func (m *meetings) isNext(a *acquaintance) bool {
	below, above := m.neighbors()
	switch {
	case m.chain.self == "" || !a.gateway:
		return false
	case a.id > m.chain.self:
		return above == nil || a.id <= above.id
	}
	return below == nil || a.id >= below.id
}

// welcomeNext decides about a, which asks, is next to us, and for which there is no room among all
// others. It is for [meetings.welcome].
func (m *meetings) welcomeNext(a *acquaintance, now time.Time) (code wtproto.Code, out peer.ID) {
	if m.active < m.most()+chainRoom { // those who are asked do not get these places
		return wtproto.CodeNone, ""
	}
	if m.chain.swaps.TokensAt(now) >= 1 {
		if o := m.spare(now, func(o *acquaintance) bool { return !o.ours }); o != nil {
			m.chain.swaps.AllowN(now, 1)
			m.part(o, now)
			return wtproto.CodeNone, o.id
		}
	}
	return wtproto.CodeBusy, ""
}

// forNext returns who is to go because a is met, which is next to us: nobody as long as there is
// room, unless there are enough, and a itself if nobody else can.
func (m *meetings) forNext(a *acquaintance, enough bool, now time.Time) *acquaintance {
	full := m.active > m.most()+chainRoom
	if !full && !enough {
		return nil
	}
	if o := m.spare(now, func(o *acquaintance) bool { return o != a }); o != nil || !full {
		return o
	}
	return a
}
