package server

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// subscription is a session on a topic.
type subscription struct {
	session *session
	topic   *topic // guarded by router.mu until the topic's loop knows the subscription, constant from then on

	// owned by the topic's loop
	known    bool // the loop knows it
	since    time.Time
	lonely   deadline // it may be told that there is nobody else
	flags    wtproto.JoinFlags
	networks []string // that it wants; nil for all
	places
	pairs      map[counterpart]*pair
	furthers   furthers
	early      []connectAsked         // that came before the loop knew the subscription
	connected  int                    // open circuits, further ones too
	services   map[netip.AddrPort]int // that it has circuits with
	seeks      bool                   // its part of the mesh needs a circuit with another gateway, and this one is to open it
	waits      bool                   // its part needs one that only another gateway can open
	bridges    bool                   // it is to connect its part of the mesh with another one here
	opened     int                    // circuits that its part has opened to other gateways, as of the last survey
	helps      bool                   // another gateway needs a circuit, and this one may give its last place for it
	wish       *dial                  // for a turn to dial, or nil
	dialing    int                    // dials that run, without slow ones
	slow       int                    // dials that have taken longer than patience
	beside     int                    // dials that run for further circuits
	blocked    bool                   // it gets no circuit, until unblock: the session has no place, or may have vanished
	full       *refusal               // why the session had no place for a circuit when it was asked last, or nil
	unblock    deadline
	resting    bool // too many dials have failed, until rested
	rested     deadline
	lastStatus fingerprint
	touched    bool // it is in topic.touched
	left       bool

	hungryAt    int        // in topic.hungry, counted from 1
	listed      [2]listing // in topic.clients
	seenClients []uint64   // what nobody is left of for it in topic.clients; nil before it has looked
	seenPeers   []uint64   // the same in topic.ready
}

// listing is a place in a pool.
type listing struct {
	pool   int // counted from 1; 0 for none
	number uint64
}

// counterpart is what a subscription is paired with: a peerKey or the *session of another
// subscription.
type counterpart any

// pair is a subscription with a peer or with another subscription: being dialed, connected, or
// remembered because it must not be made again (yet). The topic's loop owns all of it.
type pair struct {
	sub     *subscription  // the side that chose
	other   *subscription  // the client that was chosen, or nil
	peer    *peer          // the peer, or nil
	inbound bool           // the peer chose
	given   bool           // it has its place because the peer's gateway needed it
	then    func()         // it ends to make room, and this is to be done when its place is free; or nil
	at      netip.AddrPort // of a service: the address that the circuit is connected to
	state   pairState
	opened  bool // bytes could pass
	wasOpen bool // bytes could pass once
	anew    bool // one of the two has left the topic and joined anew since it was made
	began   time.Time
	near    *leg
	far     *leg
	dial    *dial
	slow    bool            // the dial takes long
	due     deadline        // the dial is slow, or the pair may be made again
	ctx     context.Context // of the dial, if there is one
	cancel  context.CancelCauseFunc
	opening *circuit // that is not open yet, or nil
	retry   backoff.Backoff
	retryAt time.Time
}

type pairState int

const (
	pairDialing pairState = iota
	pairOpen              // or opening
	pairWaiting           // to be tried again at retryAt
	pairEnded             // not to be made again until one of the two joins anew
)

// defaultMates is how many other clients a client is connected with that says nothing of max peers.
// A topic of a thousand would cost a gateway several times the memory otherwise, and with so many
// each it is as much one mesh.
const defaultMates = 16

func newSubscription(s *session) *subscription { return &subscription{session: s} }

func (s *subscription) setOptions(j wtproto.Join, cfg *Config) {
	s.flags = j.Flags
	s.maxPeers, s.maxMates = cfg.DefaultPeers, 0
	if j.MaxPeers > 0 {
		s.maxPeers = int(min(j.MaxPeers, 1<<30))
	} else if s.maxPeers > defaultMates {
		s.maxMates = defaultMates
	}
	before := s.networks
	if s.networks = j.Networks; len(j.Networks) == 0 {
		s.networks = cfg.DefaultNetworks
	}
	if !slices.Equal(before, s.networks) { // others may be met than those that were looked at
		clear(s.seenClients)
		clear(s.seenPeers)
	}
}

func (s *subscription) announces() bool { return s.flags&wtproto.JoinAnnounce != 0 }
func (s *subscription) looksUp() bool   { return s.flags&wtproto.JoinLookUp != 0 }
func (s *subscription) offerOnly() bool { return s.flags&wtproto.JoinOfferOnly != 0 }

// welcomesStreams reports whether others may open further circuits to s.
func (s *subscription) welcomesStreams() bool { return s.flags&wtproto.JoinStreams != 0 }

// gone reports whether s has left the topic, or its session has ended and will.
func (s *subscription) gone() bool { return s.left || s.session.ctx.Err() != nil }

// room reports whether s can take one more circuit now.
func (s *subscription) room() bool { return within(s.taken, s.maxPeers) && !s.blocked }

// mayChoose reports whether s may choose one more client of this gateway.
func (s *subscription) mayChoose() bool { return s.mayChooseHere(s.topic.reachable) }

// spare reports whether s has a place for a client of this gateway that has mates.
func (s *subscription) spare() bool {
	return s.spareHere(s.topic.reachable, s.wish != nil || s.dialing > 0)
}

// key returns what p is called among the pairs of s, which is one of its sides.
func (p *pair) key(s *subscription) counterpart {
	switch {
	case p.peer != nil:
		return peerKey(p.peer.ID)
	case s == p.sub:
		return p.other.session
	default:
		return p.sub.session
	}
}

// sides returns the subscriptions of p.
func (p *pair) sides() []*subscription {
	if p.other != nil {
		return []*subscription{p.sub, p.other}
	}
	return []*subscription{p.sub}
}

// past reports whether p is kept in mind only.
func (p *pair) past() bool { return p.state == pairWaiting || p.state == pairEnded }

// client reports whether p joins two clients, here or behind another gateway.
func (p *pair) client() bool { return p.other != nil || p.peer.Client }

// take puts p among the pairs of its sides.
func (t *topic) take(p *pair) {
	p.retry = backoff.New(retryMin, retryMax)
	if before := p.sub.pairs[p.key(p.sub)]; before != nil {
		p.retry = before.retry
	}
	for _, s := range p.sides() {
		if before := s.pairs[p.key(s)]; before != nil {
			t.agenda.clear(&before.due)
		}
		put(&s.pairs, p.key(s), p)
	}
}

// stop ends the dial of p, or the opening of its circuit.
func (p *pair) stop(cause error) {
	if p.cancel != nil {
		p.cancel(cause)
	}
	if p.opening != nil {
		p.opening.giveUp(cause)
	}
}

// count adds n times what p takes to s, which is one of its sides.
func (p *pair) count(s *subscription, n int) {
	s.taken += n
	if p.at.IsValid() {
		put(&s.services, p.at, s.services[p.at]+n)
		if s.services[p.at] == 0 {
			delete(s.services, p.at)
		}
	}
	if p.opened {
		s.connected += n
	}
	if p.client() {
		s.mates += n
	}
	if p.other != nil {
		s.locals += n
	}
	if p.client() && !p.inbound && s == p.sub {
		s.chosen += n
		if p.other == nil {
			s.outward += n
		}
	}
}

// settle ends p's time as a pair that is dialed or connected, and keeps it in mind as state,
// unless drop says not to or nobody would look for it.
func (t *topic) settle(p *pair, state pairState, drop bool) {
	p.stop(nil)
	t.agenda.clear(&p.due)
	took := p.state == pairOpen
	p.state = state
	if p.peer != nil {
		if now := t.peers[p.peer.ID]; now != nil {
			p.peer = now // it may have left and come back
		} else {
			drop = true
		}
	}
	for _, s := range p.sides() {
		drop = drop || s.left
	}
	for _, s := range p.sides() {
		if took {
			p.count(s, -1)
			t.touch(s)
			t.surveySoon()
		}
		switch {
		case s.pairs[p.key(s)] != p: // a newer one has taken its place
		case drop:
			delete(s.pairs, p.key(s))
		case p.peer != nil:
			p.peer.keep(s)
		}
		t.dropAway(s)
		t.index(s)
	}
	if drop && p.peer != nil {
		t.relist(p.peer) // who has looked at it meanwhile saw the pair
	}
	if state == pairWaiting && !drop {
		p.due.do = func() { t.remake(p) }
		t.agenda.set(&p.due, p.retryAt)
	}
	if took && p.peer != nil && p.peer.Client {
		t.countFar(p.peer, -1)
	}
	p.opened, p.near, p.far, p.dial, p.opening = false, nil, nil, nil, nil
}

// dropAway forgets s, which has left, if it has no circuits any more.
func (t *topic) dropAway(s *subscription) {
	if s.taken == 0 && len(s.furthers.all) == 0 && t.away[s.session] == s {
		delete(t.away, s.session)
	}
}

// keep says that s keeps a pair with p in mind.
func (p *peer) keep(s *subscription) {
	if p.past == nil {
		p.past = make(map[*subscription]struct{})
	}
	p.past[s] = struct{}{}
}

// remake lets a pair be made again that has waited, or that is forgotten.
func (t *topic) remake(p *pair) {
	if p.peer != nil {
		t.relist(p.peer)
	}
	for _, s := range p.sides() {
		t.reindex(s)
	}
	for _, s := range p.sides() {
		t.connect(s)
	}
}

// adopt gives s the circuits that its session has kept from the join before.
func (t *topic) adopt(s *subscription) {
	old := t.away[s.session]
	if old == nil {
		return
	}
	for key, p := range old.pairs {
		if p.state != pairOpen {
			continue
		}
		p.count(old, -1)
		p.anew = true
		delete(old.pairs, key)
		if p.sub == old {
			p.sub = s
		} else {
			p.other = s
		}
		put(&s.pairs, key, p)
		p.count(s, 1)
	}
	old.furthers.move(old, s)
	delete(t.away, s.session)
}

// abandon stops what has not become a circuit yet of s, which has left, and forgets what was kept
// in mind of it.
func (t *topic) abandon(s *subscription) {
	if s.wish != nil && t.router.dialer.cancel(s.wish) { // else it is granted, and not used
		s.wish = nil
		t.dials--
	}
	for key, p := range s.pairs {
		switch {
		case !p.past():
			p.stop(wtproto.Errorf(wtproto.CodeLeft, "the topic was left"))
			continue
		case p.peer != nil:
			delete(p.peer.past, s)
		default:
			for _, o := range p.sides() {
				if o != s && o.pairs[s.session] == p {
					delete(o.pairs, s.session)
				}
			}
		}
		t.agenda.clear(&p.due)
		delete(s.pairs, key)
	}
	t.abandonFurthers(s)
	t.handOn()
}

// start runs the circuit of p, whose far end is stream, inbound, or p's other leg. Its legs are
// taken.
func (t *topic) start(p *pair, stream discovery.Stream, inbound discovery.Inbound) {
	p.state = pairOpen
	p.began = t.now
	for _, s := range p.sides() {
		p.count(s, 1)
		t.index(s)
	}
	if p.peer != nil && p.peer.Client {
		t.countFar(p.peer, 1)
		if !p.inbound {
			p.given = p.sub.helps && p.peer.need
			p.sub.seeks, p.sub.helps, p.sub.swaps = false, false, 0
		}
		t.surveySoon()
	}
	c := &circuit{
		topic: t, of: p, network: wtproto.NetworkClient,
		near: p.near, far: p.far, peer: stream, inbound: inbound,
	}
	if p.peer != nil {
		c.network, c.client = p.peer.Network, p.peer.Client
	}
	p.stop(nil) // there is nothing to dial any more
	p.opening = c
	t.launch(c)
}

// launch runs c.
func (t *topic) launch(c *circuit) {
	t.circuits++
	for _, l := range c.legs() {
		l.circuit, l.waits.over = c, &c.over
	}
	t.router.wg.Add(1)
	c.done = t.router.wg.Done
	go c.run()
}

// circuitOpened says that bytes can pass.
type circuitOpened struct{ circuit *circuit }

func (e circuitOpened) apply(t *topic) { e.circuit.of.circuitOpened(t) }

func (p *pair) circuitOpened(t *topic) {
	p.opened, p.wasOpen, p.opening = true, true, nil
	for _, s := range p.sides() {
		s.connected++
		t.touch(s)
	}
}

// circuitEnded says how a circuit ended. Its legs have been released.
type circuitEnded struct {
	circuit *circuit
	verdict verdict
}

func (e circuitEnded) apply(t *topic) {
	t.circuits--
	e.circuit.of.circuitEnded(t, e.circuit, e.verdict)
}

func (p *pair) circuitEnded(t *topic, _ *circuit, v verdict) {
	if p.opened && t.now.Sub(p.began) >= settled {
		p.retry.Reset()
		if p.peer != nil {
			p.peer.retry.Reset()
		}
	}
	service := p.peer != nil && p.peer.Service != nil
	if p.peer != nil && t.peers[p.peer.ID] != p.peer {
		p.anew = true // the peer has left, and may have come back
	}
	switch {
	case p.anew && (v == ended || v == peerEnded && !service):
		t.settle(p, pairEnded, true)
		t.remake(p)
	case v == ended, v == peerEnded && !service:
		t.settle(p, pairEnded, false)
	case v == hungUp:
		p.peer.backOff(t.now)
		if service {
			t.settle(p, pairWaiting, true)
		} else {
			t.settle(p, pairEnded, false)
		}
		t.classify(p.peer)
		if !p.inbound { // a stranger may open and end as many as he likes
			t.charge(p.sub)
		}
	case v == broken && p.peer != nil:
		p.peer.backOff(t.now)
		t.settle(p, pairWaiting, true)
		t.classify(p.peer)
	default: // a service that ends circuits of one client is still dialed for others
		p.retryAt = t.now.Add(p.retry.Next())
		t.settle(p, pairWaiting, false)
	}
	if service {
		t.recheck(t.services[p.at])
	}
	if then := p.then; then != nil {
		p.then = nil
		then()
	}
	for _, s := range p.sides() {
		t.connect(s)
	}
}
