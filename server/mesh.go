package server

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file decides who is connected to whom: which pairs of a topic are made when there is room.

// shuffled returns the subscriptions in random order.
func (t *topic) shuffled() []*subscription {
	subs := make([]*subscription, len(t.subs))
	for i, j := range rand.Perm(len(t.subs)) {
		subs[i] = t.subs[j]
	}
	return subs
}

// connect fills the places of s with peers and clients, in random order.
func (t *topic) connect(s *subscription) {
	now := time.Now()
	if s.gone() || !within(s.taken, s.maxPeers) {
		return
	}
	if now.Before(s.blockedUntil) {
		t.at(s.blockedUntil)
		return
	}
	candidates := make([]func(), 0, len(t.peers)+len(t.subs))
	for _, p := range t.peers {
		candidates = append(candidates, func() { t.considerPeer(s, p) })
	}
	for _, o := range t.subs {
		candidates = append(candidates, func() { t.considerClient(s, o) })
	}
	for _, i := range rand.Perm(len(candidates)) {
		if !s.room(now) {
			return
		}
		candidates[i]()
	}
}

// refill is for a subscription that is new, or has a place again: first it chooses, then others may choose it.
func (t *topic) refill(s *subscription) {
	t.connect(s)
	for _, o := range t.shuffled() {
		if s.gone() || !s.room(time.Now()) {
			return
		}
		t.considerClient(o, s)
	}
}

// due reports whether the pair of s with c may be made now, as far as its past goes.
func (t *topic) due(s *subscription, c counterpart, now time.Time) bool {
	p := s.pairs[c]
	if p == nil {
		return true
	}
	if p.state != pairWaiting {
		return false
	}
	if now.Before(p.retryAt) {
		t.at(p.retryAt)
		return false
	}
	return true
}

// considerAll dials p for those who may have it, unless it was forgotten meanwhile.
func (t *topic) considerAll(p *peer) {
	if t.peers[p.ID] != p {
		return
	}
	for _, s := range t.shuffled() {
		t.considerPeer(s, p)
	}
}

// considerPeer dials p for s if the two belong together, there is room, and nothing speaks against it.
func (t *topic) considerPeer(s *subscription, p *peer) {
	now := time.Now()
	switch {
	case s.gone() || p.dial == nil || !s.room(now):
		return
	case !(p.weFound && s.looksUp()) && !(p.foundUs && s.announces()):
		return
	case p.Client && (!s.mayChoose() || s.mates > 0 && !s.spare() || p.is(s.session.endpoint)):
		return
	case p.dialing > 0 && !p.answered: // one dial until it has answered once
		return
	case !t.due(s, peerKey(p.ID), now):
		return
	case now.Before(p.retryAt):
		t.at(p.retryAt)
		return
	}
	pr := &pair{sub: s, peer: p, state: pairDialing}
	if pr.near = t.reserve(s, t.tell(p, true), now); pr.near == nil {
		return
	}
	t.take(pr)
	t.dials++
	p.dialing++
	t.changed = true
	call, endpoint, ctx := p.dial, s.session.endpoint, pr.ctx
	pr.dial = &dial{session: s.session.id, topic: t.key, run: func() {
		t.post(dialPeer(ctx, pr, call, endpoint, t.router.cfg.DialTimeout))
	}}
	t.router.dialer.request(pr.dial)
}

// is reports whether p is the client with an endpoint, which its id ends with.
func (p *peer) is(e wtproto.EndpointID) bool {
	return p.Client && strings.HasSuffix(p.ID, string(e[:]))
}

// considerClient connects s with o, by s's choice.
func (t *topic) considerClient(s, o *subscription) {
	now := time.Now()
	switch {
	case t.router.cfg.IsolateClients || s == o || s.gone() || o.gone():
		return
	case s.session.endpoint == o.session.endpoint:
		return
	case !(s.announces() && o.looksUp()) && !(o.announces() && s.looksUp()):
		return
	case !s.mayChoose() || !s.room(now) || !o.room(now):
		return
	case s.mates > 0 && o.mates > 0 && !(s.spare() && o.spare()):
		return
	case !t.due(s, o.session, now):
		return
	}
	pr := &pair{sub: s, other: o}
	pr.near = t.reserve(s, t.tellClient(o, true), now)
	if pr.near == nil {
		return
	}
	if pr.far = t.reserve(o, t.tellClient(s, false), now); pr.far == nil {
		pr.near.release()
		return
	}
	t.take(pr)
	t.start(pr, nil, nil)
}

// inbound answers a peer that opened a circuit to one of our clients.
func (t *topic) inbound(s discovery.Sighting) {
	now := time.Now()
	to := s.Inbound.To()
	for _, sub := range t.subs {
		if sub.session.endpoint != to || sub.gone() || !sub.announces() && !sub.looksUp() {
			continue
		}
		p := t.peers[s.Peer.ID]
		if p == nil {
			p = &peer{Peer: s.Peer}
		}
		switch {
		case p.is(to): // what is left of the same client at another gateway
			s.Inbound.Refuse(wtproto.CodeDeclined)
			return
		case !sub.room(now):
			s.Inbound.Refuse(wtproto.CodeBusy)
			return
		}
		pr := &pair{sub: sub, peer: p, inbound: true}
		if pr.near = t.reserve(sub, t.tell(p, false), now); pr.near == nil {
			s.Inbound.Refuse(wtproto.CodeCircuitLimit)
			return
		}
		t.take(pr)
		t.start(pr, nil, s.Inbound)
		return
	}
	s.Inbound.Refuse(wtproto.CodeDeclined)
}

// reserve takes a place in the session of s. Where there is none, s waits for a second before it tries again.
func (t *topic) reserve(s *subscription, tell wtproto.Peer, now time.Time) *leg {
	l := s.session.reserve(tell, s.offerOnly())
	if l == nil {
		s.blockedUntil = now.Add(retryMin)
		t.at(s.blockedUntil)
	}
	return l
}

// tell returns what a client is told of p.
func (t *topic) tell(p *peer, initiator bool) wtproto.Peer {
	m := wtproto.Peer{Topic: t.key, Network: p.Network, ID: []byte(p.ID)}
	if initiator {
		m.Flags = wtproto.PeerInitiator
	}
	if t.router.cfg.ShowAddresses && !p.Client {
		m.Address = clip(p.Address, wtproto.MaxAddress)
	}
	return m
}

// tellClient returns what a client is told of the client o.
func (t *topic) tellClient(o *subscription, initiator bool) wtproto.Peer {
	id := o.session.endpoint
	m := wtproto.Peer{Topic: t.key, Network: wtproto.NetworkClient, ID: id[:]}
	if initiator {
		m.Flags = wtproto.PeerInitiator
	}
	return m
}

// dialPeer dials with a time limit.
func dialPeer(
	ctx context.Context, p *pair,
	dial func(context.Context, wtproto.EndpointID) (discovery.Stream, error),
	from wtproto.EndpointID, timeout time.Duration,
) dialed {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout,
		wtproto.Errorf(wtproto.CodePeerUnreachable, "no answer in %v", timeout))
	defer cancel()
	s, err := dial(ctx, from)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return dialed{pair: p, stream: s, took: time.Since(began), err: err}
}
