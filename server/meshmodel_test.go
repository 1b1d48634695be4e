package server

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
)

// meshModel is a topic on many gateways, with the rules of places.go and parts.go and nothing
// else of the gateway: time passes in steps of a second, dials take none. Each gateway knows
// some others only, and some of their clients.
type meshModel struct {
	r        *rand.Rand
	maxPeers int
	contacts int // other gateways that each meets
	now      int // seconds
	gateways []*modelGateway
	limbo    []*modelMember // of gateways that have gone without a word: their ends of circuits are not noticed yet

	dials, refused, made, swapped int
}

type modelGateway struct {
	id       string
	members  []*modelMember
	contacts []*modelGateway
	next     *modelGateway  // of those found on the topic, the one with the next greater id; always a contact
	look     modelTry       // when it looks for others again
	dialable []*modelMember // those known that this gateway opens circuits to
	tries    map[*modelMember]modelTry
	reach    int  // clients known
	lacking  int  // surveys in turn that found something lacking
	need     bool // as others are told
	retry    int  // when those that had no place are dialed again
	help     int  // when somebody may help another gateway again
	apart    int  // surveys in turn that found several parts
	given    map[*modelGateway]modelTry
	give     int // when a place may be given to a need again
	gone     bool
	goneAt   int
}

// modelTry is when something may be done again: a client without a place be dialed, most of all.
type modelTry struct{ again, delay int }

type modelMember struct {
	places
	gateway             *modelGateway
	here, far           []modelLink
	seeks, waits, helps bool
	gives               bool // its next circuit has its place for a need
	opened              int  // circuits to other gateways that its part has opened, as of the last survey
	gone                bool
}

type modelLink struct {
	to    *modelMember
	chose bool
	given bool
}

const (
	modelDetect = 30 // seconds until a gateway that has gone is noticed
)

func newMeshModel(seed uint64, gateways, clients, maxPeers, contacts int) *meshModel {
	m := &meshModel{r: rand.New(rand.NewPCG(seed, 0)), maxPeers: maxPeers, contacts: contacts}
	for range gateways {
		m.open()
	}
	for _, g := range m.gateways {
		for range clients {
			m.enter(g)
		}
	}
	return m
}

// open starts a gateway.
func (m *meshModel) open() {
	m.gateways = append(m.gateways, &modelGateway{id: fmt.Sprintf("%010x", m.r.IntN(1<<40)), tries: make(map[*modelMember]modelTry), given: make(map[*modelGateway]modelTry)})
}

// enter adds a member to g.
func (m *meshModel) enter(g *modelGateway) {
	g.members = append(g.members, &modelMember{places: places{maxPeers: m.maxPeers}, gateway: g})
}

// leave ends a membership.
func (m *meshModel) leave(x *modelMember) {
	for _, l := range slices.Concat(x.here, x.far) {
		m.unlink(x, l.to)
	}
	x.gateway.members = slices.DeleteFunc(x.gateway.members, func(o *modelMember) bool { return o == x })
	x.gone = true
}

// vanish ends a gateway without a word.
func (m *meshModel) vanish(g *modelGateway) {
	g.gone, g.goneAt = true, m.now
	m.gateways = slices.DeleteFunc(m.gateways, func(o *modelGateway) bool { return o == g })
	for _, x := range g.members {
		x.gone = true
		m.limbo = append(m.limbo, x)
	}
}

// link makes a circuit that x chose.
func (m *meshModel) link(x, o *modelMember) {
	m.made++
	for _, side := range [...]struct {
		of, to *modelMember
		chose  bool
	}{{x, o, true}, {o, x, false}} {
		s := side.of
		s.taken++
		s.mates++
		if side.chose {
			s.chosen++
		}
		if x.gateway == o.gateway {
			s.locals++
			s.here = append(s.here, modelLink{to: side.to, chose: side.chose})
		} else {
			if side.chose {
				s.outward++
			}
			given := side.chose && s.helps && side.to.gateway.need || !side.chose && s.gives
			s.far = append(s.far, modelLink{side.to, side.chose, given})
			s.gives = false
		}
		if s.taken > s.maxPeers {
			panic("more circuits than places")
		}
	}
}

// unlink ends the circuit of x and o.
func (m *meshModel) unlink(x, o *modelMember) {
	for _, side := range [...][2]*modelMember{{x, o}, {o, x}} {
		s, links := side[0], &side[0].far
		if x.gateway == o.gateway {
			links = &s.here
			s.locals--
		}
		i := slices.IndexFunc(*links, func(l modelLink) bool { return l.to == side[1] })
		if (*links)[i].chose {
			s.chosen--
			if x.gateway != o.gateway {
				s.outward--
			}
		}
		*links = slices.Delete(*links, i, i+1)
		s.taken--
		s.mates--
	}
}

func linked(links []modelLink, o *modelMember) bool {
	return slices.ContainsFunc(links, func(l modelLink) bool { return l.to == o })
}

// step lets a second pass.
func (m *meshModel) step() {
	m.now++
	m.limbo = slices.DeleteFunc(m.limbo, func(x *modelMember) bool {
		if m.now < x.gateway.goneAt+modelDetect {
			return false
		}
		for _, l := range slices.Concat(x.here, x.far) {
			m.unlink(x, l.to)
		}
		return true
	})
	m.meet()
	for _, i := range m.r.Perm(len(m.gateways)) {
		g := m.gateways[i]
		m.learn(g)
		for _, j := range m.r.Perm(len(g.members)) {
			m.connectHere(g.members[j])
		}
		m.survey(g)
		for _, j := range m.r.Perm(len(g.members)) {
			m.dial(g.members[j])
		}
	}
}

// connectHere fills the places of x that are for others of its gateway.
func (m *meshModel) connectHere(x *modelMember) {
	g := x.gateway
	spare := func(o *modelMember) bool { return o.mates == 0 || o.spareHere(g.reach, false) }
	for x.left() > 0 {
		var found, last *modelMember
		start := m.r.IntN(len(g.members))
		for i := range g.members {
			o := g.members[(start+i)%len(g.members)]
			if o == x || o.left() == 0 || !x.mayChooseHere(g.reach) && !o.mayChooseHere(g.reach) || linked(x.here, o) {
				continue
			}
			if spare(x) && spare(o) {
				found = o
				break
			}
			if x.mates == 0 || o.mates == 0 {
				last = o
			}
		}
		switch o := cmp.Or(found, last); {
		case o == nil:
			return
		case x.mayChooseHere(g.reach):
			m.link(x, o)
		default:
			m.link(o, x)
		}
	}
}

func modelPlaces(x *modelMember) *places { return &x.places }

func eachHere(x *modelMember, yield func(*modelMember)) {
	for _, l := range x.here {
		yield(l.to)
	}
}

// survey does what topic.survey does.
func (m *meshModel) survey(g *modelGateway) {
	g.apart++
	left := m.mend(g, partsOf(g.members, eachHere))
	if len(left) < 2 {
		g.apart = 0
	}
	g.lacking++
	lacking := false
	for _, x := range g.members {
		x.seeks, x.waits, x.swaps = false, false, 0
	}
	for _, part := range left {
		outward, far := 0, 0
		for _, x := range part {
			outward, far = outward+x.outward, far+x.places.far()
		}
		for _, x := range part {
			x.opened = outward
		}
		if !lacksFar(outward, far, len(g.dialable) > 0, len(g.contacts) > 0) {
			continue
		}
		for _, x := range takers(part, 1, modelPlaces, func(x *modelMember) bool { return x.surplus(g.id) >= 0 }) {
			lacking = true
			for _, x := range part {
				x.waits = len(g.dialable) == 0
			}
			if x.seeks = len(g.dialable) > 0; x.maySwap() && g.lacking > patientSurveys {
				x.swaps = 1
			}
		}
	}
	if !lacking {
		g.lacking = 0
	}
	if g.need = g.lacking > patientSurveys; g.need && m.now >= g.retry {
		g.retry = m.now + min(1<<min(g.lacking-patientSurveys, 10), int(surveyMax.Seconds()))
		m.retryNext(g)
	}
	i := slices.IndexFunc(g.contacts, func(c *modelGateway) bool { return c.need && c.id > g.id && !g.meets(c) })
	if m.now >= g.help && i >= 0 {
		g.help = m.now + int(helpEvery.Seconds())
		for _, x := range g.members {
			x.helps = false
		}
		for _, x := range takers(g.members, 1, modelPlaces, func(x *modelMember) bool { return x.surplus(g.contacts[i].id) >= 0 }) {
			if x.helps = true; x.maySwap() {
				x.swaps = 1
			}
		}
	}
}

// retryNext has clients dialed again that had no place: some of those of the gateways with the
// next greater ids.
func (m *meshModel) retryNext(g *modelGateway) {
	busy := slices.Clone(g.dialable)
	m.r.Shuffle(len(busy), func(i, j int) { busy[i], busy[j] = busy[j], busy[i] })
	slices.SortStableFunc(busy, func(a, b *modelMember) int { return cmp.Compare(a.gateway.id, b.gateway.id) })
	left, of := mendTries, make(map[*modelGateway]int)
	for _, c := range busy {
		if g.tries[c].again > m.now && left > 0 && of[c.gateway] < retriedOfOne {
			g.tries[c] = modelTry{delay: g.tries[c].delay}
			of[c.gateway]++
			left--
		}
	}
}

// mend connects the parts of g, and returns those that are left.
func (m *meshModel) mend(g *modelGateway, parts [][]*modelMember) (left [][]*modelMember) {
	for i, part := range parts {
		if i > 0 && m.bridge(g, parts[0], part) {
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

// bridge connects two parts of g, for which others have to end if that has been so for long.
func (m *meshModel) bridge(g *modelGateway, a, b []*modelMember) bool {
	opened := 0
	for _, x := range slices.Concat(a, b) {
		opened += x.outward
	}
	swaps := func(x *modelMember) bool { return g.apart > patientSurveys && x.surplusOf(opened, g.id) >= 0 }
	xs := takers(a, 1, modelPlaces, swaps)
	if len(xs) == 0 {
		return false
	}
	end := -1
	if xs[0].left() == 0 {
		if end = xs[0].surplusOf(opened, g.id); xs[0].far[end].chose {
			opened--
		}
	}
	ys := takers(b, 1, modelPlaces, swaps)
	if len(ys) == 0 {
		return false
	}
	if end >= 0 {
		m.end(xs[0], end)
	}
	if ys[0].left() == 0 {
		m.end(ys[0], ys[0].surplusOf(opened, g.id))
	}
	m.link(xs[0], ys[0])
	return true
}

// end ends a circuit of x with another gateway to make room.
func (m *meshModel) end(x *modelMember, i int) {
	m.swapped++
	m.unlink(x, x.far[i].to)
}

// surplus returns which of x's circuits with other gateways may end for one with a gateway that
// needs it, or -1.
func (x *modelMember) surplus(needy string) int { return x.surplusOf(x.opened, needy) }

// surplusOf is surplus in a part that has opened so many.
func (x *modelMember) surplusOf(opened int, needy string) int {
	var all []farCircuit[string]
	for _, l := range x.far {
		all = append(all, farCircuit[string]{l.to.gateway.id, l.chose, l.given})
	}
	kept := x.keptFrom()
	if needy == x.gateway.id {
		kept = 0
	}
	return surplus(all, opened, needy, kept)
}

// swap ends a circuit of x, which is full, for one that a gateway needs, and reports whether
// there is one.
func (m *meshModel) swap(x *modelMember, needy string) bool {
	i := -1
	if x.maySwap() {
		i = x.surplus(needy)
	}
	if i < 0 {
		return false
	}
	m.end(x, i)
	return true
}

// meets reports whether g has a circuit with c.
func (g *modelGateway) meets(c *modelGateway) bool {
	for _, x := range g.members {
		if slices.ContainsFunc(x.far, func(l modelLink) bool { return l.to.gateway == c }) {
			return true
		}
	}
	return false
}

// dial has x dial two clients of other gateways at most.
func (m *meshModel) dial(x *modelMember) {
	g := x.gateway
	for range 2 {
		var o *modelMember
		for range min(8, len(g.dialable)) {
			c := g.dialable[m.r.IntN(len(g.dialable))]
			if g.tries[c].again <= m.now && x.mayDialFar(0, x.seeks || x.helps && c.gateway.need) && !linked(x.far, c) {
				o = c
				break
			}
		}
		if o == nil {
			return
		}
		m.dials++
		if m.accepts(o, g) && (x.left() > 0 || m.swap(x, m.needy(x, o))) {
			delete(g.tries, o)
			m.link(x, o)
			x.seeks, x.helps, x.swaps = false, false, 0
			continue
		}
		m.refused++
		delay := min(max(2*g.tries[o].delay, 1), int(retryMax.Seconds()))
		g.tries[o] = modelTry{m.now + delay + m.r.IntN(delay), delay}
	}
}

// needy returns the id of the gateway for whose need x dials o.
func (m *meshModel) needy(x, o *modelMember) string {
	if x.seeks {
		return x.gateway.id
	}
	return o.gateway.id
}

// accepts has o answer a client of g.
func (m *meshModel) accepts(o *modelMember, g *modelGateway) bool {
	to := o.gateway
	if o.gone || o.left() > 1 {
		return !o.gone
	}
	gives := g.need && m.now >= to.give && m.now >= to.given[g].again
	if o.mayAcceptFar(false, o.seeks, to.lacking > helpedAfter) || o.waits && o.places.left() > 0 {
		for _, x := range to.members {
			x.waits = false
		}
		return true
	}
	if !gives || !o.mayAcceptFar(true, o.seeks, false) && (to.meets(g) || !m.swap(o, g.id)) {
		return false
	}
	delay := min(max(2*to.given[g].delay, int(giveSame.Seconds())), int(giveSameMax.Seconds()))
	to.give, to.given[g] = m.now+int(helpEvery.Seconds()), modelTry{m.now + delay, delay}
	o.gives = true
	return true
}

// churn lets some members come and go for a second, 10 % in a minute, and now and then a
// gateway, which takes its members along; as many come elsewhere.
func (m *meshModel) churn() {
	count := func() (n int) {
		for _, g := range m.gateways {
			n += len(g.members)
		}
		return n
	}
	before := count()
	for _, g := range m.gateways {
		for _, x := range slices.Clone(g.members) {
			if m.r.IntN(600) == 0 {
				m.leave(x)
			}
		}
	}
	if n := len(m.gateways); n > 1 && m.r.IntN(max(3000/n, 1)) == 0 {
		m.vanish(m.gateways[m.r.IntN(n)])
		m.open()
	}
	for range before - count() {
		m.enter(m.gateways[m.r.IntN(len(m.gateways))])
	}
}

// components returns the sizes of the parts of the mesh, the greatest first.
func (m *meshModel) components() (sizes []int) {
	var all []*modelMember
	for _, g := range m.gateways {
		all = append(all, g.members...)
	}
	parts := partsOf(all, func(x *modelMember, yield func(*modelMember)) {
		eachHere(x, yield)
		for _, l := range x.far {
			yield(l.to)
		}
	})
	for _, part := range parts {
		sizes = append(sizes, len(part))
	}
	return sizes
}
