package p2p

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// remote is another host on a topic. Everything in it that is not constant is guarded by topic.mu.
type remote struct {
	t  *topic  // constant
	id peer.ID // constant

	acquaintance *acquaintance  // what meetings knows of it
	network      string         // how it was found
	addrs        []ma.Multiaddr // where
	found        bool           // we found it
	foundUs      bool           // it found us

	asking    bool      // it was asked to meet
	answers   bool      // because it had guessed that we are on the topic
	noticed   bool      // it knows that we found it
	noticedAt time.Time // when it was told so last
	left      bool      // it was there, and has left
	failed    error     // why it could not be met
	failedAt  time.Time
	full      bool // it had no room, which is no failure
	opened    bool // there were circuits with it

	link      *link // over which it is met, nil if it is not
	metAt     time.Time
	run       wtproto.Run // of its program; what follows is of that run
	gateway   bool
	address   string
	endpoints map[wtproto.EndpointID]bool // as far as is known, met or not
	state     wtproto.EndpointsState      // what it says of them; not for long if it is not met
	asks      *rate.Limiter               // of its MEETs
	tells     *rate.Limiter               // of its ENDPOINTS
	lies      *rate.Limiter               // of endpoints that it told, and does not have

	told      []wtproto.EndpointID // of ours
	toldState wtproto.EndpointsState
	telling   bool // guarded by links.mu; ENDPOINTS waits to be written
}

func (t *topic) newRemote(a *acquaintance) *remote {
	return &remote{
		t: t, id: a.id, acquaintance: a,
		asks: rate.NewLimiter(1, 8), tells: rate.NewLimiter(rate.Every(tellEvery/2), 4*tellBurst),
		lies: rate.NewLimiter(rate.Every(lieEvery), lieBurst),
	}
}

// learnLocked notes how r was found.
func (t *topic) learnLocked(r *remote, p target) {
	a := r.acquaintance
	if p.named || !a.named && !r.found {
		r.network = p.network
	}
	if p.named || len(p.addrs) > 0 && !a.named {
		if slices.ContainsFunc(p.addrs, func(m ma.Multiaddr) bool { return !ma.Contains(r.addrs, m) }) {
			t.meetings.again(r.id) // it failed somewhere else
		}
		r.addrs = p.addrs
	}
	if p.named {
		t.meetings.name(r.id, time.Now())
	}
}

// met reports whether there is a meeting with r.
func (r *remote) met() bool { return r.link != nil }

// needs reports whether some of its clients need a circuit.
func (r *remote) needs() bool { return r.met() && r.state&wtproto.EndpointsNeed != 0 }

// failedLocked notes that r could not be met.
func (t *topic) failedLocked(r *remote, err error) {
	r.asking = false
	code := codeOf(err)
	tell := t.meetings.failed(r.id, code, time.Now())
	switch {
	case r.met(): // it was only told that we found it
		return
	case code == wtproto.CodeLeft, code == wtproto.CodeShutdown:
		r.left = true
	case r.left, r.answers: // as was to be expected
	case !tell:
		r.failed, r.failedAt, r.full = err, time.Now(), true
		t.reportLocked()
	default:
		if text(err) != text(r.failed) {
			level := slog.LevelDebug
			if now := time.Now(); now.Sub(t.complained) >= complainEvery {
				level, t.complained = slog.LevelInfo, now
			}
			t.log.Log(t.ctx, level, "host could not be met", "peer", r.id.String(), "network", r.network, "error", err)
		}
		r.failed, r.failedAt, r.full = err, time.Now(), false
		t.reportLocked()
		return
	}
	t.log.Debug("host was not met", "peer", r.id.String(), "error", err)
}

// renewLocked forgets what was known of r if its program has been started anew.
func (t *topic) renewLocked(l *link, r *remote) {
	if r.run == l.host.Run {
		return
	}
	t.updateLocked(r, wtproto.Endpoints{})
	r.run, r.found, r.foundUs = l.host.Run, false, false
}

// metLocked says that the two have met on l, and what r said of itself.
func (t *topic) metLocked(l *link, r *remote, e wtproto.Endpoints) {
	if r.link != l {
		r.link, r.metAt = l, time.Now()
	}
	if r.network == "" {
		r.network = t.h.networkOf(t.key, r.id)
	}
	r.failed, r.left = nil, false
	r.gateway = l.isGateway()
	r.address = l.s.Conn().RemoteMultiaddr().String()
	t.updateLocked(r, e)
	t.sightLocked(r, t.h.Hold)
	t.reportLocked()
}

// updateLocked replaces r's endpoints. Those that are missing have left, unless r has more than
// it tells of.
func (t *topic) updateLocked(r *remote, e wtproto.Endpoints) {
	before := r.endpoints
	r.state = e.State
	r.endpoints = make(map[wtproto.EndpointID]bool, len(e.Endpoints))
	for _, id := range e.Endpoints {
		if native := id == (wtproto.EndpointID{}); native != r.gateway {
			r.endpoints[id] = true
		}
	}
	for id := range before {
		if !r.endpoints[id] && e.State&wtproto.EndpointsMore == 0 {
			t.news.push(item{sighting: discovery.Sighting{Peer: t.peer(r.id, id, r), Gone: true}})
		}
	}
}

// endedLocked says that the meeting with r is over, and why, which code says.
func (t *topic) endedLocked(r *remote, code wtproto.Code) {
	if t.meetings.ended(r.id, code, time.Now()) {
		t.h.planner.soon(t.errands)
	}
	t.apartLocked(r, code)
	t.pumpLocked()
}

// apartLocked says that r is met no more. Its endpoints are gone only if it has left the topic.
// If one of us let the other go and there were circuits, the endpoints are remembered for longer:
// else these would be opened anew when r is met again.
func (t *topic) apartLocked(r *remote, code wtproto.Code) {
	r.link, r.failed, r.noticed, r.asking = nil, nil, false, false
	if code == wtproto.CodeLeft {
		t.updateLocked(r, wtproto.Endpoints{})
		r.found, r.foundUs, r.left, r.opened = false, false, true, false
	}
	holds := min(lostKept, t.h.Hold)
	if r.opened && code != wtproto.CodePeerGone {
		holds = partedFor
	}
	t.sightLocked(r, holds)
	t.reportLocked()
}

// sightLocked yields all that is known of r's endpoints.
func (t *topic) sightLocked(r *remote, holds time.Duration) {
	for id := range r.endpoints {
		t.sightEndpointLocked(r, id, holds)
	}
}

func (t *topic) sightEndpointLocked(r *remote, id wtproto.EndpointID, holds time.Duration) {
	s := discovery.Sighting{
		Peer: t.peer(r.id, id, r), Holds: holds, More: r.state&wtproto.EndpointsMore != 0, Need: r.needs(),
		Further: t.further(r, r.id, id),
	}
	if host := r.id; r.met() && opens(t.h.Gateway, t.h.id, r.gateway, host) {
		s.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
			t.openedTo(r)
			c, err := t.h.open(ctx, t.key, host, wtproto.Open{From: from, To: id})
			if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote && e.Code == wtproto.CodePeerUnreachable {
				t.lied(r, id)
			}
			return c, err
		}
	}
	if r.found {
		t.news.push(item{sighting: s})
	}
	if r.foundUs {
		s.FoundUs = true
		t.news.push(item{sighting: s})
	}
}

// further returns what opens further circuits to endpoint to of a host, of which r is what is known,
// if anything. That needs no meeting, only the connection that there is. If an endpoint is not there
// any more, its host has not lied: whoever calls this has chosen the endpoint.
func (t *topic) further(r *remote, host peer.ID, to wtproto.EndpointID) func(context.Context, wtproto.EndpointID) (discovery.Stream, error) {
	return func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
		if r != nil {
			t.openedTo(r)
		}
		return t.h.open(ctx, t.key, host, wtproto.Open{From: from, To: to, Flags: wtproto.OpenFurther})
	}
}

// openedTo notes that there are circuits with r.
func (t *topic) openedTo(r *remote) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.opened = true
}

// lied says that r does not have an endpoint. If r says that it has, the endpoint may just have
// left, but not too often.
func (t *topic) lied(r *remote, id wtproto.EndpointID) {
	t.mu.Lock()
	claimed := r.endpoints[id]
	t.mu.Unlock()
	if claimed && !r.lies.Allow() {
		t.h.links.blame(r.id, wtproto.Errorf(wtproto.CodeForbidden, "the endpoints that it tells of are not there"))
	}
}

// opened yields a circuit that another host asks for.
func (t *topic) opened(in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.hosts[in.pair.host]
	if r != nil {
		r.opened = true
	}
	p := t.peer(in.pair.host, in.pair.from, r)
	if p.Address == "" {
		p.Address = in.s.Conn().RemoteMultiaddr().String()
	}
	t.news.push(item{sighting: discovery.Sighting{
		Peer: p, FoundUs: r == nil || r.foundUs, Need: r != nil && r.needs(), Inbound: in,
		Further: t.further(r, in.pair.host, in.pair.from),
	}})
}

// peer returns the name of endpoint e of a host, of which r is what is known, if anything.
func (t *topic) peer(host peer.ID, e wtproto.EndpointID, r *remote) discovery.Peer {
	p := discovery.Peer{ID: string(host)}
	if e != (wtproto.EndpointID{}) {
		p.ID += string(e[:])
		p.Client = true
	}
	if r != nil {
		p.Network, p.Address = r.network, r.address
	}
	if p.Network == "" {
		p.Network = t.h.networkOf(t.key, host)
	}
	return p
}
