package server

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// peer is a native peer, or a client behind another gateway, that a network saw on the topic. The
// topic's loop owns it.
type peer struct {
	discovery.Peer
	key      counterpart                                                         // what it is called among pairs
	known    bool                                                                // it is among the topic's peers
	network  *networkView                                                        // that it counts for
	from     *networkView                                                        // that told of it
	dial     func(context.Context, wtproto.EndpointID) (discovery.Stream, error) // nil if only the peer opens
	further  func(context.Context, wtproto.EndpointID) (discovery.Stream, error) // nil if it takes no further circuits
	foundUs  bool
	weFound  bool
	more     bool
	need     bool // its gateway needs a circuit
	dialing  int
	answered bool // once, since it was seen first
	refused  bool // the last dial failed
	dialed   int  // dials that ended
	code     wtproto.Code
	err      string // the same in words, for operators
	retry    backoff.Backoff
	retryAt  time.Time
	past     map[*subscription]struct{} // who keeps a pair with it in mind

	// of plain TCP services
	at     netip.AddrPort   // where it answered last
	places []netip.AddrPort // where it is, in topic.services
	sameAs *peer            // the one of a more trusted source that it is, or nil

	source  *source // who told of it on the LAN, or nil
	untried uint64  // its number in source.untried; 0 if it is not there

	expiry  deadline // it is forgotten
	again   deadline // it may be dialed again
	class   int      // the pool of topic.ready that it is in, counted from 1; 0 for none
	number  uint64   // in that pool
	failing int      // the pool of topic.failing that it is in, counted from 1; 0 for none
	failed  uint64   // its number there
}

// peerKey is the id of a [discovery.Peer].
type peerKey string

// The pools of topic.ready: peers that may be dialed now, by the result of their last dial, by
// which side found the other, and whether they are native peers, clients, clients of a gateway
// that needs a circuit, or services of the LAN.
const (
	weFoundIt = iota
	itFoundUs
	bothFound
	numFound

	lanKind   = numFound * 3 // the first kind of services of the LAN
	peerKinds = numFound * 4

	hopeful   = 0             // the last dial did not fail
	returning = peerKinds     // it failed, but one before did not, of it or of who told of it
	hopeless  = 2 * peerKinds // all failed, or the last one of who told of it
	peerPools = 3 * peerKinds
)

// kind returns which of topic.ready's pools p belongs to.
func (p *peer) kind() int {
	kind := weFoundIt
	switch {
	case p.foundUs && p.weFound:
		kind = bothFound
	case p.foundUs:
		kind = itFoundUs
	}
	switch {
	case p.Client && p.need:
		kind += 2 * numFound
	case p.Client:
		kind += numFound
	case fromLAN(&p.Peer):
		kind += lanKind
	}
	switch {
	case !p.refused && !p.suspect():
		kind += hopeful
	case p.answered || p.source != nil && p.source.answered:
		kind += returning
	default:
		kind += hopeless
	}
	return kind
}

// mayDial reports whether s may dial peers of a kind.
func (s *subscription) mayDial(kind int) bool {
	direction := kind % numFound
	if !(direction != itFoundUs && s.looksUp()) && !(direction != weFoundIt && s.announces()) {
		return false
	}
	switch kind % peerKinds / numFound {
	case 1:
		return s.mayDialFar(s.dialing, s.seeks)
	case 2:
		return s.mayDialFar(s.dialing, s.seeks || s.helps)
	default:
		return s.mayDialNative(s.topic.reachable)
	}
}

// is reports whether p is the client with an endpoint, which its id ends with.
func (p *peer) is(e wtproto.EndpointID) bool {
	return p.Client && strings.HasSuffix(p.ID, string(e[:]))
}

// newPeer returns a peer that the topic does not know yet.
func (t *topic) newPeer(d discovery.Peer) *peer {
	p := &peer{Peer: d, key: peerKey(d.ID), retry: backoff.New(retryMin, retryMax)}
	p.expiry.do = func() { t.forget(p) }
	p.again.do = func() { t.classify(p) }
	return p
}

// remember notes what a sighting says of a peer, and returns it, or nil if there is no room for
// one more.
func (t *topic) remember(p *peer, n *networkView, s discovery.Sighting) *peer {
	if p == nil {
		if !within(len(t.peers), t.router.cfg.MaxPeers) && !t.evict(&s.Peer) {
			return nil
		}
		p = t.newPeer(s.Peer)
		if f, ok := t.router.failures.take(t.key, p.ID, t.now); ok {
			p.retry, p.retryAt, p.refused, p.code = f.retry, f.retryAt, f.refused, f.code
		}
		put(&t.peers, s.Peer.ID, p)
		t.log(slog.LevelDebug, "peer found", "network", s.Peer.Network, "address", s.Peer.Address, "peer_found_us", s.PeerFoundUs)
	}
	moved := p.Network != s.Peer.Network
	t.tally(p, -1)
	p.further, p.from = s.Further, n
	p.Peer, p.dial, p.more, p.need, p.network, p.known = s.Peer, s.Dial, s.More, s.Need, t.view(s.Peer.Network, n), true
	p.foundUs = p.foundUs || s.PeerFoundUs
	p.weFound = p.weFound || !s.PeerFoundUs
	t.tally(p, 1)
	t.replace(p)
	t.resource(p)
	if s.Holds > 0 {
		t.agenda.set(&p.expiry, t.now.Add(s.Holds))
	} else {
		t.agenda.clear(&p.expiry)
	}
	if moved { // others may dial it there
		t.relist(p)
	}
	return p
}

// evict forgets a peer to make room for another one, and reports whether there was one to forget.
// It chooses the one that has failed for the longest time among those that never answered; else a
// service of the LAN that never answered; else the one that has failed for the longest time.
func (t *topic) evict(newcomer *discovery.Peer) bool {
	p, ok := t.failing[0].first()
	if !ok {
		p, ok = t.crowded(newcomer)
	}
	if !ok {
		p, ok = t.failing[1].first()
	}
	if ok {
		t.forget(p)
	}
	return ok
}

// forget drops a peer that left, was not seen for too long, or makes room. Circuits with it stay.
func (t *topic) forget(p *peer) {
	t.tally(p, -1)
	t.keepFailure(p)
	delete(t.peers, p.ID)
	p.known = false
	t.replace(p)
	t.resource(p)
	if p.Client {
		t.dropGateway(p)
		t.surveySoon()
	}
	t.agenda.clear(&p.expiry)
	t.classify(p)
	for s := range p.past {
		if pr := s.pairs[p.key]; pr != nil && pr.past() {
			delete(s.pairs, p.key)
		}
	}
	p.past = nil
}

// keepFailure has the back-off of p remembered beyond the topic.
func (t *topic) keepFailure(p *peer) {
	t.router.failures.keep(t.key, p.ID, failure{p.retry, p.retryAt, p.refused, p.code}, t.now)
}

// tally adds n times p to what is counted of its network.
func (t *topic) tally(p *peer, n int) {
	if !p.known {
		return
	}
	t.changed = true
	p.network.found += n
	p.network.roles.add(p.weFound, p.foundUs, n)
	if p.dialing > 0 {
		p.network.connecting += n
	}
	if p.refused {
		p.network.refused += n
	}
	if p.more {
		t.withMore += n
	}
	t.tallyFar(p, n)
}

// backOff puts off the next dial of p. Failures while it is put off already are ignored: losing a
// peer fails all its circuits at once.
func (p *peer) backOff(now time.Time) {
	if !now.Before(p.retryAt) {
		p.retryAt = now.Add(p.retry.Next())
	}
}

// classify puts p into the pools that it belongs to now. If it may be dialed from now on, it is
// offered to who may want it.
func (t *topic) classify(p *peer) {
	class := 0
	switch {
	case !p.known || p.dial == nil:
	case p.dialing > 0 && !p.answered: // one dial until it has answered once
	case t.now.Before(p.retryAt):
		t.agenda.set(&p.again, p.retryAt)
	default:
		class = p.kind() + 1
	}
	failing := 0
	if p.known && p.refused {
		failing = 1
		if p.answered {
			failing = 2
		}
	}
	if failing != p.failing {
		if p.failing > 0 {
			t.failing[p.failing-1].remove(p.failed)
		}
		if p.failing = failing; failing > 0 {
			p.failed = t.failing[failing-1].add(p)
		}
	}
	if class == p.class {
		return
	}
	t.unlist(p)
	if class == 0 {
		return
	}
	t.list(p, class)
	t.offer(p)
}

// list makes p a candidate for all subscriptions, also for those that have looked at it before.
func (t *topic) list(p *peer, class int) {
	if t.ready == nil {
		t.ready = make([]pool[*peer], peerPools)
	}
	p.class, p.number = class, t.ready[class-1].add(p)
	if !p.answered {
		t.unanswered++
	}
}

func (t *topic) unlist(p *peer) {
	if p.class == 0 {
		return
	}
	t.ready[p.class-1].remove(p.number)
	p.class = 0
	if !p.answered {
		t.unanswered--
	}
}

// relist makes everybody look at p again, in the pool that it belongs to.
func (t *topic) relist(p *peer) {
	if p.class > 0 {
		t.unlist(p)
		t.list(p, p.kind()+1)
	}
}
