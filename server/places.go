package server

import (
	"cmp"
	"math"
)

// This file is arithmetic about the places of a member: its max peers, and who they are for. It
// knows neither topics nor sessions. Far means: of another gateway.

// unlimitedPlaces stands for the places of a member whose max peers are not limited, when the
// places of many are added.
const unlimitedPlaces = 1024

// places are those of one member. The zero value has none.
type places struct {
	maxPeers int // circuits at most; negative for no limit
	maxMates int // those of them with clients that are made without a need, at most; 0 for no limit of its own
	taken    int // circuits that are opening or open
	mates    int // those of them with clients
	locals   int // those of these with clients of this gateway
	chosen   int // those mates that this side chose
	outward  int // those of these with clients of other gateways
	swaps    int // 1 if it may dial for a need though it is full, as another circuit can end for it; else 0
}

// farShare returns how many of a member's places are for far clients: a quarter, and one at least.
// A client with one or two places has none to spare.
func farShare(maxPeers int) int {
	if maxPeers < 3 {
		return 0
	}
	return max(maxPeers/4, 1)
}

// farPlaces returns how many peers of other hosts a member may come to have beside so many
// clients that it may be connected with here.
func farPlaces(maxPeers, here int) int {
	if maxPeers < 0 {
		return unlimitedPlaces
	}
	return min(max(maxPeers-here, farShare(maxPeers), 1), unlimitedPlaces)
}

// far returns how many circuits there are with far clients.
func (p *places) far() int { return p.mates - p.locals }

// left returns how many places are free for mates.
func (p *places) left() int {
	if p.maxMates == 0 {
		return p.free()
	}
	return min(p.free(), max(p.maxMates-p.mates, 0))
}

// free returns how many places are free.
func (p *places) free() int {
	if p.maxPeers < 0 {
		return math.MaxInt
	}
	return max(p.maxPeers-p.taken, 0)
}

// most returns how many mates there may be.
func (p *places) most() int {
	if p.maxMates == 0 {
		return p.maxPeers
	}
	return p.maxMates
}

// kept returns how many free places are kept for far clients, of which so many can be had.
func (p *places) kept(reachable int) int {
	return max(min(farShare(p.most()), reachable)-p.far(), 0)
}

// spareHere reports whether there is a place for a client of this gateway that has mates. The
// last place is not, and neither are those that are kept for far clients. While peers are
// dialed, a quarter is kept for them: clients are here at once, and would take all places before
// the first peer has answered.
func (p *places) spareHere(reachable int, dialing bool) bool {
	if dialing && p.free()-1 <= p.maxPeers/4-(p.taken-p.locals) {
		return false
	}
	return p.left()-1 > p.kept(reachable)
}

// mayChooseHere reports whether this side may choose one more client of this gateway. Only half
// of the places are for its own choice, so that a large topic stays one mesh, and of these a
// part for far clients.
func (p *places) mayChooseHere(reachable int) bool {
	share := min(farShare(p.most()), reachable)
	return p.maxPeers < 0 || p.chosen < p.half() && p.chosen-p.outward < p.half()-(share+1)/2
}

func (p *places) half() int { return (p.most() + 1) / 2 }

// mayDialNative reports whether there is a place for a native peer.
func (p *places) mayDialNative(reachable int) bool {
	kept := p.kept(reachable)
	if p.maxPeers > 1 && reachable > 0 {
		kept++ // the last place
	}
	return p.free() > kept
}

// mayDialFar reports whether this side may open a circuit to a far client, while it dials so
// many peers. Its last place is for a need: its own part of the mesh lacks a circuit with
// another gateway, or the gateway of the client does.
func (p *places) mayDialFar(dialing int, need bool) bool {
	left := p.left() - dialing
	switch {
	case need:
		return left+p.swaps > 0
	case p.maxPeers >= 0 && p.chosen >= p.half():
		return false
	case p.mates == 0:
		return left > 0
	default:
		return left > 1
	}
}

// mayAcceptFar reports whether a far client may open a circuit to this one. The last place is
// for a client whose gateway needs one, unless this side needs it itself. If that has lasted, it
// is for anybody.
func (p *places) mayAcceptFar(itsNeed, ourNeed, lasted bool) bool {
	return p.left() > 1 || p.left() == 1 && (p.mates == 0 || ourNeed && lasted || itsNeed && !ourNeed)
}

// maySwap reports whether a circuit may end to make room for one that is needed. Who has one place
// keeps what it has.
func (p *places) maySwap() bool { return p.maxPeers >= 2 && p.left() == 0 }

// keptFrom returns how many circuits that came from others stay when others say that they need a
// place, beside those that were given to needs. Anybody can say so. A client with two places needs
// both.
func (p *places) keptFrom() int {
	if p.maxPeers < 3 {
		return 0
	}
	return 1
}

// farCircuit is what matters of a circuit with a far client if one has to end.
type farCircuit[G cmp.Ordered] struct {
	gateway G    // the id of the other one
	chosen  bool // this side opened it
	given   bool // it has its place because the other gateway needed it
}

// surplus returns which of a full member's circuits may end for one with a gateway that needs it,
// or -1. Its part of the mesh has opened so many circuits to other gateways.
//
// One that its part opened itself may, if it has another one: the part stays connected by that.
// Else one that came from a gateway with a smaller id than the needy one, the smallest; but of
// those that were not given to a need so many are kept. That gateway may be in need then. So needs
// pass on to ever smaller gateways, which know ever more greater ones. What was opened to help
// another gateway ends last.
func surplus[G cmp.Ordered](all []farCircuit[G], opened int, needy G, kept int) int {
	ordinary := 0
	for _, c := range all {
		if !c.chosen && !c.given {
			ordinary++
		}
	}
	best, helping := -1, -1
	for i, c := range all {
		switch {
		case c.chosen && opened > 1 && !c.given:
			return i
		case c.chosen && opened > 1:
			helping = i
		case !c.chosen && c.gateway < needy && (c.given || ordinary > kept) && (best < 0 || c.gateway < all[best].gateway):
			best = i
		}
	}
	if best < 0 {
		return helping
	}
	return best
}
