package dat

import (
	"net/netip"
	"sync"
)

const (
	// maxVoices is how many neighbourhoods have a voice in where we are.
	maxVoices = 32
	// leastVoices is how many must agree at least.
	leastVoices = 4
)

// outside is the address at which nodes of the DHT see us. Behind a NAT nobody else tells. Nodes may
// lie, so each neighbourhood has one voice, and more than half of the last ones must agree. Any
// number of goroutines may use it; the zero value knows nothing.
type outside struct {
	mu     sync.Mutex
	voices []voice // guarded by mu; the oldest first
}

// voice is what the node of a neighbourhood that answered last has said.
type voice struct {
	from netip.Prefix
	seen netip.Addr
}

// note takes in that a node which we have asked, and which is at from, sees us at seen.
func (o *outside) note(from, seen netip.Addr) {
	near, err := from.Prefix(24)
	if err != nil || !seen.Is4() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, v := range o.voices {
		if v.from == near {
			o.voices[i].seen = seen
			return
		}
	}
	if len(o.voices) == maxVoices {
		o.voices = append(o.voices[:0], o.voices[1:]...)
	}
	o.voices = append(o.voices, voice{near, seen})
}

// is reports whether we are at a.
func (o *outside) is(a netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, v := range o.voices {
		if v.seen == a {
			n++
		}
	}
	return n >= leastVoices && 2*n > len(o.voices)
}
