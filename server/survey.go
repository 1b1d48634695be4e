package server

import (
	"maps"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file looks at the mesh of a topic as a whole, as far as this gateway sees it: whether its
// clients are one part, and whether each part has a circuit that leads on to another gateway. It
// is done a second after something has changed, and not at all while nothing does.
//
// A gateway opens circuits only to gateways with greater ids. So if each has one circuit that it
// opened, these lead from anywhere up to the gateway with the greatest id, and the mesh is one.

const (
	// surveyAfter is how long after a change the mesh is looked at, and how long a survey is
	// repeated that did not mend what it found: at first, and at most.
	surveyAfter, surveyMax = time.Second, 30 * time.Second
	// patientSurveys is how many surveys may find that a circuit with another gateway is lacking
	// before others are told.
	patientSurveys = 3
	// helpedAfter is how many surveys may find so before a client takes anybody's help in a last
	// place. The helper may be of the same part of the mesh, so the gateway first dials for some
	// seconds while others know of the need.
	helpedAfter = 2 * patientSurveys
	// helpEvery is how often a client may give its last place to a gateway that needs a circuit.
	helpEvery = 10 * time.Second
	// awaited is how long places are kept for clients of a gateway of which none has come, and
	// which we cannot dial.
	awaited = time.Minute
	// mendTries is how many clients of a part are tried to connect it with another part.
	mendTries = 8
	// retriedOfOne is how many clients of one other gateway are tried again at once in need.
	retriedOfOne = 4
	// mostReachable is as many as change anything.
	mostReachable = 256
)

// gateway is what a topic knows of another gateway.
type gateway struct {
	clients  int       // known
	dialable int       // those of them that we may dial, unless they cannot be reached
	since    time.Time // when the first of them became known
	circuits int       // with clients of it
	need     bool      // it lacks a circuit with another gateway

	giveAgain time.Time // it may be given a place again because it needs one
	given     int       // how often it was

	surveyed struct{ clients, dialable int } // as of the last survey
}

// host returns what the ids of all clients of p's gateway begin with.
func (p *peer) host() string {
	return p.ID[:max(len(p.ID)-wtproto.EndpointSize, 0)]
}

// unreachable reports whether p could not be reached when it was dialed last. One that has no
// room is not.
func (p *peer) unreachable() bool {
	return p.refused && p.code != wtproto.CodeBusy && p.code != wtproto.CodeCircuitLimit
}

// farGateway returns what is known of p's gateway.
func (t *topic) farGateway(p *peer) *gateway {
	g := t.gateways[p.host()]
	if g == nil {
		g = &gateway{since: t.now}
		put(&t.gateways, p.host(), g)
	}
	return g
}

// dropGateway forgets p's gateway if nothing is left to know of it.
func (t *topic) dropGateway(p *peer) {
	if g := t.gateways[p.host()]; g != nil && g.clients == 0 && g.circuits == 0 {
		delete(t.gateways, p.host())
	}
}

// tallyFar adds n times p, which is known, to what is counted of its gateway.
func (t *topic) tallyFar(p *peer, n int) {
	if !p.Client {
		return
	}
	g := t.farGateway(p)
	g.clients += n
	if p.dial != nil && !p.unreachable() {
		g.dialable += n
	}
	if n > 0 {
		g.need = p.need
		if g.surveyed.clients != g.clients || g.surveyed.dialable != g.dialable {
			t.surveySoon()
		}
	}
}

// countFar adds n circuits to those with the gateway of p.
func (t *topic) countFar(p *peer, n int) {
	t.farGateway(p).circuits += n
	t.dropGateway(p)
}

// needs reports whether the gateway of p lacks a circuit.
func (t *topic) needs(p *peer) bool {
	g := t.gateways[p.host()]
	return g != nil && g.need
}

// surveySoon has the mesh looked at in a second.
func (t *topic) surveySoon() { t.surveyIn(surveyAfter) }

// survey looks at the mesh as a whole, mends it here, and finds out who is to open circuits with
// other gateways.
func (t *topic) survey() {
	above, below := t.reach()
	var members []*subscription
	for _, s := range t.subs {
		s.bridges = false
		if !s.gone() && (s.announces() || s.looksUp()) {
			members = append(members, s)
		}
	}
	t.apart++
	parts := t.mend(partsOf(members, eachMateHere))
	if len(parts) < 2 {
		t.apart = 0
	}
	lacking := false
	for _, part := range parts {
		lacking = t.seek(part, above, below) || lacking
	}
	if lacking && above && t.lacking > patientSurveys {
		t.retryNext()
	}
	t.help(members)
	before := t.lacking > patientSurveys
	if t.lacking++; !lacking {
		t.lacking = 0
	}
	if now := t.lacking > patientSurveys; now != before {
		t.announce()
	}
	turns := t.lacking
	if far := slices.ContainsFunc(members, func(s *subscription) bool { return s.places.far() > 0 }); far && t.apart > 0 {
		turns, lacking = max(turns, t.apart), true
	}
	if lacking {
		t.surveyIn(min(surveyAfter<<min(max(turns-patientSurveys, 0), 10), surveyMax))
	}
}

// surveyIn has the mesh looked at after d, if that is not to be done earlier.
func (t *topic) surveyIn(d time.Duration) {
	if next := t.now.Add(d); t.surveying.place == 0 || next.Before(t.surveying.at) {
		t.agenda.set(&t.surveying, next)
	}
}

// reach counts the clients of other gateways that can be had, and reports whether there are some
// that we dial, and others.
func (t *topic) reach() (above, below bool) {
	n := 0
	for _, g := range t.gateways {
		g.surveyed.clients, g.surveyed.dialable = g.clients, g.dialable
		n += g.dialable
		above = above || g.dialable > 0
		switch left := awaited - t.now.Sub(g.since); {
		case g.dialable > 0 || g.clients == 0:
		case g.circuits > 0:
			n, below = n+g.clients, true
		case left > 0:
			n, below = n+g.clients, true
			t.surveyIn(left)
		default: // no place is kept for its clients any more, and they may be needed yet
			below = true
		}
	}
	if n = min(n, mostReachable); n == t.reachable {
		return above, below
	}
	t.reachable = n
	for _, s := range t.subs {
		t.index(s)
	}
	for _, s := range t.subs {
		t.connect(s)
	}
	return above, below
}

// eachMateHere yields the clients of this gateway that s is connected with.
func eachMateHere(s *subscription, yield func(*subscription)) {
	for _, p := range s.pairs {
		switch {
		case p.state != pairOpen || p.other == nil:
		case p.sub == s:
			yield(p.other)
		default:
			yield(p.sub)
		}
	}
}

// mend connects the greatest of parts with the others, for which last places may be taken, and
// returns what parts are left.
func (t *topic) mend(parts [][]*subscription) (left [][]*subscription) {
	for i, part := range parts {
		if i > 0 && t.bridge(parts[0], part) {
			parts[0] = append(parts[0], part...)
		} else {
			left = append(left, part)
		}
	}
	if len(left) > 0 {
		left[0] = parts[0]
	}
	return left
}

// bridge connects two clients, one of each part, if there are two that may be connected. If the
// mesh has been in parts for long, others have to end for that, and it will be done in the next
// survey.
func (t *topic) bridge(a, b []*subscription) bool {
	if t.router.cfg.IsolateClients {
		return false
	}
	opened := openedBy(a) + openedBy(b)
	swaps := func(s *subscription) bool {
		return t.apart > patientSurveys && !t.now.Before(t.giveAgain) && s.surplus(opened, ownNeed) != nil
	}
	others := takers(b, mendTries, placesOf, swaps)
	if len(others) == 0 {
		return false
	}
	for _, x := range takers(a, mendTries, placesOf, swaps) {
		for _, y := range others {
			if x.blocked || y.blocked || !x.meets(wtproto.NetworkClient) || !y.meets(wtproto.NetworkClient) ||
				!(x.announces() && y.looksUp() || x.looksUp() && y.announces()) || t.fitClient(x, y) != fits ||
				x.session.suspect(t.now) || y.session.suspect(t.now) {
				continue
			}
			if x.places.left() == 0 || y.places.left() == 0 {
				if t.clear(x, y, opened) {
					t.giveAgain = t.now.Add(helpEvery)
					return false
				}
				continue
			}
			before := x.taken
			if t.introduce(x, y); x.taken > before {
				return true
			}
		}
	}
	return false
}

func placesOf(s *subscription) *places { return &s.places }

// openedBy returns how many circuits a part has opened to other gateways.
func openedBy(part []*subscription) (n int) {
	for _, s := range part {
		n += s.outward
	}
	return n
}

// seek has somebody of part open a circuit with another gateway if the part lacks one, and
// reports whether it does. Others with greater ids are above, and those that would have to dial
// us are below. If nobody has a place for it, another circuit may have to end once that has
// lasted.
func (t *topic) seek(part []*subscription, above, below bool) (lacks bool) {
	var able []*subscription
	opened, far := openedBy(part), 0
	for _, s := range part {
		s.opened = opened
		far += s.places.far()
		if s.meetsNative() {
			able = append(able, s)
		}
	}
	may := func(s *subscription) bool { return s.surplus(opened, ownNeed) != nil }
	var seeker *subscription
	if lacksFar(opened, far, above, below) {
		taker := takers(able, 1, placesOf, may)
		if lacks = len(taker) > 0; lacks && above {
			seeker = taker[0]
		}
	}
	for _, s := range part {
		if s.seeks && seeker != nil && s.room() { // it goes on
			seeker = s
			break
		}
	}
	for _, s := range part {
		swaps := 0
		if s == seeker && s.maySwap() && t.lacking > patientSurveys || s.helps && s != seeker && s.swaps > 0 {
			swaps = 1
		}
		s.waits = lacks && !above
		if seeks := s == seeker; s.seeks != seeks || s.swaps != swaps {
			s.seeks, s.swaps = seeks, swaps
			t.index(s)
			if seeks {
				t.connect(s)
			}
		}
	}
	return lacks
}

// retryNext has clients dialed again at once that had no place for a need: some of those of the
// gateways with the next greater ids. Nobody else is as sure to have a place by now, since
// [surplus] prefers the greater ones of those in need; but each refusal put them off for longer.
func (t *topic) retryNext() {
	busy := make(map[string][]*peer)
	for _, p := range t.peers {
		if p.Client && p.dial != nil && p.refused && !p.unreachable() && p.dialing == 0 && t.now.Before(p.retryAt) {
			busy[p.host()] = append(busy[p.host()], p)
		}
	}
	left := mendTries
	for _, host := range slices.Sorted(maps.Keys(busy)) {
		for _, p := range busy[host][:min(len(busy[host]), retriedOfOne, left)] { // in no order
			p.retryAt = t.now
			t.classify(p)
			left--
		}
	}
}

// help lets one of members give its last place to a gateway that needs a circuit and has none
// with us.
func (t *topic) help(members []*subscription) {
	needy := ""
	for host, g := range t.gateways {
		if g.need && g.circuits == 0 && g.dialable > 0 {
			needy = max(needy, host)
		}
	}
	if needy == "" {
		return
	}
	if left := t.helpAgain.Sub(t.now); left > 0 {
		t.surveyIn(left)
		return
	}
	t.helpAgain = t.now.Add(helpEvery)
	for _, s := range members {
		s.helps = false
	}
	for _, s := range takers(members, 1, placesOf, func(s *subscription) bool { return s.surplus(s.opened, needy) != nil }) {
		if s.helps = true; s.maySwap() {
			s.swaps = 1
		}
		t.index(s)
		t.connect(s)
	}
}
