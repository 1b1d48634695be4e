package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is further circuits: those that two who may have a pair's first circuit open beside
// it. Whoever wants one asks for it, so nobody chooses them, makes them again or backs off because
// of them. They take places of sessions, and none of a topic's max peers or of its mesh.

// further is a further circuit, from its CONNECT or OPEN to its end. The topic's loop owns it.
type further struct {
	sub       *subscription                                                       // who asked for it, or whom a peer asked
	other     *subscription                                                       // the client that was asked, or nil
	peer      *peer                                                               // the peer, or nil
	asking    *asking                                                             // the CONNECT; nil if a peer asked, and once bytes can pass
	dial      func(context.Context, wtproto.EndpointID) (discovery.Stream, error) // constant
	near, far *leg
	turn      *dial                   // nil if there is nothing to dial, and once it was taken
	runs      bool                    // its circuit does, and releases the legs
	opened    bool                    // bytes can pass
	ctx       context.Context         // of the CONNECT, if there is one that waits
	cancel    context.CancelCauseFunc // ends ctx
	opening   *circuit                // that is not open yet, or nil
}

// furthers are the further circuits of a subscription, those that are not open yet too. The zero
// value has none.
type furthers struct {
	all  map[*further]struct{}
	with map[counterpart]int
}

// key returns what f is called among the furthers of s, which is one of its sides.
func (f *further) key(s *subscription) counterpart {
	switch {
	case f.peer != nil:
		return f.peer.key
	case s == f.sub:
		return f.other.session
	default:
		return f.sub.session
	}
}

// sides returns the subscriptions of f.
func (f *further) sides() []*subscription {
	if f.other != nil {
		return []*subscription{f.sub, f.other}
	}
	return []*subscription{f.sub}
}

// add puts f among those of s.
func (f *further) add(s *subscription) {
	if s.furthers.all == nil {
		s.furthers = furthers{make(map[*further]struct{}), make(map[counterpart]int)}
	}
	s.furthers.all[f] = struct{}{}
	s.furthers.with[f.key(s)]++
	if f.opened {
		s.connected++
	}
}

// remove takes f out of those of s.
func (f *further) remove(s *subscription) {
	delete(s.furthers.all, f)
	key := f.key(s)
	if s.furthers.with[key]--; s.furthers.with[key] == 0 {
		delete(s.furthers.with, key)
	}
	if f.opened {
		s.connected--
	}
}

// connectAsked says that a client wants a further circuit.
type connectAsked struct {
	sub         *subscription
	network, id string
	asking      *asking
}

func (e connectAsked) apply(t *topic) {
	s := e.sub
	if !s.known { // it has entered the topic, and its JOIN is on the way
		s.early = append(s.early, e)
		return
	}
	if err := t.connectFurther(s, e); err != nil {
		e.asking.answer <- err
	}
}

// connectEnded says that nobody waits for the answer to a CONNECT any more.
type connectEnded struct {
	sub    *subscription
	asking *asking
}

func (e connectEnded) apply(t *topic) {
	for f := range e.sub.furthers.all {
		if f.asking == e.asking {
			t.giveUp(f, context.Cause(e.asking.ctx))
			return
		}
	}
}

// stop ends the dial of f, or the opening of its circuit.
func (f *further) stop(cause error) {
	if f.cancel != nil {
		f.cancel(cause)
	}
	if f.opening != nil {
		f.opening.giveUp(cause)
	}
}

// giveUp ends f, unless it is open.
func (t *topic) giveUp(f *further, cause error) {
	f.stop(cause)
	if f.turn != nil && t.router.furthers.cancel(f.turn) { // else whoever runs sees the end of ctx
		t.dials--
		t.settleFurther(f, cause)
	}
}

// connectFurther begins to open a further circuit from s, or says why not.
func (t *topic) connectFurther(s *subscription, e connectAsked) error {
	if s.left {
		return errNotJoined
	}
	f := &further{sub: s, asking: e.asking}
	var err error
	if e.network == wtproto.NetworkClient {
		f.other, err = t.clientFor(s, e.id)
	} else {
		f.peer, err = t.peerFor(s, e.id)
	}
	if err != nil {
		return err
	}
	for _, side := range f.sides() {
		if !within(side.furthers.with[f.key(side)], side.session.maxPairCircuits) {
			r := refuse(LimitCircuitsPair, "at most %d further circuits with one peer are allowed", side.session.maxPairCircuits)
			t.router.cfg.Observer.refused(r)
			return r.Error
		}
	}
	var tell wtproto.Peer
	if f.other != nil {
		tell = t.tellClient(f.other, true)
	} else {
		tell = t.tell(f.peer, true)
	}
	var no *wtproto.Error
	if f.near, no = s.reserveFurther(tell, s.session.principal); no != nil {
		return no
	}
	f.near.asked = e.asking
	if f.other != nil {
		if f.far, no = f.other.reserveFurther(t.tellClient(s, false), s.session.principal); no != nil {
			f.near.release()
			return &wtproto.Error{Code: no.Code, Reason: "the other client has no place for one more", Err: no}
		}
	}
	f.ctx, f.cancel = e.asking.ctx, e.asking.cancel
	t.beginFurther(f)
	if f.other != nil {
		t.startFurther(f, nil, nil)
		return nil
	}
	f.dial = f.peer.further
	f.turn = &dial{account: s.session.principal.accounts[0], session: s.session.id, topic: t.key}
	f.turn.run = func() { t.dialFurther(f) }
	t.dials++
	t.router.furthers.request(f.turn)
	return nil
}

// reserveFurther takes a place in the session of s for a further circuit that payer begins, or
// says why not.
func (s *subscription) reserveFurther(tell wtproto.Peer, payer *principal) (*leg, *wtproto.Error) {
	tell.Flags |= wtproto.PeerFurther
	l, no := s.session.reserve(tell, s.offerOnly(), payer)
	if no == nil {
		return l, nil
	}
	if no.limit != "" {
		s.session.cfg.Observer.refused(no)
	}
	return nil, no.Error
}

var errNotHere = wtproto.Errorf(wtproto.CodePeerUnreachable, "no such peer is known on the topic")

// clientFor returns the client that s asks for.
func (t *topic) clientFor(s *subscription, id string) (*subscription, error) {
	switch {
	case t.router.cfg.IsolateClients:
		return nil, wtproto.Errorf(wtproto.CodeForbidden, reasonIsolated)
	case !s.meets(wtproto.NetworkClient):
		return nil, wtproto.Errorf(wtproto.CodeForbidden, "other clients need the network \"client\": JOIN did not ask for it, or your token does not allow it")
	case len(id) != wtproto.EndpointSize:
		return nil, errNotHere
	}
	o := t.at(wtproto.EndpointID([]byte(id)))
	switch {
	case o == nil, o == s, o.session.endpoint == s.session.endpoint, !o.meets(wtproto.NetworkClient):
		return nil, errNotHere
	case s.pairs[o.session] == nil && !(s.looksUp() && o.announces()) && !(s.announces() && o.looksUp()):
		return nil, errNotHere
	case !o.welcomesStreams():
		return nil, wtproto.Errorf(wtproto.CodeDeclined, reasonNoStreams)
	case o.session.suspect(t.now):
		return nil, wtproto.Errorf(wtproto.CodePeerUnreachable, "the client does not answer now")
	case o.session.behind():
		return nil, wtproto.Errorf(wtproto.CodeBusy, "the client does not read its control stream fast enough")
	}
	return o, nil
}

// peerFor returns the peer that s asks for: one that the topic knows, or with which s has a
// circuit.
func (t *topic) peerFor(s *subscription, id string) (*peer, error) {
	p, with := t.peers[id], s.peerWith(peerKey(id))
	if p == nil {
		p = with
	}
	switch {
	case p == nil, p.is(s.session.endpoint):
		return nil, errNotHere
	case with == nil && !(p.weFound && s.looksUp()) && !(p.foundUs && s.announces()):
		return nil, errNotHere
	case !s.meets(p.Network):
		return nil, wtproto.Errorf(wtproto.CodeForbidden, "JOIN did not ask for the network of the peer, or your token does not allow it")
	case p.further == nil:
		return nil, wtproto.Errorf(wtproto.CodePeerUnreachable, "the gateway cannot reach the peer now")
	}
	return p, nil
}

// peerWith returns the peer that is called key, if s has it among its pairs or a further circuit
// with it, else nil.
func (s *subscription) peerWith(key peerKey) *peer {
	if pair := s.pairs[key]; pair != nil {
		return pair.peer
	}
	if s.furthers.with[key] > 0 {
		for f := range s.furthers.all {
			if f.peer != nil && f.peer.key == key {
				return f.peer
			}
		}
	}
	return nil
}

// dialFurther dials for f, whose turn it is.
func (t *topic) dialFurther(f *further) {
	reply := make(chan bool, 1)
	t.post(furtherGranted{f, reply})
	select {
	case ok := <-reply:
		if ok {
			began := time.Now()
			stream, err := dialPeer(f.ctx, f.dial, f.near.session.endpoint, t.router.cfg.DialTimeout)
			t.post(furtherDialed{f, stream, time.Since(began), err})
		}
	case <-t.gone:
	}
}

// furtherGranted says that it is the turn of f to dial.
type furtherGranted struct {
	further *further
	reply   chan<- bool // takes one; whether to dial
}

func (e furtherGranted) apply(t *topic) {
	f := e.further
	f.turn = nil
	err := context.Cause(f.ctx)
	if err == nil && t.overdrawn(f.sub) {
		err = wtproto.Errorf(wtproto.CodeRateLimited, "too many dials have failed lately: wait")
	}
	if err != nil {
		t.dials--
		t.settleFurther(f, err)
		e.reply <- false
		return
	}
	t.attempts++
	f.sub.beside++
	e.reply <- true
}

// furtherDialed says that a dial for a further circuit has ended.
type furtherDialed struct {
	further *further
	stream  discovery.Stream
	took    time.Duration
	err     error
}

func (e furtherDialed) apply(t *topic) {
	f := e.further
	t.dials--
	t.attempts--
	f.sub.beside--
	cause := context.Cause(f.ctx) // why it is not wanted any more
	if e.err == nil || cause == nil {
		t.router.cfg.Observer.dialed(f.peer.Network, e.took, codeOf(e.err))
	}
	switch {
	case e.err == nil && cause == nil:
		t.startFurther(f, e.stream, nil)
		return
	case e.err == nil:
		e.stream.Reset(codeOf(cause))
	case cause == nil:
		cause = e.err
		t.charge(f.sub)
		t.noteTarget(e.err)
		t.log(slog.LevelDebug, "further circuit not opened", "network", f.peer.Network, "code", codeOf(cause), "error", cause)
	}
	t.settleFurther(f, cause)
}

// inboundFurther answers a peer that wants a further circuit with one of our clients.
func (t *topic) inboundFurther(s discovery.Sighting, sub *subscription, p *peer) {
	f := &further{sub: sub, peer: p}
	code := wtproto.CodeDeclined
	switch {
	case !sub.welcomesStreams():
	case sub.session.behind():
		code = wtproto.CodeBusy
	case !within(sub.furthers.with[p.key], sub.session.maxPairCircuits):
		code = wtproto.CodeCircuitLimit
		t.router.cfg.Observer.refused(refuse(LimitCircuitsPair, ""))
	default:
		var no *wtproto.Error
		if f.near, no = sub.reserveFurther(t.tell(p, false), sub.session.principal); no != nil {
			code = no.Code
		}
	}
	if f.near == nil {
		s.Inbound.Refuse(code)
		return
	}
	t.beginFurther(f)
	t.startFurther(f, nil, s.Inbound)
}

// beginFurther puts f, whose legs are taken, among those of its sides.
func (t *topic) beginFurther(f *further) {
	for _, s := range f.sides() {
		f.add(s)
	}
}

// startFurther runs the circuit of f, whose far end is stream, inbound, or f's other leg.
func (t *topic) startFurther(f *further, stream discovery.Stream, inbound discovery.Inbound) {
	f.runs = true
	c := &circuit{
		topic: t, of: f, network: wtproto.NetworkClient,
		near: f.near, far: f.far, peer: stream, inbound: inbound,
	}
	if f.peer != nil {
		c.network = f.peer.Network
	}
	f.opening = c
	t.launch(c)
}

func (f *further) circuitOpened(t *topic) {
	f.opened = true
	f.asking, f.ctx, f.cancel, f.opening = nil, nil, nil, nil
	for _, s := range f.sides() {
		s.connected++
		t.touch(s)
	}
}

func (f *further) circuitEnded(t *topic, c *circuit, v verdict) {
	if v == hungUp && f.dial != nil { // a client asked
		t.charge(f.sub)
	}
	t.settleFurther(f, c.over.cause())
}

// settleFurther ends f. cause says why it did not open, if it did not.
func (t *topic) settleFurther(f *further, cause error) {
	f.stop(nil)
	for _, s := range f.sides() {
		if f.opened {
			t.touch(s)
		}
		f.remove(s)
		t.dropAway(s)
	}
	if !f.runs {
		f.near.release()
	}
	if f.asking != nil && !f.near.announced {
		f.asking.answer <- cause
	}
}

// move gives the further circuits of old, which has left, to s, which its session has joined
// since.
func (fs *furthers) move(old, s *subscription) {
	for f := range fs.all {
		f.remove(old)
		if f.sub == old {
			f.sub = s
		} else {
			f.other = s
		}
		f.add(s)
	}
}

// abandonFurthers ends the further circuits of s, which has left, that are not open yet.
func (t *topic) abandonFurthers(s *subscription) {
	for f := range s.furthers.all {
		if s.session.ctx.Err() != nil { // the end of the session has left its topics
			t.giveUp(f, clientGone("the client's session ended", nil))
		} else if f.sub == s {
			t.giveUp(f, wtproto.Errorf(wtproto.CodeLeft, "the topic was left"))
		} else {
			t.giveUp(f, wtproto.Errorf(wtproto.CodePeerGone, "the other client has left the topic"))
		}
	}
}
