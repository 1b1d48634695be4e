package server

import "slices"

// This file is how the gateways of a [meshModel] find each other, and meet, as those of p2p do.

const (
	modelSample  = 64  // clients that a gateway tells of
	modelFound   = 256 // others that a look-up finds, some of them more than once
	modelLookUps = 600 // seconds between two look-ups at most, or twice as many
	modelNeed    = 60  // and of a gateway in need
)

// meet has gateways meet until each knows enough others, the next greater one among them, and now
// and then one more instead of another.
func (m *meshModel) meet() {
	join := func(g, c *modelGateway) { g.contacts, c.contacts = append(g.contacts, c), append(c.contacts, g) }
	part := func(g, c *modelGateway) {
		g.contacts = slices.DeleteFunc(g.contacts, func(o *modelGateway) bool { return o == c })
	}
	for _, g := range m.gateways {
		gone := func(c *modelGateway) bool {
			return c.gone && m.now >= c.goneAt+modelDetect || !c.gone && len(c.members) == 0
		}
		g.contacts = slices.DeleteFunc(g.contacts, gone)
		if g.next != nil && gone(g.next) {
			g.next, g.look = nil, modelTry{}
		}
		m.lookUp(g)
		if c := g.next; c != nil && !c.gone && !slices.Contains(g.contacts, c) {
			join(g, c)
		}
		if len(g.contacts) > m.contacts && m.r.IntN(60) == 0 {
			if c := g.contacts[m.r.IntN(len(g.contacts))]; c != g.next && c.next != g {
				part(g, c)
				part(c, g)
			}
		}
		want := m.contacts
		if m.r.IntN(120) == 0 {
			want++
		}
		for tries := 0; len(g.contacts) < min(want, len(m.gateways)-1) && tries < 4*m.contacts; tries++ {
			c := m.gateways[m.r.IntN(len(m.gateways))]
			if c != g && len(c.members) > 0 && len(c.contacts) < 4*m.contacts && !slices.Contains(g.contacts, c) {
				join(g, c)
			}
		}
	}
}

// lookUp has g find some of the others now and then, of which it remembers the next greater one.
func (m *meshModel) lookUp(g *modelGateway) {
	if g.need {
		g.look.again = min(g.look.again, m.now+modelNeed)
	}
	if m.now < g.look.again {
		return
	}
	g.look.delay = min(max(2*g.look.delay, 1), modelLookUps)
	g.look.again = m.now + g.look.delay + m.r.IntN(g.look.delay)
	nearer := func(c *modelGateway) {
		if c.id > g.id && len(c.members) > 0 && (g.next == nil || c.id < g.next.id) {
			g.next = c
		}
	}
	for _, c := range g.contacts {
		nearer(c)
	}
	for range modelFound {
		nearer(m.gateways[m.r.IntN(len(m.gateways))])
	}
}

// learn brings up to date what g knows of the clients of others.
func (m *meshModel) learn(g *modelGateway) {
	g.dialable, g.reach = g.dialable[:0], 0
	for _, c := range g.contacts {
		sample := c.members
		if n := len(sample) - modelSample; n > 0 {
			i := m.r.IntN(n)
			sample = sample[i : i+modelSample]
		}
		g.reach += len(sample)
		if c.id > g.id {
			g.dialable = append(g.dialable, sample...)
		}
	}
}
