package server

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Delays before a pair or a peer is tried again.
const (
	retryMin = time.Second
	retryMax = 2 * time.Minute
	// patience is how long a dial may take before another one is made beside it.
	patience = time.Second
	// askAfter is how old a topic is before networks are asked, if its principal has made many.
	askAfter = time.Second
	// topicFailures is how many dials of a topic may fail a second, topicFailuresBurst how many at
	// once.
	topicFailures, topicFailuresBurst = 10, 512
	// settled is how long a circuit must have lived for its loss to count as the first failure
	// again.
	settled = time.Minute
	// statusEvery is the least time between two STATUS of a topic.
	statusEvery = time.Second
)

// topic is one topic's loop. All its state belongs to the goroutine of run; other goroutines post
// events. The loop runs while there are some: a topic at rest has no goroutine. It never blocks: not
// on sessions, which have outboxes, and not on networks, dials and circuits, which have goroutines.
type topic struct {
	// constant after newTopic
	key    wtproto.Topic
	router *router
	inbox  chan event    // never closed
	gone   chan struct{} // closed when the topic ends

	running atomic.Bool // run does, or the topic has ended

	ended     func() // is called in the end
	askAtOnce bool   // the networks, not after a second; constant once it has begun

	subscribers int        // guarded by router.mu
	charged     *principal // guarded by router.mu; charged for the grace time

	// owned by run
	now        time.Time   // of the event that is being dealt with
	closing    bool        // the router is: it ends with the last circuit and dial
	timer      *time.Timer // nil if nothing will be due
	armed      time.Time   // what timer is set to; zero without one
	networks   []*networkView
	ctx        context.Context // nil before the first call of context
	cancel     context.CancelFunc
	joins      sync.WaitGroup             // of the networks' goroutines
	subs       []*subscription            // by their endpoints, the newest of each endpoint last
	away       map[*session]*subscription // those that have left and kept circuits
	peers      map[string]*peer
	services   map[netip.AddrPort][]*peer // those of peers that are plain TCP services, by their addresses
	sources    map[netip.Addr]*source     // of those that were told of on the LAN, by sourceAt
	tellers    int                        // sources that have peers
	crowds     ring[*source]              // those with several services that never answered
	sweepAt    int                        // of sources, when those without peers are forgotten
	doubles    int                        // of these, those that are another one
	withMore   int                        // peers whose host has more of them
	circuits   int                        // goroutines
	dials      int                        // asked for, waiting or running
	refusals   seldom                     // lines of log about peers that refused
	agenda     agenda
	asking     deadline        // the networks are asked
	asked      bool            // they have been
	hurried    bool            // the grace time is over early
	idling     deadline        // the grace time is over
	idleFrom   time.Time       // when the last subscriber and circuit went; zero while there is one
	publishing deadline        // STATUS may be sent again
	changed    bool            // since the last STATUS, for all
	touched    []*subscription // for whom alone something has changed since
	here       roles           // of subs, those whose tokens allow them other clients of this gateway
	barred     int             // of subs, the others
	shared     fingerprint     // of the part of the last STATUS that is the same for all
	sentAt     time.Time       // the last STATUS

	clients    []pool[*subscription] // those that have room, see clientPool; nil before there are two
	hungry     ring[*subscription]   // those that may ask for a dial now
	ready      []pool[*peer]         // those that may be dialed, see peer.kind; nil before the first
	unanswered int                   // of these, those that have never answered
	failing    [2]pool[*peer]        // those whose last dial failed: never answered, and others
	gateways   map[string]*gateway   // others, by the ids of their hosts
	reachable  int                   // their clients that can be had, as of the last survey
	surveying  deadline              // the mesh is looked at as a whole
	helpAgain  time.Time             // a client may help another gateway with its last place
	giveAgain  time.Time             // a place may be given to a gateway that needs one
	apart      int                   // surveys in turn that found several parts of the mesh here
	lacking    int                   // surveys in turn that found a part without a circuit with another gateway
	looks      int                   // at candidates
	attempts   int                   // dials that run
	failures   *rate.Limiter         // dials that may fail; nil before the first failed
}

// put puts v into a map, which it makes if it is nil. A topic has many maps, and mostly next to
// nothing in them.
func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[k] = v
}

// networkView is what a topic knows of one network.
type networkView struct {
	*gatewayNetwork
	presence *discovery.Presence // read by the network; nil if its peers are fixed
	wanted   int                 // subscribers that want it
	phase    networkPhase
	leave    context.CancelFunc // once it was joined
	leaving  deadline           // nobody has wanted it for the grace time

	state wtproto.NetworkState
	roles roles        // of its peers
	code  wtproto.Code // why the last attempt or dial failed
	note  string       // what keeps others from finding us though it works

	fault     *fault // why it is failing; nil if it is not
	dialFault *fault // why the last dial failed; nil before

	found, connecting, refused int // peers
}

// event is something that happened, posted to a topic's loop.
type event interface{ apply(*topic) }

func newTopic(r *router, key wtproto.Topic) *topic {
	t := &topic{
		key: key, router: r,
		inbox: make(chan event, inboxSize),
		gone:  make(chan struct{}),
		now:   time.Now(),
	}
	t.crowds.place = func(s *source) *int { return &s.crowdAt }
	t.hungry.place = func(s *subscription) *int { return &s.hungryAt }
	t.idling.do, t.publishing.do = func() {}, func() {} // run looks after each event
	t.surveying.do = t.survey
	t.viewNetworks()
	return t
}

// inboxSize is how many events may wait for a loop. Who has one more waits.
const inboxSize = 8

// post hands e to the loop. It waits while the loop is behind, and drops e once the topic has
// ended.
func (t *topic) post(e event) {
	if t.put(e) {
		go t.run()
	}
}

// put is post, and reports whether the caller has to run the loop.
func (t *topic) put(e event) (run bool) {
	select {
	case t.inbox <- e:
		return !t.running.Swap(true)
	case <-t.gone:
		return false
	}
}

// begin prepares the loop. It is called once, before the first post. ended is called when the topic
// has ended, and what it has started.
func (t *topic) begin(ended func()) {
	t.router.remains.enter(remainsTopic)
	t.ended = ended
	t.asking.do = func() {
		t.asked = true
		t.tune()
	}
	if t.askAtOnce {
		t.asking.do()
	} else {
		t.agenda.set(&t.asking, t.now.Add(askAfter))
	}
}

// run is the loop. It deals with events until there are none, or the topic has ended.
func (t *topic) run() {
	for {
		select {
		case e := <-t.inbox:
			t.handle(e)
			if t.over() {
				t.end()
				return
			}
		default:
			t.running.Store(false)
			if len(t.inbox) == 0 || t.running.Swap(true) {
				return // another one runs, or will with the next event
			}
		}
	}
}

// over does what is to be done after each event, and reports whether the topic has to end.
func (t *topic) over() bool {
	if t.closing && t.circuits == 0 && t.dials == 0 {
		return true
	}
	if t.expired() && t.router.retire(t) {
		return true
	}
	t.publish()
	if next := t.agenda.next(); !next.Equal(t.armed) {
		t.arm(next)
	}
	return false
}

// arm has the timer wake the loop at a time. With the zero time there is no timer.
func (t *topic) arm(at time.Time) {
	t.armed = at
	switch {
	case at.IsZero() && t.timer != nil:
		t.timer.Stop()
		t.timer = nil
	case at.IsZero():
	case t.timer == nil:
		t.timer = time.AfterFunc(time.Until(at), t.due)
	default:
		t.timer.Reset(time.Until(at))
	}
}

// due is called by the timer, in a goroutine that becomes the loop if none runs.
func (t *topic) due() {
	if t.put(woken{}) {
		t.run()
	}
}

// context returns the context of what run starts, which ends with the topic. Most topics start
// nothing that needs one.
func (t *topic) context() context.Context {
	if t.ctx == nil {
		t.ctx, t.cancel = context.WithCancel(t.router.ctx)
	}
	return t.ctx
}

// end ends the topic, and waits for the goroutines of its networks.
func (t *topic) end() {
	rest := t.router.remains
	t.arm(time.Time{})
	if t.cancel != nil {
		t.cancel()
	}
	for _, v := range t.networks {
		if _, ok := v.network.(discovery.Follower); ok && v.leave != nil {
			v.leave()
		}
	}
	for _, p := range t.peers {
		t.keepFailure(p)
	}
	close(t.gone)
	rest.enter(remainsNetworks)
	rest.leave(remainsTopic)
	t.joins.Wait()
	rest.leave(remainsNetworks)
	t.ended()
}

// woken says that something is due.
type woken struct{}

func (woken) apply(t *topic) {
	t.arm(time.Time{})
	t.wake()
}

// closing says that the router is closing. The circuits of the topic end with their sessions, its
// dials with ctx.
type closing struct{}

func (closing) apply(t *topic) { t.closing = true }

// handle deals with e.
func (t *topic) handle(e event) {
	t.now = time.Now()
	e.apply(t)
}

// wake does what is due.
func (t *topic) wake() {
	t.now = time.Now()
	for d := t.agenda.pop(t.now); d != nil; d = t.agenda.pop(t.now) {
		d.do()
	}
}

// expired reports whether the topic has had nobody for the grace time, which topics do not have
// that no network knows of.
func (t *topic) expired() bool {
	if len(t.subs) > 0 || t.circuits > 0 || t.dials > 0 {
		t.idleFrom, t.hurried = time.Time{}, t.hurried && len(t.subs) == 0
		t.agenda.clear(&t.idling)
		return false
	}
	if t.idleFrom.IsZero() {
		t.idleFrom = t.now
		t.agenda.set(&t.idling, t.now.Add(t.router.cfg.Grace))
	}
	return t.now.Sub(t.idleFrom) >= t.router.cfg.Grace || t.hurried || !t.asked
}

// graceCut says that nobody is charged for the grace time any more.
type graceCut struct{}

func (graceCut) apply(t *topic) { t.hurried = true }

// log writes a line of log about t. A logger of its own would cost each topic memory for lines that
// are not written.
func (t *topic) log(level slog.Level, msg string, args ...any) {
	if l := t.router.log; l.Enabled(t.router.ctx, level) {
		l.With("topic", t.key).Log(t.router.ctx, level, msg, args...)
	}
}

// addPayer adds a session to those for whose sake the gateway is on a topic, if there is room and
// none of them is of the same principal.
func addPayer(payers []discovery.Payer, s *session) []discovery.Payer {
	if len(payers) == discovery.MaxPayers {
		return payers
	}
	accounts := s.principal.accounts
	for _, p := range payers {
		if p[0] == any(accounts[len(accounts)-1]) {
			return payers
		}
	}
	var payer discovery.Payer
	for _, a := range slices.Backward(accounts) { // the widest first
		payer = append(payer, a)
	}
	return append(payers, append(payer, s.id))
}

// subscribed says that a session joined, or changed its options.
type subscribed struct {
	sub  *subscription
	join wtproto.Join
}

func (e subscribed) apply(t *topic) {
	s := e.sub
	if !s.known {
		s.known = true
		s.unblock.do = func() { t.unblocked(s) }
		s.since, s.lonely.do = t.now, func() { t.touch(s) }
		t.agenda.set(&s.lonely, t.now.Add(lonelyAfter))
		t.subs = slices.Insert(t.subs, t.behind(s.session.endpoint), s)
		t.adopt(s)
	} else {
		t.countRole(s, -1)
		t.countWishes(s, -1)
	}
	s.setOptions(e.join, t.router.cfg)
	t.countRole(s, 1)
	t.countWishes(s, 1)
	t.makePools()
	t.index(s)
	t.announce()
	t.tune()
	t.changed = true
	t.touch(s)
	t.connect(s)
	t.surveySoon()
	for _, e := range s.early {
		e.apply(t)
	}
	s.early = nil
}

// behind returns the place in subs behind those with an endpoint.
func (t *topic) behind(e wtproto.EndpointID) int {
	i, _ := slices.BinarySearchFunc(t.subs, e, func(s *subscription, e wtproto.EndpointID) int {
		if bytes.Compare(s.session.endpoint[:], e[:]) > 0 {
			return 1
		}
		return -1
	})
	return i
}

// at returns the newest subscription with an endpoint that has not gone, or nil.
func (t *topic) at(e wtproto.EndpointID) *subscription {
	for i := t.behind(e) - 1; i >= 0 && t.subs[i].session.endpoint == e; i-- {
		if !t.subs[i].gone() {
			return t.subs[i]
		}
	}
	return nil
}

// unsubscribed says that a session left. Its circuits stay, its dials end.
type unsubscribed struct{ sub *subscription }

func (e unsubscribed) apply(t *topic) {
	s := e.sub
	if !s.known || s.left {
		return
	}
	i := t.behind(s.session.endpoint) - 1
	for t.subs[i] != s {
		i--
	}
	t.subs = slices.Delete(t.subs, i, i+1)
	s.left = true
	t.countRole(s, -1)
	t.countWishes(s, -1)
	t.router.left(t, s)
	t.agenda.clear(&s.unblock)
	t.agenda.clear(&s.rested)
	t.agenda.clear(&s.lonely)
	t.index(s)
	t.abandon(s)
	if s.taken > 0 || len(s.furthers.all) > 0 {
		put(&t.away, s.session, s)
	}
	t.announce()
	t.tune()
	t.surveySoon()
	t.changed = true
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
		if text := detail(e.err); e.network.fault == nil || text != e.network.fault.all { // once, however often it is repeated
			e.network.fault = &fault{reasonFor(e.err, t.router.cfg.ShowAddresses), text}
			level := t.router.troubles.level(slog.LevelWarn, e.network.name, e.network.code, time.Now())
			t.log(level, "network failing", "network", e.network.name, "code", e.network.code, "error", e.err)
		}
		return
	}
	s := e.sighting
	state := wtproto.NetworkSearching
	if s.Queued || s.Peer.ID != "" && e.network.state == wtproto.NetworkQueued { // others may find us meanwhile
		state = wtproto.NetworkQueued
	}
	if e.network.state != state {
		e.network.state, e.network.fault, e.network.code = state, nil, wtproto.CodeNone
	}
	if s.Peer.ID == "" {
		e.network.note = reasonFor(s.Note, t.router.cfg.ShowAddresses)
		return
	}
	p := t.peers[s.Peer.ID]
	switch {
	case s.Gone:
		if p != nil {
			t.forget(p)
		}
	case s.Holds != 0:
		need := p != nil && p.need
		if p = t.remember(p, e.network, s); p != nil {
			if p.need != need {
				t.surveySoon()
			}
			t.classify(p)
		}
	}
	if s.Inbound != nil {
		t.inbound(s, false)
	}
}
