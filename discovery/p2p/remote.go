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

// remote is another host on a topic, with its state and its meeting. topic.mu guards all fields
// that are not constant.
type remote struct {
	t  *topic  // constant
	id peer.ID // constant
	contact

	acquaintance *acquaintance  // its entry in meetings
	network      string         // how it was found
	addrs        []ma.Multiaddr // where it was found
	link         *link          // of the meeting, nil without one
	address      string

	meetLimit      *rate.Limiter // of its MEETs
	endpointsLimit *rate.Limiter // of its ENDPOINTS
	lieLimit       *rate.Limiter // of endpoints that it has listed, and does not have

	advertised      []wtproto.EndpointID // our endpoints in the last list for it
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
		if r.network = p.network; r.meeting {
			t.h.links.advertise(r) // other endpoints may want this network
		}
	}
	if p.named || len(p.addrs) > 0 && !a.named {
		if slices.ContainsFunc(p.addrs, func(m ma.Multiaddr) bool { return !ma.Contains(r.addrs, m) }) {
			t.meetings.again(r.id) // it failed at other addresses
		}
		r.addrs = p.addrs
	}
	if p.named {
		t.meetings.name(r.id, time.Now())
	}
}

// failedLocked notes that we could not meet r.
func (t *topic) failedLocked(r *remote, err error) {
	code, now := codeOf(err), time.Now()
	quiet := !t.meetings.failed(r.id, code, now)
	switch r.failed(err, code, quiet, now) {
	case failureIgnored:
	case failureFull:
		t.reportLocked()
		fallthrough
	case failureExpected:
		t.log(slog.LevelDebug, "cannot meet a host, as expected", "peer", r.id.String(), "error", err)
	case failureNew:
		level := slog.LevelDebug
		if now.Sub(t.complained) >= complainEvery {
			level, t.complained = slog.LevelInfo, now
		}
		t.log(level, "cannot meet a host", "peer", r.id.String(), "network", r.network, "error", err)
		fallthrough
	case failureRepeated:
		t.reportLocked()
	}
}

// attachLocked notes that the meeting with r, which begins or goes on, uses l.
func (t *topic) attachLocked(l *link, r *remote) {
	t.applyLocked(r, r.renewed(l.host.Run, l.isGateway()))
	r.link = l
	if t.again == nil && t.ctx.Err() == nil {
		t.again = time.AfterFunc(t.h.Hold/2, t.repeat)
	}
	if r.network == "" {
		r.network = t.h.networkOf(t.key, r.id)
	}
	r.address = l.s.Conn().RemoteMultiaddr().String()
}

// endedLocked notes that the meeting with r is over because of code.
func (t *topic) endedLocked(r *remote, code wtproto.Code) {
	if t.meetings.ended(r.id, code, time.Now()) {
		t.h.planner.soon(t.errands)
	}
	t.apartLocked(r, code)
	t.pumpLocked()
}

// apartLocked notes that r is not met any more.
func (t *topic) apartLocked(r *remote, code wtproto.Code) {
	r.link = nil
	t.applyLocked(r, r.parted(code, t.h.Hold))
}

// applyLocked applies the effects of an event of r.
func (t *topic) applyLocked(r *remote, do effects) {
	for _, id := range do.gone {
		t.push(item{sighting: discovery.Sighting{Peer: t.peer(r.id, id, r), Gone: true}})
	}
	for _, id := range do.seen {
		t.sightEndpointLocked(r, id, do.holds)
	}
	if do.report {
		t.reportLocked()
	}
}

// sightLocked yields all endpoints of r.
func (t *topic) sightLocked(r *remote, holds time.Duration) {
	t.applyLocked(r, effects{seen: r.all(), holds: holds})
}

// sightEndpointLocked yields an endpoint of r.
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
		t.push(item{sighting: s})
	}
	if r.foundUs {
		s.PeerFoundUs = true
		t.push(item{sighting: s})
	}
}

// further returns a function that opens further circuits with endpoint to of a host. r is its
// remote, or nil. A further circuit needs no meeting, only a connection. If the endpoint is not
// there, that is not a breach of the host, because our caller has chosen the endpoint.
func (t *topic) further(r *remote, host peer.ID, to wtproto.EndpointID) func(context.Context, wtproto.EndpointID) (discovery.Stream, error) {
	return func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
		if r != nil {
			t.openedTo(r)
		}
		return t.h.open(ctx, t.key, host, wtproto.Open{From: from, To: to, Flags: wtproto.OpenFurther})
	}
}

// openedTo notes that there was a circuit with r.
func (t *topic) openedTo(r *remote) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.circuitOpened()
}

// lied notes that r refused an endpoint that it does not have. If r had listed it, the endpoint
// may just have left, but that must not happen too often.
func (t *topic) lied(r *remote, id wtproto.EndpointID) {
	t.mu.Lock()
	claimed := r.endpoints[id]
	t.mu.Unlock()
	if claimed && !r.lieLimit.Allow() {
		t.h.links.blame(r.id, wtproto.Errorf(wtproto.CodeForbidden, "it advertises endpoints that it does not have"))
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
	t.push(item{sighting: discovery.Sighting{
		Peer: p, PeerFoundUs: r == nil || r.foundUs, Need: r != nil && r.needs(), Inbound: in,
		Further: t.further(r, in.pair.host, in.pair.from),
	}})
}

// peer returns endpoint e of a host as a peer. r is the host's remote, or nil.
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
