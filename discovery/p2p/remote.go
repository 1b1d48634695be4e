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

// remote is another host on a topic: what is known of it, and what is between the two. Everything
// in it that is not constant is guarded by topic.mu.
type remote struct {
	t  *topic  // constant
	id peer.ID // constant
	contact

	acquaintance *acquaintance  // what meetings knows of it
	network      string         // how it was found
	addrs        []ma.Multiaddr // where
	link         *link          // of the meeting, nil without one
	address      string

	meetLimit      *rate.Limiter // of its MEETs
	endpointsLimit *rate.Limiter // of its ENDPOINTS
	lieLimit       *rate.Limiter // of endpoints that it told, and does not have

	advertised      []wtproto.EndpointID // of ours
	advertisedState wtproto.EndpointsState
	advertising     bool // guarded by links.mu; ENDPOINTS waits to be written
}

func (t *topic) newRemote(a *acquaintance) *remote {
	return &remote{
		t: t, id: a.id, acquaintance: a,
		meetLimit: rate.NewLimiter(1, 8), endpointsLimit: rate.NewLimiter(rate.Every(advertiseEvery/2), 4*advertiseBurst),
		lieLimit: rate.NewLimiter(rate.Every(lieEvery), lieBurst),
	}
}

// learnLocked notes how r was found.
func (t *topic) learnLocked(r *remote, p target) {
	a := r.acquaintance
	if p.named || !a.named && !r.weFound {
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

// failedLocked notes that r could not be met.
func (t *topic) failedLocked(r *remote, err error) {
	code, now := codeOf(err), time.Now()
	quiet := !t.meetings.failed(r.id, code, now)
	switch r.failed(err, code, quiet, now) {
	case failureIgnored:
	case failureFull:
		t.reportLocked()
		fallthrough
	case failureExpected:
		t.log.Debug("host was not met", "peer", r.id.String(), "error", err)
	case failureNew:
		level := slog.LevelDebug
		if now.Sub(t.complained) >= complainEvery {
			level, t.complained = slog.LevelInfo, now
		}
		t.log.Log(t.ctx, level, "host could not be met", "peer", r.id.String(), "network", r.network, "error", err)
		fallthrough
	case failureRepeated:
		t.reportLocked()
	}
}

// attachLocked notes that the meeting with r, which is about to begin or goes on, is over l.
func (t *topic) attachLocked(l *link, r *remote) {
	t.applyLocked(r, r.renewed(l.host.Run, l.isGateway()))
	r.link = l
	if r.network == "" {
		r.network = t.h.networkOf(t.key, r.id)
	}
	r.address = l.s.Conn().RemoteMultiaddr().String()
}

// endedLocked says that the meeting with r is over, and why, which code says.
func (t *topic) endedLocked(r *remote, code wtproto.Code) {
	if t.meetings.ended(r.id, code, time.Now()) {
		t.h.planner.soon(t.errands)
	}
	t.apartLocked(r, code)
	t.pumpLocked()
}

// apartLocked says that r is met no more.
func (t *topic) apartLocked(r *remote, code wtproto.Code) {
	r.link = nil
	t.applyLocked(r, r.parted(code, t.h.Hold))
}

// applyLocked does what an event of r leads to.
func (t *topic) applyLocked(r *remote, do effects) {
	for _, id := range do.gone {
		t.news.push(item{sighting: discovery.Sighting{Peer: t.peer(r.id, id, r), Gone: true}})
	}
	for _, id := range do.seen {
		t.sightEndpointLocked(r, id, do.holds)
	}
	if do.report {
		t.reportLocked()
	}
}

// sightLocked yields all that is known of r's endpoints.
func (t *topic) sightLocked(r *remote, holds time.Duration) {
	t.applyLocked(r, effects{seen: r.all(), holds: holds})
}

// sightEndpointLocked yields what is known of an endpoint of r.
func (t *topic) sightEndpointLocked(r *remote, id wtproto.EndpointID, holds time.Duration) {
	s := discovery.Sighting{
		Peer: t.peer(r.id, id, r), Holds: holds, More: r.state&wtproto.EndpointsMore != 0, Need: r.needs(),
		Further: t.further(r, r.id, id),
	}
	if host := r.id; r.meeting && opens(t.h.Gateway, t.h.id, r.gateway, host) {
		s.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
			t.openedTo(r)
			c, err := t.h.open(ctx, t.key, host, wtproto.Open{From: from, To: id})
			if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote && e.Code == wtproto.CodePeerUnreachable {
				t.lied(r, id)
			}
			return c, err
		}
	}
	if r.weFound {
		t.news.push(item{sighting: s})
	}
	if r.foundUs {
		s.FoundUs = true
		t.news.push(item{sighting: s})
	}
}

// further returns what opens further circuits to endpoint to of a host, of which r is what is
// known, if anything. That needs no meeting, only the connection that there is. If an endpoint is
// not there any more, its host has not lied: whoever calls this has chosen the endpoint.
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
	r.circuitOpened()
}

// lied says that r does not have an endpoint. If r says that it has, the endpoint may just have
// left, but not too often.
func (t *topic) lied(r *remote, id wtproto.EndpointID) {
	t.mu.Lock()
	claimed := r.endpoints[id]
	t.mu.Unlock()
	if claimed && !r.lieLimit.Allow() {
		t.h.links.blame(r.id, wtproto.Errorf(wtproto.CodeForbidden, "the endpoints that it tells of are not there"))
	}
}

// opened yields a circuit that another host asks for.
func (t *topic) opened(in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.hosts[in.pair.host]
	if r != nil {
		r.circuitOpened()
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
