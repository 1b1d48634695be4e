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
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// remote is another host on a topic. Everything in it that is not constant is guarded by topic.mu.
type remote struct {
	t  *topic  // constant
	id peer.ID // constant

	network string         // how it was found
	addrs   []ma.Multiaddr // where
	named   bool           // addrs are the operator's
	guess   bool           // nobody has said that it is on the topic
	found   bool           // we found it
	foundUs bool           // it found us
	seen    time.Time      // when it was found, or met, last

	queued   bool // it is to be met
	asking   bool // and was asked to
	answers  bool // because it had guessed that we are on the topic
	noticed  bool // it knows that we found it
	retry    backoff.Backoff
	next     time.Time // it is not tried again before
	left     bool      // it was there, and has left
	failed   error     // why it could not be met
	failedAt time.Time

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

func (t *topic) newRemote(id peer.ID) *remote {
	return &remote{
		t: t, id: id, guess: true, seen: time.Now(), retry: backoff.New(t.h.RetryMin, t.h.RetryMax),
		asks: rate.NewLimiter(1, 8), tells: rate.NewLimiter(rate.Every(tellEvery/2), 4*tellBurst),
		lies: rate.NewLimiter(rate.Every(lieEvery), lieBurst),
	}
}

// learn notes how r was found.
func (r *remote) learn(p target) {
	r.seen = time.Now()
	r.guess = r.guess && p.guess
	if p.named || !r.named && !r.found {
		r.network = p.network
	}
	if p.named || len(p.addrs) > 0 && !r.named {
		if slices.ContainsFunc(p.addrs, func(m ma.Multiaddr) bool { return !ma.Contains(r.addrs, m) }) {
			r.next = time.Time{} // it failed somewhere else
		}
		r.addrs, r.named = p.addrs, p.named
	}
}

// met reports whether there is a meeting with r.
func (r *remote) met() bool { return r.link != nil }

// needs reports whether some of its clients need a circuit.
func (r *remote) needs() bool { return r.met() && r.state&wtproto.EndpointsNeed != 0 }

// idle reports whether nothing is going on with r.
func (r *remote) idle() bool { return r.link == nil && !r.queued }

// askLocked asks r to meet. Then answered or failed is called.
func (t *topic) askLocked(r *remote) {
	r.asking = true
	t.meets++
	var flags wtproto.MeetFlags
	if r.answers {
		flags = wtproto.MeetGuessed
	}
	t.h.links.ask(r, target{id: r.id, addrs: r.addrs, named: r.named}, flags)
}

// askedLocked says that r has answered, or could not.
func (t *topic) askedLocked(r *remote) {
	if r.asking {
		t.meets--
	}
	r.asking, r.queued = false, false
}

// failedLocked notes that r could not be met.
func (t *topic) failedLocked(r *remote, err error) {
	delay := r.retry.Next()
	if r.guess { // it may join any time, and would not be found
		delay = min(delay, t.h.LookUpEvery)
	}
	r.next = time.Now().Add(delay)
	code := codeOf(err)
	if code == wtproto.CodeLeft || code == wtproto.CodeShutdown {
		r.left = true
	}
	switch {
	case r.guess || r.left || r.met(): // as was to be expected, or not important
		t.log.Debug("host is not on the topic", "peer", r.id.String(), "error", err)
	default:
		if text(err) != text(r.failed) {
			level := slog.LevelDebug
			if now := time.Now(); now.Sub(t.complained) >= complainEvery {
				level, t.complained = slog.LevelInfo, now
			}
			t.log.Log(t.ctx, level, "host could not be met", "peer", r.id.String(), "network", r.network, "error", err)
		}
		r.failed, r.failedAt = err, time.Now()
		t.reportLocked()
	}
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
	r.seen, r.failed, r.left = time.Now(), nil, false
	r.gateway = l.host.Flags&wtproto.HostGateway != 0
	r.address = l.s.Conn().RemoteMultiaddr().String()
	t.updateLocked(r, e)
	t.sightLocked(r, t.h.Hold)
	t.reportLocked()
}

// updateLocked replaces r's endpoints. Those that are missing have left, unless r has more than it tells of.
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

// endedLocked says that the meeting with r is over. Its endpoints are gone only if it has left the topic.
func (t *topic) endedLocked(r *remote, left bool) {
	if time.Since(r.metAt) >= settled {
		r.retry.Reset()
		t.h.planner.soon(t.errands)
	}
	r.next = time.Now().Add(r.retry.Next())
	r.link, r.seen, r.failed, r.noticed = nil, time.Now(), nil, false
	if left {
		t.updateLocked(r, wtproto.Endpoints{})
		r.found, r.foundUs, r.left = false, false, true
	}
	t.reportLocked()
}

// sightLocked yields all that is known of r's endpoints.
func (t *topic) sightLocked(r *remote, holds time.Duration) {
	for id := range r.endpoints {
		t.sightEndpointLocked(r, id, holds)
	}
}

func (t *topic) sightEndpointLocked(r *remote, id wtproto.EndpointID, holds time.Duration) {
	s := discovery.Sighting{Peer: t.peer(r.id, id, r), Holds: holds, More: r.state&wtproto.EndpointsMore != 0, Need: r.needs()}
	if host := r.id; opens(t.h.Gateway, t.h.id, r.gateway, host) {
		s.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
			c, err := t.h.open(ctx, t.key, host, from, id)
			if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote && e.Code == wtproto.CodePeerUnreachable {
				t.lied(r)
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

// lied says that r does not have an endpoint that it told of. It may just have left, but not too often.
func (t *topic) lied(r *remote) {
	if !r.lies.Allow() {
		t.h.links.blame(r.id, wtproto.Errorf(wtproto.CodeForbidden, "the endpoints that it tells of are not there"))
	}
}

// opened yields a circuit that another host asks for.
func (t *topic) opened(in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.hosts[in.pair.host]
	p := t.peer(in.pair.host, in.pair.from, r)
	if p.Address == "" {
		p.Address = in.s.Conn().RemoteMultiaddr().String()
	}
	t.news.push(item{sighting: discovery.Sighting{Peer: p, FoundUs: r == nil || r.foundUs, Need: r != nil && r.needs(), Inbound: in}})
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
