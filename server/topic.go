package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Delays before a pair or a peer is tried again.
const (
	retryMin = time.Second
	retryMax = 2 * time.Minute
	// settled is how long a circuit must have lived for its loss to be a new story.
	settled = time.Minute
	// statusEvery is the least time between two STATUS of a topic.
	statusEvery = time.Second
)

// topic is one topic's loop. All its state belongs to the goroutine of run; everybody else posts events. The loop never
// blocks: not on sessions, which have outboxes, and not on networks, dials and circuits, which have goroutines.
type topic struct {
	// constant after newTopic
	key      wtproto.Topic
	router   *router
	presence *discovery.Presence // read by the networks
	inbox    chan event          // never closed
	gone     chan struct{}       // closed when run ends
	ctx      context.Context     // of what run started; ends with it
	cancel   context.CancelFunc
	log      *slog.Logger

	subscribers int // guarded by router.mu

	// owned by run
	networks []*networkView
	subs     []*subscription            // in order of arrival
	away     map[*session]*subscription // those that have left and kept circuits
	peers    map[string]*peer
	circuits int       // goroutines
	dials    int       // asked for, waiting or running
	wakeAt   time.Time // when something is due; zero for never
	idleFrom time.Time // when the last subscriber and circuit went; zero while there is one
	changed  bool      // since the last STATUS
	sentAt   time.Time // the last STATUS
}

// networkView is what a topic knows of one network.
type networkView struct {
	name  string
	state wtproto.NetworkState
	code  wtproto.Code // why the last attempt or dial failed
	err   string
}

// peer is a native peer, or a client behind another gateway, that a network saw on the topic.
type peer struct {
	discovery.Peer
	network  *networkView
	dial     func(context.Context, wtproto.EndpointID) (discovery.Stream, error) // nil where only the peer opens
	foundUs  bool
	weFound  bool
	more     bool
	expires  time.Time // zero for never
	dialing  int
	answered bool // once, since it was seen first
	refused  bool // the last dial failed
	dialed   int  // dials that ended
	code     wtproto.Code
	retry    backoff.Backoff
	retryAt  time.Time
}

// event is something that happened, posted to a topic's loop.
type event interface{ apply(*topic) }

func newTopic(r *router, key wtproto.Topic) *topic {
	ctx, cancel := context.WithCancel(r.ctx)
	return &topic{
		key: key, router: r, ctx: ctx, cancel: cancel,
		presence: discovery.NewPresence(discovery.State{}),
		inbox:    make(chan event, 64),
		away:     make(map[*session]*subscription),
		gone:     make(chan struct{}),
		peers:    make(map[string]*peer),
		log:      r.log.With("topic", key),
	}
}

// post hands e to the loop. It waits while the loop is behind, and drops e once the loop has ended.
func (t *topic) post(e event) {
	select {
	case t.inbox <- e:
	case <-t.gone:
	}
}

// run is the loop. It starts a goroutine for each network, and waits for them in the end.
func (t *topic) run() {
	var networks sync.WaitGroup
	rest := t.router.remains
	rest.enter(remainsTopic)
	defer rest.leave(remainsNetworks)
	defer networks.Wait()
	defer rest.leave(remainsTopic)
	defer rest.enter(remainsNetworks)
	defer close(t.gone)
	defer t.cancel()
	for _, n := range t.router.networks {
		v := &networkView{name: n.Name()}
		t.networks = append(t.networks, v)
		networks.Go(func() { t.join(n, v) })
	}
	timer := time.NewTimer(t.router.cfg.Grace) // set anew after each event
	defer timer.Stop()
	done := t.ctx.Done()
	for {
		select {
		case e := <-t.inbox:
			e.apply(t)
		case <-timer.C:
			t.wake()
		case <-done:
			done = nil // the circuits end with their sessions, the dials with ctx
		}
		if done == nil && t.circuits == 0 && t.dials == 0 {
			return
		}
		if t.expired() && t.router.retire(t) {
			return
		}
		t.publish()
		if t.wakeAt.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(t.wakeAt))
		}
	}
}

// join is on one network until the topic ends.
func (t *topic) join(n discovery.Network, v *networkView) {
	for s, err := range n.Join(t.ctx, t.key, t.presence) {
		t.post(sighted{v, s, err})
	}
	t.post(networkEnded{v})
}

// at asks for wake to be called at a time.
func (t *topic) at(when time.Time) {
	if t.wakeAt.IsZero() || when.Before(t.wakeAt) {
		t.wakeAt = when
	}
}

// wake does what is due: peers are forgotten, those to be tried again are, STATUS goes out.
func (t *topic) wake() {
	now := time.Now()
	t.wakeAt = time.Time{}
	for _, p := range t.peers {
		if !p.expires.IsZero() {
			if !p.expires.After(now) {
				t.forget(p)
				continue
			}
			t.at(p.expires)
		}
	}
	for _, s := range t.subs {
		t.connect(s)
	}
	if !t.idleFrom.IsZero() {
		t.at(t.idleFrom.Add(t.router.cfg.Grace))
	}
}

// expired reports whether the topic has had nobody for the grace time.
func (t *topic) expired() bool {
	if len(t.subs) > 0 || t.circuits > 0 || t.dials > 0 {
		t.idleFrom = time.Time{}
		return false
	}
	now := time.Now()
	if t.idleFrom.IsZero() {
		t.idleFrom = now
		t.at(now.Add(t.router.cfg.Grace))
	}
	return now.Sub(t.idleFrom) >= t.router.cfg.Grace
}

// announce tells the networks what this gateway is on the topic now. In the grace time it stays what it was, without endpoints.
func (t *topic) announce() {
	state, _ := t.presence.State()
	state.Endpoints = nil
	if len(t.subs) > 0 {
		state.Announce, state.LookUp = false, false
	}
	for _, s := range t.subs {
		state.Announce = state.Announce || s.announces()
		state.LookUp = state.LookUp || s.looksUp()
		state.Endpoints = append(state.Endpoints, s.session.endpoint)
	}
	t.presence.Set(state)
}

// subscribed says that a session joined, or changed its options.
type subscribed struct {
	sub  *subscription
	join wtproto.Join
}

func (e subscribed) apply(t *topic) {
	s := e.sub
	if s.pairs == nil { // new
		s.pairs = make(map[counterpart]*pair)
		t.subs = append(t.subs, s)
		t.adopt(s)
	}
	s.setOptions(e.join, t.router.cfg)
	t.announce()
	t.changed = true
	t.refill(s)
}

// unsubscribed says that a session left. Its circuits stay, its dials end.
type unsubscribed struct{ sub *subscription }

func (e unsubscribed) apply(t *topic) {
	for i, s := range t.subs {
		if s != e.sub {
			continue
		}
		t.subs = append(t.subs[:i], t.subs[i+1:]...)
		s.left = true
		t.router.left(t)
		t.abandon(s)
		for _, o := range t.subs {
			if p := o.pairs[s.session]; p != nil && p.past() {
				delete(o.pairs, s.session)
			}
		}
		if s.taken > 0 {
			t.away[s.session] = s
		}
		t.announce()
		t.changed = true
		return
	}
}

// sighted is news from a network.
type sighted struct {
	network  *networkView
	sighting discovery.Sighting
	err      error
}

func (e sighted) apply(t *topic) {
	t.changed = true
	if e.err != nil {
		e.network.state, e.network.code = wtproto.NetworkFailing, codeOf(e.err)
		if text := e.err.Error(); text != e.network.err { // once, however often it is repeated
			e.network.err = text
			t.log.Warn("network failing", "network", e.network.name, "code", e.network.code, "error", e.err)
		}
		return
	}
	if e.network.state != wtproto.NetworkSearching {
		e.network.state, e.network.err, e.network.code = wtproto.NetworkSearching, "", wtproto.CodeNone
	}
	s := e.sighting
	if s.Peer.ID == "" {
		return
	}
	p := t.peers[s.Peer.ID]
	switch {
	case s.Gone:
		if p != nil {
			t.forget(p)
		}
	case s.Holds != 0:
		if p = t.remember(p, e.network, s); p != nil {
			t.considerAll(p)
		}
	}
	if s.Inbound != nil {
		t.inbound(s)
	}
}

// networkEnded says that a network has given up, or that the topic ends.
type networkEnded struct{ network *networkView }

func (e networkEnded) apply(t *topic) {
	e.network.state = wtproto.NetworkEnded
	t.changed = true
}

// remember notes what a sighting says of a peer, and returns it, or nil if there is no room for one more.
func (t *topic) remember(p *peer, n *networkView, s discovery.Sighting) *peer {
	if p == nil {
		if !within(len(t.peers), t.router.cfg.MaxPeers) {
			return nil
		}
		p = &peer{retry: backoff.New(retryMin, retryMax)}
		t.peers[s.Peer.ID] = p
		t.log.Debug("peer found", "network", s.Peer.Network, "address", s.Peer.Address, "found_us", s.FoundUs)
	}
	p.Peer, p.dial, p.more, p.network = s.Peer, s.Dial, s.More, t.view(s.Peer.Network, n)
	p.foundUs = p.foundUs || s.FoundUs
	p.weFound = p.weFound || !s.FoundUs
	p.expires = time.Time{}
	if s.Holds > 0 {
		p.expires = time.Now().Add(s.Holds)
		t.at(p.expires)
	}
	return p
}

// backOff puts off the next dial of p. What fails while it is put off already is the same story: all its circuits are lost at
// once.
func (p *peer) backOff(t *topic) {
	if now := time.Now(); !now.Before(p.retryAt) {
		p.retryAt = now.Add(p.retry.Next())
	}
	t.at(p.retryAt)
}

// forget drops a peer that left or was not seen for too long. Circuits with it stay.
func (t *topic) forget(p *peer) {
	delete(t.peers, p.ID)
	t.changed = true
	for _, s := range t.subs {
		if pr := s.pairs[peerKey(p.ID)]; pr != nil && pr.past() {
			delete(s.pairs, peerKey(p.ID))
		}
	}
}
