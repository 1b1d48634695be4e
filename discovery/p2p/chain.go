package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file keeps the gateways of a topic in one chain: each gateway meets the one with the next
// greater id that it has found, however many others it has met. Otherwise a gateway that has met
// no greater one, though there is one, would head an island of clients.

const (
	// Hosts that may be the next greater one are asked at this rate, however many ids somebody
	// makes up.
	chainEvery, chainBurst = 10 * time.Second, 8
	// chainRoom is how many meetings are reserved for the next greater gateway and the next
	// smaller one, beyond the room for others.
	chainRoom = 2
)

// chain is the part of meetings that belongs to the chain. The zero value is that of a native
// peer, which is not in the chain.
type chain struct {
	self  peer.ID       // ours, "" for a native peer
	asks  *rate.Limiter // of hosts that may be the next greater one; nil before the first host
	swaps *rate.Limiter // of meetings that end because a host next to us asks for one; nil before the first host
}

// newChain returns the place of the gateway called self.
func newChain(self peer.ID) chain { return chain{self: self} }

// know notes whether the host id, with which we have a link, is a gateway.
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
// A host that failed has to wait for its time, and for hosts that have not failed. So made-up ids
// delay the next real one, but do not keep us from it.
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

// climbs is like greater, but returns nil if the rate or the room does not allow to ask now.
func (m *meetings) climbs(now time.Time) *acquaintance {
	a := m.greater(now)
	if a == nil || m.chain.asks.TokensAt(now) < 1 || m.room != nil && !m.room.may(a.id) {
		return nil
	}
	return a
}

// climbAt returns when to call climbs again: at, or earlier.
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

// neighbors returns the gateways next to us among those that we have met. Each is nil if there is
// none.
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

// isNext reports whether a is a gateway next to us, or would be if we met it.
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

// welcomeNext is the part of [meetings.welcome] for a host a next to us, if the room for others is
// full.
func (m *meetings) welcomeNext(a *acquaintance, now time.Time) (code wtproto.Code, out peer.ID) {
	if m.active < m.most()+chainRoom { // the hosts that we ask do not get these places
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

// forNext returns which meeting ends because we have met a, which is next to us. None ends as long
// as there is room, unless there are enough meetings. If no other meeting can end, a's does.
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
