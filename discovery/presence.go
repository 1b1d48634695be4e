package discovery

import (
	"maps"
	"slices"
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// State says what the joining side wants on a topic at one moment.
type State struct {
	Announce  bool                 // be found by others
	LookUp    bool                 // find others
	Endpoints []wtproto.EndpointID // ours; a native peer has one, the zero value. Readers must not change it
	// Want is the number of places that the endpoints have for peers of other hosts, taken places
	// included. Zero means that it is unknown.
	Want int
	// Need says that some of the endpoints, or all, lack a circuit with a client of another
	// gateway without which the mesh of the topic may fall into parts. Other hosts should give it
	// a place if they have one left.
	Need bool
	// Networks are the names of a [Compound] whose peers the endpoints want. Nil means all.
	// Readers must not change it.
	Networks []string
	// EndpointNetworks are the names that an endpoint wants, for each endpoint that does not want
	// all of Networks. A host hears only of endpoints that want the network on which it is met.
	// Readers must not change it.
	EndpointNetworks map[wtproto.EndpointID][]string
	// For are some of the payers of the topic, at most [MaxPayers]. Work for topics waits in turns
	// of payers. If a gateway has no payers, nobody needs the topic now. A native peer counts as
	// one payer. Readers must not change it.
	For []Payer
}

// Wants reports whether the endpoints want peers of the network called name.
func (s State) Wants(name string) bool { return s.Networks == nil || slices.Contains(s.Networks, name) }

// EndpointsFor returns the endpoints that want peers of the network called name.
func (s State) EndpointsFor(name string) []wtproto.EndpointID {
	if len(s.EndpointNetworks) == 0 {
		return s.Endpoints
	}
	return slices.DeleteFunc(slices.Clone(s.Endpoints), func(e wtproto.EndpointID) bool {
		networks, narrow := s.EndpointNetworks[e]
		return narrow && !slices.Contains(networks, name)
	})
}

// MaxPayers is how many payers a [State] may have. It is enough that no single payer can delay a
// topic.
const MaxPayers = 8

// Payer says for whom a network works. It is a path of values that are opaque and comparable with
// ==, the widest first: for example the network of a client's address, the address, and the
// session. Payers with the same first values share the turns of these.
type Payer []any

// SamePayers reports whether a and b are the same payers in the same order.
func SamePayers(a, b []Payer) bool {
	return slices.EqualFunc(a, b, func(x, y Payer) bool { return slices.Equal(x, y) })
}

// Presence is a [State] that changes while a topic is joined. Any number of goroutines may use it.
type Presence struct {
	mu       sync.Mutex
	state    State         // guarded by mu
	changed  chan struct{} // guarded by mu; closed by Set; nil if nobody waits
	watchers []Watcher     // guarded by mu
}

// Watcher is told when a [Presence] changes. It must be comparable with ==.
type Watcher interface {
	// PresenceChanged says that there was a change. It must not block.
	PresenceChanged()
}

// NewPresence returns a Presence in state s.
func NewPresence(s State) *Presence { return &Presence{state: s} }

// Native returns the presence of a native peer that announces and looks up.
func Native() *Presence {
	return NewPresence(State{Announce: true, LookUp: true, Endpoints: []wtproto.EndpointID{{}}})
}

// Set changes the state. If s differs from the old state, it wakes those who wait for a change, and
// tells the watchers. It keeps the slices and the map of s.
func (p *Presence) Set(s State) {
	for _, w := range p.set(s) {
		w.PresenceChanged()
	}
}

// set is Set, and returns the watchers to tell.
func (p *Presence) set(s State) []Watcher {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.state
	p.state = s
	if old.Announce == s.Announce && old.LookUp == s.LookUp && old.Want == s.Want && old.Need == s.Need &&
		(old.Networks == nil) == (s.Networks == nil) && slices.Equal(old.Networks, s.Networks) &&
		slices.Equal(old.Endpoints, s.Endpoints) &&
		maps.EqualFunc(old.EndpointNetworks, s.EndpointNetworks, slices.Equal) && SamePayers(old.For, s.For) {
		return nil
	}
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
	return slices.Clone(p.watchers)
}

// Watch has w told of each change from now on, until Unwatch. A watcher needs no goroutine that
// waits.
func (p *Presence) Watch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers = append(p.watchers, w)
}

// Unwatch ends Watch. A call of w may still be under way.
func (p *Presence) Unwatch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers = slices.DeleteFunc(p.watchers, func(o Watcher) bool { return o == w })
}

// Now returns the state.
func (p *Presence) Now() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// State returns the state, and a channel that is closed when the state changes.
func (p *Presence) State() (State, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.state, p.changed
}
