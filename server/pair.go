package server

import (
	"context"
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
	flags        wtproto.JoinFlags
	maxPeers     int
	pairs        map[counterpart]*pair
	taken        int       // pairs that are dialed, opening or open
	mates        int       // those of them with clients
	chosen       int       // those of these by this side's choice
	connected    int       // open circuits
	blockedUntil time.Time // the session had no place for a circuit
	lastStatus   []byte
	left         bool
}

// counterpart is what a subscription is paired with: a peerKey or the *session of another subscription.
type counterpart any

// peerKey is the id of a [discovery.Peer].
type peerKey string

// pair is a subscription with a peer or with another subscription: being dialed, connected, or kept in mind because it is not to be
// made again (yet). All of it is owned by the topic's loop.
type pair struct {
	sub     *subscription // the side that chose
	other   *subscription // the client that was chosen, or nil
	peer    *peer         // the peer, or nil
	inbound bool          // the peer chose
	state   pairState
	opened  bool // bytes could pass
	began   time.Time
	near    *leg
	far     *leg
	dial    *dial
	ctx     context.Context // of the dial and of the circuit's opening
	cancel  context.CancelCauseFunc
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

func newSubscription(s *session) *subscription { return &subscription{session: s} }

func (s *subscription) setOptions(j wtproto.Join, cfg *Config) {
	s.flags = j.Flags
	s.maxPeers = cfg.DefaultPeers
	if j.MaxPeers > 0 {
		s.maxPeers = int(min(j.MaxPeers, 1<<30))
	}
}

func (s *subscription) announces() bool { return s.flags&wtproto.JoinAnnounce != 0 }
func (s *subscription) looksUp() bool   { return s.flags&wtproto.JoinLookUp != 0 }
func (s *subscription) offerOnly() bool { return s.flags&wtproto.JoinOfferOnly != 0 }

// gone reports whether s has left the topic, or its session has ended and will.
func (s *subscription) gone() bool { return s.left || s.session.ctx.Err() != nil }

// room reports whether s can take one more circuit now.
func (s *subscription) room(now time.Time) bool {
	return within(s.taken, s.maxPeers) && !now.Before(s.blockedUntil)
}

// mayChoose reports whether s may choose one more client. Only half of its places are for its own choice, and the others are
// for those that choose it, so that a large topic stays one connected mesh.
func (s *subscription) mayChoose() bool {
	return s.maxPeers < 0 || s.chosen < (s.maxPeers+1)/2
}

// spare reports whether s has a place besides its last one, which it keeps for a client that is connected to no other: so a
// newcomer finds a place in a mesh that is full, and brings a new one.
func (s *subscription) spare() bool { return within(s.taken+1, s.maxPeers) }

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

// take counts p on its sides, with the legs that it got, and puts it among their pairs.
func (t *topic) take(p *pair) {
	p.ctx, p.cancel = context.WithCancelCause(t.ctx)
	p.retry = backoff.New(retryMin, retryMax)
	if before := p.sub.pairs[p.key(p.sub)]; before != nil {
		p.retry = before.retry
	}
	for _, s := range p.sides() {
		s.pairs[p.key(s)] = p
		p.count(s, 1)
	}
}

// count adds n times what p takes to s, which is one of its sides.
func (p *pair) count(s *subscription, n int) {
	s.taken += n
	if p.opened {
		s.connected += n
	}
	if p.client() {
		s.mates += n
	}
	if p.client() && !p.inbound && s == p.sub {
		s.chosen += n
	}
}

// settle ends p's time as a pair that takes a place, and keeps it in mind as state, unless drop says not to or nobody would
// look for it.
func (t *topic) settle(p *pair, state pairState, drop bool) {
	p.cancel(nil)
	p.state = state
	drop = drop || p.peer != nil && t.peers[p.peer.ID] == nil
	for _, s := range p.sides() {
		drop = drop || s.left
	}
	for _, s := range p.sides() {
		p.count(s, -1)
		if drop && s.pairs[p.key(s)] == p { // a newer one may have taken its place
			delete(s.pairs, p.key(s))
		}
		if s.taken == 0 && t.away[s.session] == s {
			delete(t.away, s.session)
		}
	}
	p.opened, p.near, p.far, p.dial = false, nil, nil, nil
	t.changed = true
}

// adopt gives s the circuits that its session has kept from the join before.
func (t *topic) adopt(s *subscription) {
	old := t.away[s.session]
	if old == nil {
		return
	}
	for key, p := range old.pairs {
		if p.past() {
			continue
		}
		p.count(old, -1)
		delete(old.pairs, key)
		if p.sub == old {
			p.sub = s
		} else {
			p.other = s
		}
		s.pairs[key] = p
		p.count(s, 1)
	}
	delete(t.away, s.session)
}

// abandon stops what has not become a circuit yet among the pairs of s, which has left.
func (t *topic) abandon(s *subscription) {
	for _, p := range s.pairs { // first those that wait, since a dial that ends lets the next one start
		if p.state != pairDialing || !t.router.dialer.cancel(p.dial) {
			continue
		}
		t.dials--
		p.peer.dialing--
		p.near.release()
		t.settle(p, pairEnded, true)
		t.considerAll(p.peer) // others may have waited for this dial
	}
	for _, p := range s.pairs {
		if !p.past() {
			p.cancel(wtproto.Errorf(wtproto.CodeLeft, "the topic was left"))
		}
	}
}

// dialed says that a dial has ended.
type dialed struct {
	pair   *pair
	stream discovery.Stream
	took   time.Duration
	err    error
}

func (e dialed) apply(t *topic) {
	p, peer := e.pair, e.pair.peer
	t.dials--
	peer.dialing--
	wanted := p.ctx.Err() == nil
	switch {
	case e.err == nil:
		peer.answered, peer.refused, peer.code = true, false, wtproto.CodeNone
		peer.dialed++
		t.router.cfg.Observer.dialed(peer.Network, e.took, wtproto.CodeNone)
		if wanted {
			t.start(p, e.stream, nil)
			break
		}
		e.stream.Reset(wtproto.CodeLeft)
		p.near.release()
		t.settle(p, pairEnded, true)
	case !wanted:
		p.near.release()
		t.settle(p, pairEnded, true)
	default:
		code := codeOf(e.err)
		if !peer.refused {
			t.log.Info("peer refused", "network", peer.Network, "address", peer.Address, "code", code, "error", e.err)
		}
		peer.refused, peer.code = true, code
		peer.dialed++
		peer.network.code = code
		t.router.cfg.Observer.dialed(peer.Network, e.took, code)
		peer.backOff(t)
		p.near.release()
		t.settle(p, pairWaiting, true)
	}
	t.considerAll(peer)
	t.refill(p.sub)
}

// start runs the circuit of p, whose far end is stream, inbound, or p's other leg.
func (t *topic) start(p *pair, stream discovery.Stream, inbound discovery.Inbound) {
	p.state = pairOpen
	p.began = time.Now()
	t.circuits++
	t.changed = true
	c := &circuit{
		topic: t, pair: p, network: wtproto.NetworkClient,
		near: p.near, far: p.far, peer: stream, inbound: inbound,
		heldToPeer: heldFromClient, heldToClient: heldFromPeer,
	}
	if p.peer != nil {
		c.network = p.peer.Network
	} else {
		c.heldToClient = heldFromClient
	}
	for _, l := range c.legs() {
		l.circuit = c
	}
	ctx := p.ctx
	t.router.wg.Go(func() { c.run(ctx) })
}

// circuitOpened says that bytes can pass.
type circuitOpened struct{ circuit *circuit }

func (e circuitOpened) apply(t *topic) {
	p := e.circuit.pair
	p.opened = true
	for _, s := range p.sides() {
		s.connected++
	}
	t.changed = true
}

// circuitEnded says how a circuit ended. Its legs have been released.
type circuitEnded struct {
	circuit *circuit
	verdict verdict
}

func (e circuitEnded) apply(t *topic) {
	p := e.circuit.pair
	t.circuits--
	lived := p.opened && time.Since(p.began) >= settled
	switch {
	case e.verdict == ended:
		t.settle(p, pairEnded, false)
	case e.verdict == broken && p.peer != nil:
		if lived {
			p.peer.retry.Reset()
		}
		p.peer.backOff(t)
		t.settle(p, pairWaiting, true)
	default:
		p.retryAt = time.Now().Add(p.retry.Next())
		t.at(p.retryAt)
		t.settle(p, pairWaiting, false)
	}
	for _, s := range p.sides() {
		t.refill(s)
	}
}
