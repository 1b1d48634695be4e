package server

import (
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file decides who is connected to whom: which pairs of a topic are made when there is room.

// connect fills the places of s: with clients at once, and with peers when it is its turn to dial
// them.
func (t *topic) connect(s *subscription) {
	if !s.known || s.gone() {
		return
	}
	t.want(s)
	for s.room() {
		o := t.mate(s)
		switch {
		case o == nil:
			return
		case o.session.suspect(t.now):
			t.block(o)
		case s.session.suspect(t.now):
			t.block(s)
		case s.mayChoose():
			t.introduce(s, o)
		default:
			t.introduce(o, s)
		}
	}
}

// The pools of topic.clients: subscriptions that have room, by what they may be found for, by
// which of their places are free, and by whether they may choose. Those without mates are in two
// of them.
const (
	onlyAnnounces = iota
	onlyLooksUp
	doesBoth
	numRoles

	openPlace = 0 // for everybody
	lastPlace = 1 // for a client without a mate, or kept for clients of other gateways
	noMates   = 2 // it has none itself
	numPlaces = 3

	clientPools = numRoles * numPlaces * 2
)

func clientPool(role, place int, mayChoose bool) int {
	i := (role*numPlaces + place) * 2
	if mayChoose {
		i++
	}
	return i
}

// makePools makes the pools of clients, when there are two that could find each other. Most topics
// have one.
func (t *topic) makePools() {
	if t.clients != nil || len(t.subs) < 2 || t.router.cfg.IsolateClients {
		return
	}
	t.clients = make([]pool[*subscription], clientPools)
	for _, s := range t.subs {
		t.index(s)
	}
}

// index puts s into the pools that it belongs to now. It is called after each change of s that may
// matter for it.
func (t *topic) index(s *subscription) {
	var pools [len(s.listed)]int // counted from 1
	if role, ok := s.role(); ok && t.clients != nil && !s.left && s.room() && s.meets(wtproto.NetworkClient) {
		place := openPlace
		if s.mates > 0 && !s.spare() {
			place = lastPlace
		}
		pools[0] = clientPool(role, place, s.mayChoose()) + 1
		if s.mates == 0 {
			pools[1] = clientPool(role, noMates, s.mayChoose()) + 1
		}
	}
	for i := range s.listed {
		if s.listed[i].pool != pools[i] {
			t.listClient(s, i, pools[i])
		}
	}
	if s.wants() {
		t.hungry.add(s)
	} else {
		t.hungry.remove(s)
	}
}

// reindex makes everybody look at s again.
func (t *topic) reindex(s *subscription) {
	for i, l := range s.listed {
		t.listClient(s, i, l.pool)
	}
}

func (t *topic) listClient(s *subscription, i, pool int) {
	l := &s.listed[i]
	if l.pool > 0 {
		t.clients[l.pool-1].remove(l.number)
	}
	if l.pool = pool; pool > 0 {
		l.number = t.clients[pool-1].add(s)
	}
}

// role returns what s may be found for, if it may be.
func (s *subscription) role() (role int, ok bool) {
	switch {
	case s.announces() && s.looksUp():
		return doesBoth, true
	case s.announces():
		return onlyAnnounces, true
	case s.looksUp():
		return onlyLooksUp, true
	}
	return 0, false
}

// mate returns a client that s may be connected with now, or nil.
func (t *topic) mate(s *subscription) *subscription {
	if t.clients == nil || !s.meets(wtproto.NetworkClient) {
		return nil
	}
	if s.seenClients == nil {
		s.seenClients = make([]uint64, clientPools)
	}
	check := func(o *subscription) fit { return t.fitClient(s, o) }
	if s.mates == 0 { // the others' last places are for later
		open := func(pool int) bool { return pool/2%numPlaces == openPlace && s.mayMeet(pool) }
		if o, ok := choose(t.clients, s.seenClients, open, check); ok {
			return o
		}
	}
	o, _ := choose(t.clients, s.seenClients, s.mayMeet, check)
	return o
}

// mayMeet reports whether s may be connected with the clients of a pool.
func (s *subscription) mayMeet(pool int) bool {
	role, place, mayChoose := pool/2/numPlaces, pool/2%numPlaces, pool%2 == 1
	if !(s.announces() && role != onlyAnnounces) && !(s.looksUp() && role != onlyLooksUp) {
		return false
	}
	if !mayChoose && !s.mayChoose() {
		return false
	}
	switch {
	case s.mates == 0:
		return place != noMates // they are in the others too
	case s.spare():
		return place == openPlace
	default:
		return place == noMates
	}
}

// fitClient is what speaks against a circuit of s with o besides o's pool.
func (t *topic) fitClient(s, o *subscription) fit {
	t.looks++
	switch {
	case o.gone():
		return unfitNow
	case s == o, s.session.endpoint == o.session.endpoint, !t.mayPair(s, o.session):
		return unfit
	}
	return fits
}

// introduce connects s with o, by s's choice.
func (t *topic) introduce(s, o *subscription) {
	pr := &pair{sub: s, other: o}
	if pr.near, _ = t.reserve(s, t.tellClient(o, true), false); pr.near == nil {
		return
	}
	if pr.far, _ = t.reserve(o, t.tellClient(s, false), false); pr.far == nil {
		pr.near.release()
		return
	}
	t.take(pr)
	t.start(pr, nil, nil)
}

// inbound answers a peer that opened a circuit to one of our clients.
// If its place was made free for it, it is promised.
func (t *topic) inbound(s discovery.Sighting, promised bool) {
	to := s.Inbound.To()
	sub := t.at(to)
	if sub == nil || !sub.announces() && (!sub.looksUp() || unsolicited(s.Inbound)) || !sub.meets(s.Peer.Network) {
		s.Inbound.Refuse(wtproto.CodeDeclined)
		return
	}
	p := t.peers[s.Peer.ID]
	if p == nil {
		p = t.newPeer(s.Peer)
		p.further = s.Further
	}
	given := promised
	switch {
	case p.is(to): // what is left of the same client at another gateway
		s.Inbound.Refuse(wtproto.CodeDeclined)
		return
	case s.Inbound.Further():
		t.inboundFurther(s, sub, p)
		return
	case promised && sub.room(), !p.Client && sub.room():
	case promised || !p.Client:
		s.Inbound.Refuse(wtproto.CodeBusy)
		return
	default:
		need, ok := s.Need || t.needs(p), false
		if sub.room() {
			ok, given = t.accepts(sub, p, need)
		}
		if ok {
			break
		}
		if !need || !t.give(sub, p, s) {
			s.Inbound.Refuse(wtproto.CodeBusy)
		}
		return
	}
	pr := &pair{sub: sub, peer: p, inbound: true, given: given}
	var code wtproto.Code
	if pr.near, code = t.reserve(sub, t.tell(p, false), true); pr.near == nil {
		s.Inbound.Refuse(code)
		return
	}
	t.take(pr)
	t.start(pr, nil, s.Inbound)
}

// unsolicited reports whether nothing but an announcement has brought i.
func unsolicited(i discovery.Inbound) bool {
	u, ok := i.(discovery.Unsolicited)
	return ok && u.Unsolicited()
}

// reserve takes a place in the session of s, or says with which code to refuse. Then s waits for a
// second before it tries again. answers says that a peer gets the refusal as its answer.
func (t *topic) reserve(s *subscription, tell wtproto.Peer, answers bool) (*leg, wtproto.Code) {
	l, no := s.session.reserve(tell, s.offerOnly(), s.session.principal)
	t.noteFull(s, no, answers)
	if no != nil {
		t.block(s)
		return nil, no.Code
	}
	return l, wtproto.CodeNone
}

// noteFull notes why there is no place in the session of s, or nil. The observer hears once of a
// limit that stays reached, and of each refusal that answers a peer.
func (t *topic) noteFull(s *subscription, no *refusal, answers bool) {
	if no != nil && no.limit != "" && (answers || s.full == nil || s.full.limit != no.limit) {
		t.router.cfg.Observer.refused(no)
	}
	if s.full = no; no != nil {
		t.touch(s)
	}
}

// block keeps s from new circuits for a second: its session has no place for one, or may have
// vanished.
func (t *topic) block(s *subscription) {
	s.blocked = true
	t.agenda.set(&s.unblock, t.now.Add(retryMin))
	t.index(s)
}

func (t *topic) unblocked(s *subscription) {
	s.blocked = false
	if s.full != nil {
		t.noteFull(s, s.session.full(), false)
		t.touch(s)
	}
	t.index(s)
	t.connect(s)
}

// tell returns what a client is told of p.
func (t *topic) tell(p *peer, initiator bool) wtproto.Peer {
	m := wtproto.Peer{Topic: t.key, Network: p.Network, ID: []byte(p.ID)}
	if initiator {
		m.Flags |= wtproto.PeerInitiator
	}
	if p.Client {
		m.Flags |= wtproto.PeerClient
	}
	if t.router.cfg.ShowAddresses && !p.Client {
		m.Address = clip(p.address(), wtproto.MaxAddress)
	}
	return m
}

// tellClient returns what a client is told of the client o.
func (t *topic) tellClient(o *subscription, initiator bool) wtproto.Peer {
	id := o.session.endpoint
	m := wtproto.Peer{Topic: t.key, Flags: wtproto.PeerClient, Network: wtproto.NetworkClient, ID: id[:]}
	if initiator {
		m.Flags |= wtproto.PeerInitiator
	}
	return m
}
