package discovery

import (
	"slices"
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// State is what the joining side is on a topic at one moment.
type State struct {
	Announce  bool                 // be found by others
	LookUp    bool                 // find others
	Endpoints []wtproto.EndpointID // ours; a native peer has one, the zero value. Not to be changed by those who read it
	// Want is how many peers of other hosts the endpoints have places for, those that they are
	// connected with included. Zero means that nobody said.
	Want int
	// Need says that some of the endpoints, or all, lack a circuit with a client of another
	// gateway without which the mesh of the topic may fall into parts. Who has a place left for
	// that should give it.
	Need bool
	// Networks are those names of a [Compound] by which the endpoints want peers. Nil means all.
	// Not to be changed by those who read it.
	Networks []string
	// For are some of those for whose sake we are on the topic, at most [MaxPayers]. They take
	// turns where work for topics waits. A gateway without them is there for nobody's sake just
	// now; a native peer counts as one. Not to be changed by those who read it.
	For []Payer
}

// Wants reports whether peers are wanted that count as those of the network called name.
func (s State) Wants(name string) bool { return s.Networks == nil || slices.Contains(s.Networks, name) }

// MaxPayers is how many payers a [State] may have: enough that a topic is not held up by one of
// them.
const MaxPayers = 8

// Payer is for whose sake work is done: a path of things that are opaque and can be compared with
// ==, the widest first, such as the network that a client's address is in, the address, and the
// session. Those who share the first ones share their turns.
type Payer []any

// SamePayers reports whether a and b are the same payers in the same order.
func SamePayers(a, b []Payer) bool {
	return slices.EqualFunc(a, b, func(x, y Payer) bool { return slices.Equal(x, y) })
}

// Presence is a [State] that changes while a topic is joined. Any number of goroutines may use it.
type Presence struct {
	mu      sync.Mutex
	state   State         // guarded by mu
	changed chan struct{} // guarded by mu; closed by Set
}

// NewPresence returns a Presence in state s.
func NewPresence(s State) *Presence {
	return &Presence{state: s, changed: make(chan struct{})}
}

// Native returns the presence of a native peer that announces and looks up.
func Native() *Presence {
	return NewPresence(State{Announce: true, LookUp: true, Endpoints: []wtproto.EndpointID{{}}})
}

// Set changes the state, and tells those who wait for a change unless s is what was there. It
// keeps s.Endpoints and s.For.
func (p *Presence) Set(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.state
	p.state = s
	if old.Announce == s.Announce && old.LookUp == s.LookUp && old.Want == s.Want && old.Need == s.Need &&
		(old.Networks == nil) == (s.Networks == nil) && slices.Equal(old.Networks, s.Networks) &&
		slices.Equal(old.Endpoints, s.Endpoints) && SamePayers(old.For, s.For) {
		return
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// State returns the state, and a channel that is closed once it is another.
func (p *Presence) State() (State, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}
