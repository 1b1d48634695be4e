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
	// Want is how many peers of other hosts the endpoints have places for, those that they are connected with
	// included. Zero means that nobody said.
	Want int
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

// Set changes the state, and tells those who wait for a change unless s is what was there. It keeps s.Endpoints.
func (p *Presence) Set(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.state
	p.state = s
	if old.Announce == s.Announce && old.LookUp == s.LookUp && old.Want == s.Want && slices.Equal(old.Endpoints, s.Endpoints) {
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
