package server

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeFleet is a network on which gateways meet, and see each other's clients at once. Of two
// gateways the one that was there first opens the circuits.
type fakeFleet struct {
	mu    sync.Mutex
	hosts []*fakeHost
	apart bool // guarded by mu; they have not met yet

	strangers [2]string // the ids of two that never meet
}

// fakeHost is a gateway on a fakeFleet. It may be on one topic.
type fakeHost struct {
	fleet *fakeFleet
	id    string
	order int
	wake  chan struct{} // takes one

	presence *discovery.Presence  // guarded by fleet.mu; nil while it is on no topic
	news     []discovery.Sighting // guarded by fleet.mu
	known    []wtproto.EndpointID // guarded by fleet.mu; what the others know
	gone     bool                 // guarded by fleet.mu; it answers nobody any more
	dials    int                  // guarded by fleet.mu
}

// gateways returns n gateways that meet, all in one bubble of synctest.
func (f *fakeFleet) gateways(t *testing.T, n int, cfg Config) (all []*bubble) {
	t.Helper()
	for i := range n {
		h := &fakeHost{fleet: f, id: fmt.Sprintf("gateway %03d", i), order: i, wake: make(chan struct{}, 1)}
		f.hosts = append(f.hosts, h)
		cfg.Networks = []discovery.Network{h}
		g := newBubble(t, cfg)
		g.clients = uint16(i) << 10 // each has another secret
		all = append(all, g)
	}
	return all
}

func (h *fakeHost) Name() string { return "fleet" }
func (h *fakeHost) Close() error { return nil }

// push hands h news.
func (h *fakeHost) pushLocked(s ...discovery.Sighting) {
	h.news = append(h.news, s...)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// peerLocked is what others see of an endpoint of h.
func (h *fakeHost) peer(e wtproto.EndpointID) discovery.Peer {
	return discovery.Peer{Network: h.Name(), ID: h.id + string(e[:]), Client: true}
}

// sightingsLocked is what o sees of the endpoints of h.
func (h *fakeHost) sightingsLocked(o *fakeHost, s discovery.State) (all []discovery.Sighting) {
	if h.id != o.id && slices.Contains(h.fleet.strangers[:], h.id) && slices.Contains(h.fleet.strangers[:], o.id) {
		return nil
	}
	for _, e := range h.known {
		if !slices.Contains(s.Endpoints, e) {
			all = append(all, discovery.Sighting{Peer: h.peer(e), Gone: true})
		}
	}
	for _, e := range s.Endpoints {
		seen := discovery.Sighting{Peer: h.peer(e), Holds: -1, Need: s.Need}
		if o.order < h.order {
			seen.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
				return o.dial(ctx, h, from, e)
			}
		}
		all = append(all, seen)
	}
	return all
}

func (h *fakeHost) Join(ctx context.Context, _ wtproto.Topic, p *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		f := h.fleet
		f.mu.Lock()
		h.presence = p
		for _, o := range f.hosts {
			if o != h && o.presence != nil && !f.apart {
				s, _ := o.presence.State()
				h.pushLocked(o.sightingsLocked(h, s)...)
			}
		}
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			h.presence = nil
		}()
		for ctx.Err() == nil {
			state, changed := p.State()
			f.mu.Lock()
			news := h.news
			h.news = nil
			for _, o := range f.hosts {
				if o != h && o.presence != nil && !f.apart {
					o.pushLocked(h.sightingsLocked(o, state)...)
				}
			}
			h.known = state.Endpoints
			f.mu.Unlock()
			for waits := false; !waits; {
				for _, s := range news {
					if !yield(s, nil) {
						return
					}
				}
				select {
				case <-changed:
					waits = true
				case <-ctx.Done():
					return
				case <-h.wake:
				}
				f.mu.Lock()
				news, h.news = h.news, nil
				f.mu.Unlock()
			}
		}
	}
}

// meet lets all gateways meet that were apart.
func (f *fakeFleet) meet() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apart = false
	for _, h := range f.hosts {
		for _, o := range f.hosts {
			if h != o && o.presence != nil {
				s, _ := o.presence.State()
				h.pushLocked(o.sightingsLocked(h, s)...)
			}
		}
	}
}

// dial opens a circuit from an endpoint of h to one of another gateway.
func (h *fakeHost) dial(ctx context.Context, to *fakeHost, from, e wtproto.EndpointID) (discovery.Stream, error) {
	near, far := newStream()
	in := &fleetInbound{to: e, far: fakePeerStream{far}, answer: make(chan wtproto.Code, 1)}
	h.fleet.mu.Lock()
	h.dials++
	gone := to.gone || to.presence == nil
	var need bool
	if h.presence != nil {
		s, _ := h.presence.State()
		need = s.Need
	}
	if !gone {
		to.pushLocked(discovery.Sighting{Peer: h.peer(from), Inbound: in, Need: need})
	}
	h.fleet.mu.Unlock()
	select {
	case code := <-in.answer:
		if code == wtproto.CodeNone {
			return fakePeerStream{near}, nil
		}
		return nil, &wtproto.Error{Code: code, Remote: true}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fleetInbound is a circuit that another gateway asks for.
type fleetInbound struct {
	to     wtproto.EndpointID
	far    discovery.Stream
	answer chan wtproto.Code
}

func (i *fleetInbound) To() wtproto.EndpointID { return i.to }
func (i *fleetInbound) Further() bool          { return false }

func (i *fleetInbound) Accept() (discovery.Stream, error) {
	i.answer <- wtproto.CodeNone
	return i.far, nil
}

func (i *fleetInbound) Refuse(code wtproto.Code) { i.answer <- code }

// dialed returns how many circuits were asked for.
func (f *fakeFleet) dialed() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.hosts {
		n += h.dials
	}
	return n
}

// parts returns the sizes of the parts of the mesh over all gateways, the greatest first.
func parts(all ...*bubble) (sizes []int) {
	synctest.Wait()
	mates := make(map[wtproto.EndpointID][]wtproto.EndpointID)
	var members []wtproto.EndpointID
	for _, g := range all {
		for _, t := range g.router.all() {
			t.inLoop(func() {
				for _, s := range t.subs {
					me := s.session.endpoint
					members = append(members, me)
					eachMateHere(s, func(o *subscription) { mates[me] = append(mates[me], o.session.endpoint) })
					for _, p := range s.pairs {
						if p.state == pairOpen && p.peer != nil {
							far := wtproto.EndpointID([]byte(p.peer.ID[len(p.peer.ID)-wtproto.EndpointSize:]))
							mates[me] = append(mates[me], far)
						}
					}
				}
			})
		}
	}
	for _, part := range partsOf(members, func(e wtproto.EndpointID, yield func(wtproto.EndpointID)) {
		for _, o := range mates[e] {
			yield(o)
		}
	}) {
		sizes = append(sizes, len(part))
	}
	return sizes
}

// asked is an event that calls a test's function in the loop.
type asked struct {
	f    func()
	done chan struct{}
}

func (e asked) apply(*topic) {
	e.f()
	close(e.done)
}

// inLoop calls f in the loop of t.
func (t *topic) inLoop(f func()) {
	e := asked{f, make(chan struct{})}
	t.post(e)
	<-e.done
}

// given returns the ids that circuits of clients had last: they grow with each circuit.
func given(clients []*fakeClient) (ids []wtproto.CircuitID) {
	for _, c := range clients {
		c.session.mu.Lock()
		ids = append(ids, c.session.lastID)
		c.session.mu.Unlock()
	}
	return ids
}
