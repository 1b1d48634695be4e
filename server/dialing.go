package server

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is how a subscription comes to circuits with peers. It asks for a turn to dial, and
// chooses whom when it has it; so nobody waits for a peer that was chosen long ago. It takes a
// place in its session when the peer has answered.

const (
	// maxDialing is how many dials a subscription has at once, as far as it has places for them.
	// More are made beside those that are slow, of which it has at most maxSlow.
	maxDialing = 4
	maxSlow    = 28
	// oldShare is one in how many dials goes to a peer that failed before, if there are others.
	oldShare = 4
)

// charge counts a dial of s that failed, or whose circuit the peer ended at once.
func (t *topic) charge(s *subscription) {
	if t.failures == nil {
		t.failures = rate.NewLimiter(topicFailures, topicFailuresBurst)
	}
	t.failures.AllowN(t.now, 1)
	t.router.ledger.spend(s.session.principal, flowFailedDials, 1, t.now)
}

// overdrawn reports whether too many dials for the topic, or for the principal of s, have failed
// lately, if those that run fail too.
func (t *topic) overdrawn(s *subscription) bool {
	var refused *refusal
	allowed := float64(topicFailuresBurst)
	if t.failures != nil {
		allowed = t.failures.TokensAt(t.now)
	}
	if allowed < float64(1+t.attempts) {
		refused = refuse(LimitFailedDialsTopic, "too many dials of the topic fail")
	} else {
		refused = t.router.ledger.left(s.session.principal, flowFailedDials, 1+s.dialing+s.slow+s.beside, t.now)
	}
	if refused != nil {
		t.router.cfg.Observer.refused(refused)
	}
	return refused != nil
}

// rest keeps s from dialing for a second.
func (t *topic) rest(s *subscription) {
	s.resting = true
	s.rested.do = func() {
		s.resting = false
		t.touch(s)
		t.index(s)
		t.want(s)
	}
	t.touch(s)
	t.agenda.set(&s.rested, t.now.Add(retryMin))
	t.index(s)
}

// wants reports whether s may ask for a turn to dial now.
func (s *subscription) wants() bool {
	return s.known && !s.left && s.wish == nil && !s.resting && !s.blocked && s.mayDialMore()
}

func (s *subscription) mayDialMore() bool {
	return s.dialing < maxDialing && (s.maxPeers < 0 || s.taken+s.dialing < s.maxPeers+s.swaps)
}

// want asks for a turn to dial if s can use one, and a peer is there for it. It reports whether s
// waits for its turn now.
func (t *topic) want(s *subscription) bool {
	if s.wants() && !s.gone() && t.candidate(s) != nil {
		t.ask(s)
	}
	return s.wish != nil
}

// ask asks for a turn to dial.
func (t *topic) ask(s *subscription) {
	if no := s.session.full(); no != nil {
		t.noteFull(s, no, false)
		t.block(s)
		return
	}
	if t.overdrawn(s) {
		t.rest(s)
		return
	}
	wish := &dial{account: s.session.principal.accounts[0], session: s.session.id, topic: t.key}
	wish.run = func() { t.takeTurn(s, wish) }
	s.wish = wish
	t.dials++
	t.index(s)
	t.router.dialer.request(wish)
}

// offer has p dialed by those who may want it: by one of them until it has answered, else by all.
func (t *topic) offer(p *peer) {
	t.eachHungry(!p.answered, func(s *subscription) bool {
		if t.suits(s, p) {
			t.ask(s)
		}
		return s.wish != nil && !p.answered
	})
}

// handOn gives an unused turn to another subscription, if there are peers that wait for one.
func (t *topic) handOn() {
	if t.unanswered > 0 {
		t.eachHungry(true, t.want)
	}
}

// eachHungry calls f for all who may ask for a turn, which may take the one it is called for out,
// until f returns true. If that is expected, it tries some at random first.
func (t *topic) eachHungry(one bool, f func(*subscription) bool) {
	for range probes {
		n := len(t.hungry.items)
		if n == 0 || one && f(t.hungry.items[rand.IntN(n)]) {
			return
		}
	}
	for i := len(t.hungry.items) - 1; i >= 0; i-- { // taking one out moves the last of them, which was there
		if f(t.hungry.items[i]) {
			return
		}
	}
}

// candidate returns a peer that s may dial now, or nil: most times one that has not failed, if
// there is one. Services of the LAN and all others take turns, so that who makes up services keeps
// nobody from other peers.
func (t *topic) candidate(s *subscription) *peer {
	tiers := [...]int{hopeful, returning, hopeless}
	switch rand.IntN(2 * oldShare) {
	case 0:
		tiers = [...]int{returning, hopeless, hopeful}
	case 1:
		tiers = [...]int{hopeless, returning, hopeful}
	}
	for _, tier := range tiers {
		lanFirst := rand.IntN(2) == 0
		for _, lan := range [...]bool{lanFirst, !lanFirst} {
			if p := t.candidateOf(s, tier, lan); p != nil {
				return p
			}
		}
	}
	return nil
}

// candidateOf returns a peer that s may dial now, or nil: of those services of the LAN or the
// others whose pools begin with tier. Of the services it is by turns the one that has waited for
// longest, the newest and any one: who was there before others are made up is dialed soon, and so
// is who comes after them.
func (t *topic) candidateOf(s *subscription, tier int, lan bool) (p *peer) {
	if t.ready == nil {
		return nil
	}
	if s.seenPeers == nil {
		s.seenPeers = make([]uint64, peerPools)
	}
	from, to := tier, tier+lanKind
	if lan {
		from, to = tier+lanKind, tier+peerKinds
	}
	pools, seen := t.ready[from:to], s.seenPeers[from:to]
	var fell []*peer
	check := func(p *peer) fit {
		if tier == hopeful && p.suspect() { // since it was put there
			fell = append(fell, p)
			return unfit
		}
		return t.fitPeer(s, p)
	}
	usable := func(i int) bool { return s.mayDial(from + i) }
	ok := false
	if end := rand.IntN(3); lan && end < 2 {
		p, ok = edge(pools, seen, usable, end == 0, check)
	}
	if !ok {
		if p, ok = choose(pools, seen, usable, check); !ok {
			p = nil
		}
	}
	for _, q := range fell {
		t.relist(q)
	}
	return p
}

// suits reports whether s may dial p, which is ready, now.
func (t *topic) suits(s *subscription, p *peer) bool {
	return s.mayDial(p.kind()) && t.fitPeer(s, p) == fits
}

// fitPeer is what speaks against s dialing p besides p's kind.
func (t *topic) fitPeer(s *subscription, p *peer) fit {
	t.looks++
	switch {
	case s.gone():
		return unfitNow
	case p.is(s.session.endpoint), !s.meets(p.Network), !t.mayPair(s, p.key), t.redundant(s, p):
		return unfit
	}
	return fits
}

// mayPair reports whether the pair of s with c may be made now, as far as its past goes.
func (t *topic) mayPair(s *subscription, c counterpart) bool {
	p := s.pairs[c]
	return p == nil || p.state == pairWaiting && !t.now.Before(p.retryAt)
}

// takeTurn dials for s, whose turn it is.
func (t *topic) takeTurn(s *subscription, wish *dial) {
	reply := make(chan *attempt, 1)
	t.post(granted{s, wish, reply})
	select {
	case a := <-reply:
		if a != nil {
			t.post(a.run())
		}
	case <-t.gone:
	}
}

// granted says that it is a subscription's turn to dial.
type granted struct {
	sub   *subscription
	wish  *dial
	reply chan<- *attempt // takes one; nil if there is nobody to dial
}

func (e granted) apply(t *topic) {
	s := e.sub
	s.wish = nil
	t.index(s)
	var p *peer
	if t.router.ctx.Err() == nil && s.wants() && !s.gone() {
		p = t.candidate(s)
	}
	if p == nil {
		t.dials--
		e.reply <- nil
		t.handOn()
		return
	}
	pr := &pair{sub: s, peer: p, state: pairDialing, dial: e.wish}
	pr.ctx, pr.cancel = context.WithCancelCause(t.context())
	t.take(pr)
	pr.due.do = func() { t.slow(pr) }
	t.agenda.set(&pr.due, t.now.Add(patience))
	t.tally(p, -1)
	p.dialing++
	t.tally(p, 1)
	s.dialing++
	t.attempts++
	t.classify(p)
	t.index(s)
	e.reply <- &attempt{pair: pr, ctx: pr.ctx, dial: p.dial, from: s.session.endpoint, timeout: t.router.cfg.DialTimeout}
	if !t.want(s) {
		t.handOn()
	}
}

// slow makes room for other dials beside that of p, which takes long.
func (t *topic) slow(p *pair) {
	s := p.sub
	if s.slow >= maxSlow || !t.router.dialer.slow(p.dial) {
		t.agenda.set(&p.due, t.now.Add(patience))
		return
	}
	p.slow = true
	s.dialing--
	s.slow++
	t.index(s)
	t.connect(s)
	t.handOn()
}

// attempt is one dial of a peer.
type attempt struct {
	pair    *pair
	ctx     context.Context
	dial    func(context.Context, wtproto.EndpointID) (discovery.Stream, error)
	from    wtproto.EndpointID
	timeout time.Duration
}

// run dials.
func (a *attempt) run() dialed {
	began := time.Now()
	s, err := dialPeer(a.ctx, a.dial, a.from, a.timeout)
	return dialed{pair: a.pair, stream: s, took: time.Since(began), err: err}
}

// dialPeer opens a circuit within timeout.
func dialPeer(
	ctx context.Context, dial func(context.Context, wtproto.EndpointID) (discovery.Stream, error), from wtproto.EndpointID, timeout time.Duration,
) (discovery.Stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, wtproto.Errorf(wtproto.CodePeerUnreachable, "no answer in %v", timeout))
	defer cancel()
	s, err := dial(ctx, from)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s, err
}

// dialed says that a dial has ended.
type dialed struct {
	pair   *pair
	stream discovery.Stream
	took   time.Duration
	err    error
}

func (e dialed) apply(t *topic) {
	p, peer, s := e.pair, e.pair.peer, e.pair.sub
	t.dials--
	t.attempts--
	t.agenda.clear(&p.due)
	if p.slow {
		s.slow--
	} else {
		s.dialing--
	}
	wanted := p.ctx.Err() == nil
	// A service cannot join anew, so its no is not for ever: it has said that it is connected with
	// s by another circuit, for example.
	notNow := wanted && peer.Service != nil && final(e.err)
	t.tally(peer, -1)
	peer.dialing--
	switch {
	case e.err == nil:
		peer.answered, peer.refused, peer.code, peer.err = true, false, wtproto.CodeNone, ""
		if t.resource(peer); peer.source != nil {
			t.answer(peer.source)
		}
	case wanted && !notNow:
		t.failed(peer, e)
	}
	t.tally(peer, 1)
	if e.err == nil || wanted {
		peer.dialed++
		t.router.cfg.Observer.dialed(peer.Network, e.took, codeOf(e.err))
	}
	switch {
	case e.err == nil:
		t.answered(p, e.stream, wanted)
	case notNow:
		p.retryAt = t.now.Add(p.retry.Next())
		t.settle(p, pairWaiting, false)
	case wanted && final(e.err):
		t.settle(p, pairEnded, false)
	case wanted:
		t.settle(p, pairWaiting, true)
	default:
		t.settle(p, pairEnded, true)
	}
	t.index(s)
	t.classify(peer)
	t.connect(s)
}

// final reports whether err is a peer's no that holds until one of the two joins anew.
func final(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Remote && (e.Code == wtproto.CodeDeclined || e.Code == wtproto.CodeForbidden)
}

// failed notes that a dial of p failed.
func (t *topic) failed(p *peer, e dialed) {
	code := codeOf(e.err)
	if !p.refused {
		t.log(t.refusals.level(slog.LevelInfo, t.now), "peer refused", "network", p.Network, "address", p.Address, "code", code, "error", e.err)
	}
	t.noteTarget(e.err)
	p.refused, p.code, p.err = true, code, detail(e.err)
	if p.source != nil {
		p.source.vain = true
	}
	p.network.code, p.network.dialFault = code, &fault{reasonFor(e.err, t.router.cfg.ShowAddresses), p.err}
	p.backOff(t.now)
	t.charge(e.pair.sub)
	t.recheck(t.around(p))
}

// noteTarget tells the observer if err, of a dial, is a limit of [discovery.Policy].
func (t *topic) noteTarget(err error) {
	if own, ok := errors.AsType[*wtproto.Error](err); ok && !own.Remote && own.Code == wtproto.CodeRateLimited {
		t.router.cfg.Observer.refused(&refusal{LimitDialsTarget, own})
	}
}

// answered makes a circuit with a peer that has answered, if it is still wanted and there is a
// place.
func (t *topic) answered(p *pair, stream discovery.Stream, wanted bool) {
	if p.peer.Service != nil {
		if p.at = remoteOf(stream); p.at.IsValid() {
			p.peer.at = p.at
			t.replace(p.peer)
		}
	}
	code := wtproto.CodeLeft
	if wanted && t.exchange(p, func() { t.answered(p, stream, p.ctx.Err() == nil) }) {
		return
	}
	if s := p.sub; wanted && s.meets(p.peer.Network) {
		code = wtproto.CodeBusy
		if s.room() && s.pairs[p.key(s)] == p && s.services[p.at] == 0 &&
			(!p.peer.Client || s.mayDialFar(0, s.seeks || s.helps && p.peer.need)) {
			p.near, code = t.reserve(s, t.tell(p.peer, true), true)
		}
	}
	if p.near != nil {
		t.start(p, stream, nil)
		return
	}
	stream.Reset(code)
	t.settle(p, pairEnded, true)
}
