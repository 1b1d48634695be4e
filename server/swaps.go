package server

import (
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file ends circuits with clients of other gateways to make room for those without which
// the mesh of a topic would be in parts. [surplus] says which; here is how, and how often.

// giveSame is how long after a client has given its last place, or that of another circuit, to a
// gateway this one may get such a place again: the first time, and at most.
const giveSame, giveSameMax = time.Minute, time.Hour

// givenFor is how long a circuit counts as given to a need, and may end for the next need. So
// claims of others change a standing mesh only a little.
const givenFor = 10 * time.Minute

// ownNeed is greater than the id of any host. Those that open circuits to us have smaller ids
// than we have, so for our own need any of these may end.
const ownNeed = "\xff"

// surplus returns the circuit of s, which is full, that may end for one that a gateway needs, or
// nil. The part of s has opened so many circuits to other gateways.
func (s *subscription) surplus(opened int, needy string) *pair {
	if !s.maySwap() || s.blocked {
		return nil
	}
	var pairs []*pair
	var all []farCircuit[string]
	for _, p := range s.pairs {
		if p.state == pairOpen && p.opened && p.then == nil && p.peer != nil && p.peer.Client {
			pairs = append(pairs, p)
			all = append(all, farCircuit[string]{p.peer.host(), !p.inbound, p.given && p.sub.topic.now.Sub(p.began) < givenFor})
		}
	}
	kept := s.keptFrom()
	if needy == ownNeed {
		kept = 0
	}
	if i := surplus(all, opened, needy, kept); i >= 0 {
		return pairs[i]
	}
	return nil
}

// swap ends p, an open circuit. When its place is free, it calls then.
func (t *topic) swap(p *pair, then func()) {
	p.then = then
	c := p.near.circuit
	c.yields.Store(true)
	c.over.end(wtproto.Errorf(wtproto.CodeBusy, "its place is needed to keep the mesh in one piece"))
}

// mayGive reports whether a place may be given to the gateway of p because that needs one.
// Anybody can say so, and go on saying so under many names, so that is seldom.
func (t *topic) mayGive(p *peer) bool {
	g := t.gateways[p.host()]
	return !t.now.Before(t.giveAgain) && (g == nil || !t.now.Before(g.giveAgain))
}

// gave notes that a place was given to the gateway of p.
func (t *topic) gave(p *peer) {
	t.giveAgain = t.now.Add(helpEvery)
	g := t.farGateway(p)
	g.giveAgain = t.now.Add(min(giveSame<<g.given, giveSameMax))
	g.given = min(g.given+1, 10)
}

// accepts reports whether s has a place for p, a client of another gateway that opens a circuit
// and may need it, and whether the place is given to that need.
func (t *topic) accepts(s *subscription, p *peer, need bool) (ok, given bool) {
	lasted := t.lacking > helpedAfter
	ours := s.seeks || s.bridges
	if s.mayAcceptFar(false, ours, lasted) {
		return true, false
	}
	if s.waits && s.room() { // it cannot dial meanwhile
		for _, o := range t.subs { // one is enough, until the next survey
			o.waits = false
		}
		return true, false
	}
	if !need || !t.mayGive(p) || !s.mayAcceptFar(true, ours, lasted) {
		return false, false
	}
	t.gave(p)
	return true, true
}

// give ends a circuit of s for in, which a client of a gateway in need opens, and reports
// whether there is one that may end. The answer comes when there is room.
func (t *topic) give(s *subscription, p *peer, in discovery.Sighting) bool {
	if g := t.gateways[p.host()]; g != nil && g.circuits > 0 || !t.mayGive(p) {
		return false
	}
	old := s.surplus(s.opened, p.host())
	if old == nil {
		return false
	}
	t.gave(p)
	t.swap(old, func() { t.inbound(in, true) })
	return true
}

// exchange ends a circuit of the side that dialed p, which is full, for p, and reports whether
// there is one that may end.
func (t *topic) exchange(p *pair, then func()) bool {
	s, needy := p.sub, ownNeed
	if !s.seeks {
		needy = p.peer.host()
	}
	if s.swaps == 0 || !p.peer.Client || !s.seeks && !t.mayGive(p.peer) || !s.mayDialFar(0, s.seeks || s.helps && p.peer.need) {
		return false
	}
	old := s.surplus(s.opened, needy)
	if old == nil {
		return false
	}
	if s.swaps = 0; !s.seeks {
		t.gave(p.peer)
	}
	t.swap(old, then)
	return true
}

// clear ends a circuit of each of x and y that is full, so that they can be connected with each
// other, unless there is one for which none may end. Their parts have opened so many circuits to
// other gateways.
func (t *topic) clear(x, y *subscription, opened int) bool {
	var old []*pair
	for _, s := range [...]*subscription{x, y} {
		if s.places.left() > 0 {
			continue
		}
		p := s.surplus(opened, ownNeed)
		if p == nil {
			return false
		}
		if !p.inbound {
			opened--
		}
		old = append(old, p)
	}
	x.bridges, y.bridges = true, true
	for _, p := range old {
		t.swap(p, t.surveySoon)
	}
	return true
}
