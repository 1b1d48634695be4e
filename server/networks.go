package server

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is which networks a topic is on: those that some of its subscribers want. A network
// has a goroutine while the topic is on it, unless it is a [discovery.Fixed] or a
// [discovery.Follower].

// networkNames returns the names by which clients ask for networks, without duplicates.
func (c *Config) networkNames() []string {
	var names []string
	for _, n := range c.Networks {
		names = append(names, namesOf(n)...)
	}
	if !c.IsolateClients {
		names = append(names, wtproto.NetworkClient)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// gatewayNetwork is a network of the gateway, as all topics see it. It is constant.
type gatewayNetwork struct {
	name    string
	names   []string // of the networks that its peers may belong to
	network discovery.Network
}

func newGatewayNetwork(n discovery.Network) *gatewayNetwork {
	return &gatewayNetwork{n.Name(), namesOf(n), n}
}

// namesOf returns the names of the networks that the peers of n may belong to.
func namesOf(n discovery.Network) []string {
	if m, ok := n.(discovery.Compound); ok {
		return m.Networks()
	}
	return []string{n.Name()}
}

// onRequest reports whether clients get n only if they ask for it by name.
func onRequest(n discovery.Network) bool {
	r, ok := n.(discovery.OnRequest)
	return ok && r.OnRequest()
}

// namesByDefault returns the names of the networks of clients that ask for none by name: nil if
// that is all of them.
func (c *Config) namesByDefault() []string {
	if !slices.ContainsFunc(c.Networks, onRequest) {
		return nil
	}
	names := []string{wtproto.NetworkClient}
	for _, n := range c.Networks {
		if !onRequest(n) {
			names = append(names, namesOf(n)...)
		}
	}
	return names
}

// choose takes the names out of m that the gateway does not have, or s may not use. It returns an
// error if m names some and none is left.
func (s *session) choose(m *wtproto.Join) *wtproto.Error {
	if len(m.Networks) == 0 {
		return nil
	}
	known := s.cfg.networkNames()
	m.Networks = slices.DeleteFunc(m.Networks, func(name string) bool {
		return !slices.Contains(known, name) || !s.grant.AllowsNetwork(name)
	})
	if len(m.Networks) == 0 {
		return wtproto.Errorf(wtproto.CodeForbidden, "the gateway does not have these networks, or your token does not allow them")
	}
	return nil
}

// meets reports whether s may be connected with peers of a network: it wants that, and its grant
// allows it.
func (s *subscription) meets(network string) bool {
	return (s.networks == nil || slices.Contains(s.networks, network)) && s.session.grant.AllowsNetwork(network)
}

// meetsAll reports whether there is no network that s does not meet.
func (s *subscription) meetsAll() bool { return s.networks == nil && s.session.grant.Networks == nil }

// meetsNative reports whether s may be connected with peers of some network.
func (s *subscription) meetsNative() bool {
	return s.meetsAll() || slices.ContainsFunc(s.topic.networks, func(v *networkView) bool { return v.wantedBy(s) })
}

// wantedBy reports whether s may be connected with some of the peers of v.
func (v *networkView) wantedBy(s *subscription) bool { return slices.ContainsFunc(v.names, s.meets) }

// namesFor returns the names of v with whose peers s may be connected.
func (v *networkView) namesFor(s *subscription) []string {
	return slices.DeleteFunc(slices.Clone(v.names), func(name string) bool { return !s.meets(name) })
}

// viewNetworks prepares the views of the router's networks.
func (t *topic) viewNetworks() {
	for _, n := range t.router.networks {
		v := &networkView{gatewayNetwork: n}
		if _, ok := n.network.(discovery.Fixed); !ok {
			v.presence = discovery.NewPresence(discovery.State{})
		}
		v.leaving.do = func() {
			if v.wanted == 0 && len(t.subs) > 0 {
				v.leave()
			}
		}
		t.networks = append(t.networks, v)
	}
}

// countWishes counts n times what s wants.
func (t *topic) countWishes(s *subscription, n int) {
	for _, v := range t.networks {
		if v.wantedBy(s) {
			v.wanted += n
		}
	}
}

// tune joins the networks that are wanted, and leaves others after the grace time. While nobody is
// on the topic, it stays on those where it was.
func (t *topic) tune() {
	if !t.asked {
		return
	}
	var began []*networkView
	for _, v := range t.networks {
		switch {
		case v.wanted > 0 && v.phase == networkOff:
			v.phase = networkOn
			began = append(began, v)
			fallthrough
		case v.wanted > 0:
			t.agenda.clear(&v.leaving)
		case len(t.subs) == 0:
		case v.phase == networkGone:
			t.reset(v) // whoever wants it next asks anew
		case v.phase == networkOn && v.leaving.place == 0:
			t.agenda.set(&v.leaving, t.now.Add(t.router.cfg.Grace))
		}
	}
	began = slices.DeleteFunc(began, t.know) // what others see is compared with what it knows
	for _, v := range began {
		if f, ok := v.network.(discovery.Follower); ok {
			t.follow(v, f)
			continue
		}
		ctx, cancel := context.WithCancel(t.context())
		v.leave = cancel
		t.joins.Go(func() {
			t.join(ctx, v)
			cancel()
		})
	}
}

// know takes the peers of v, if it is a network that need not be joined for them, and reports
// whether it is.
func (t *topic) know(v *networkView) bool {
	f, ok := v.network.(discovery.Fixed)
	if !ok {
		return false
	}
	v.leave = func() { networkEnded{v, true}.apply(t) }
	sighted{network: v}.apply(t)
	for _, s := range f.Peers(t.key) {
		sighted{network: v, sighting: s}.apply(t)
	}
	return true
}

// networkPhase is whether a topic is on a network.
type networkPhase int

const (
	networkOff  networkPhase = iota // no goroutine
	networkOn                       // its goroutine runs, or is about to end because the topic has left
	networkGone                     // it has given up by itself
)

// join is on one network until ctx ends.
func (t *topic) join(ctx context.Context, v *networkView) {
	for s, err := range v.network.Join(ctx, t.key, v.presence) {
		t.post(sighted{v, s, err})
	}
	t.post(networkEnded{v, ctx.Err() != nil})
}

// follow is on a network that calls back, until v.leave is called.
func (t *topic) follow(v *networkView, f discovery.Follower) {
	left := new(atomic.Bool)
	t.joins.Add(1)
	leave := f.Follow(t.key, v.presence, func(s discovery.Sighting, err error) {
		t.post(sighted{v, s, err})
	}, func() {
		t.post(networkEnded{v, left.Load()})
		t.joins.Done()
	})
	v.leave = func() {
		left.Store(true)
		leave()
	}
}

// networkEnded says that a network has given up, or that the topic has left it.
type networkEnded struct {
	network *networkView
	left    bool // the topic has left it
}

func (e networkEnded) apply(t *topic) {
	v := e.network
	t.changed = true
	if !e.left {
		v.phase, v.state = networkGone, wtproto.NetworkEnded
		return
	}
	t.reset(v)
	t.tune() // somebody may want it again
}

// reset forgets what was known of v and its peers, whose goroutine has ended.
func (t *topic) reset(v *networkView) {
	v.phase, v.state, v.code = networkOff, wtproto.NetworkStarting, wtproto.CodeNone
	v.fault, v.dialFault, v.note = nil, nil, ""
	for _, p := range t.peers {
		if p.from == v {
			t.forget(p)
		}
	}
}

// announce tells the networks what this gateway is on the topic now. In the grace time it stays
// what it was, without endpoints. Nothing of it depends on circuits, so networks hear of joins and
// departures only.
func (t *topic) announce() {
	narrow := slices.ContainsFunc(t.subs, func(s *subscription) bool { return !s.meetsAll() })
	var all discovery.State
	made := false
	for _, v := range t.networks {
		if v.presence == nil {
			continue
		}
		if !made || narrow {
			all, made = t.stateFor(v), true
		}
		v.presence.Set(all)
	}
}

// stateFor returns what this gateway is on the topic for those who want v.
func (t *topic) stateFor(v *networkView) discovery.State {
	state := v.presence.Now()
	state.Endpoints, state.EndpointNetworks, state.For, state.Need = nil, nil, nil, t.lacking > patientSurveys
	if len(t.subs) == 0 {
		return state
	}
	state.Announce, state.LookUp, state.Want, state.Networks = false, false, 0, nil
	here := len(t.subs) - 1
	if t.router.cfg.IsolateClients {
		here = 0
	}
	unwanted := slices.Clone(v.names)
	for _, s := range t.subs {
		if !v.wantedBy(s) {
			continue
		}
		if len(unwanted) > 0 {
			unwanted = slices.DeleteFunc(unwanted, s.meets)
		}
		state.Announce = state.Announce || s.announces()
		state.LookUp = state.LookUp || s.looksUp()
		state.Endpoints = append(state.Endpoints, s.session.endpoint)
		if names := v.namesFor(s); len(names) < len(v.names) {
			if state.EndpointNetworks == nil {
				state.EndpointNetworks = make(map[wtproto.EndpointID][]string)
			}
			state.EndpointNetworks[s.session.endpoint] = names
		}
		if s.announces() || s.looksUp() {
			state.Want += farPlaces(s.maxPeers, here)
		}
		state.For = addPayer(state.For, s.session)
	}
	if len(unwanted) > 0 {
		state.Networks = slices.DeleteFunc(slices.Clone(v.names), func(name string) bool { return slices.Contains(unwanted, name) })
	}
	return state
}
