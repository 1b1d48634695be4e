package server

import (
	"context"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The numbers of the model are those of discovery/p2p.
const (
	simTold           = wtproto.MaxEndpoints // endpoints that a host tells of
	simLeast, simMost = 8, 64                // meetings that a host wants
	simOwn            = 4                    // of these, those that it chose
	simMore           = 8                    // meetings beyond them that others get
	simAsking         = 16                   // hosts that are asked at once
	simFound          = 256                  // hosts that a look-up brings
	simTellEvery      = 500 * time.Millisecond
	simLookUpMin      = 500 * time.Millisecond
	simLookUpMax      = time.Minute      // while hosts are lacking
	simLookUpIdle     = 10 * time.Minute // else
	simForget         = time.Minute      // endpoints of a host whose connection was lost
	simGiveUp         = 5 * time.Second  // on a host that says nothing
)

// simNet is a network of hosts that find each other as those of discovery/p2p do, without
// packets. Messages take up to 50 ms, an announcement or a look-up up to 3 s.
type simNet struct {
	mu        sync.Mutex
	rand      *rand.Rand                   // guarded by mu
	announced map[wtproto.Topic][]*simHost // guarded by mu; what the DHT knows, the dead too
	sent      map[string]int               // guarded by mu; messages by kind
	arrived   map[[2]*simHost]time.Time    // guarded by mu; when the last message from one to the other arrives
	closed    bool                         // guarded by mu
}

// simLife is whether a host answers.
type simLife int

const (
	simAlive    simLife = iota
	simKilled           // its machine refuses connections, and its connections were reset
	simVanished         // its machine says nothing
)

// simHost is a gateway's host. All that is not constant is guarded by net.mu.
type simHost struct {
	net     *simNet // constant
	id      string  // constant
	life    simLife
	topics  map[wtproto.Topic]*simTopic
	streams map[simPair]*simStream
}

// simPair is whom a circuit connects, as the host of near sees it.
type simPair struct {
	topic     wtproto.Topic
	near, far wtproto.EndpointID
	host      *simHost
}

func newSimNet(seed uint64) *simNet {
	return &simNet{rand: rand.New(rand.NewPCG(seed, 0)), announced: make(map[wtproto.Topic][]*simHost), sent: make(map[string]int), arrived: make(map[[2]*simHost]time.Time)}
}

// host returns a new host.
func (n *simNet) host() *simHost {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := make([]byte, 16)
	for i := range id {
		id[i] = byte(n.rand.Uint32())
	}
	return &simHost{net: n, id: string(id), topics: make(map[wtproto.Topic]*simTopic), streams: make(map[simPair]*simStream)}
}

// between returns a duration between two.
func (n *simNet) between(a, b time.Duration) time.Duration {
	return a + time.Duration(n.rand.Int64N(int64(b-a)))
}

// after calls f with mu held.
func (n *simNet) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if !n.closed {
			f()
		}
	})
}

// send has a message of h do f where it arrives, if h can send any. Messages arrive in order.
func (n *simNet) send(h, to *simHost, kind string, f func()) {
	if h.life != simAlive {
		return
	}
	n.sent[kind]++
	at, way := time.Now().Add(n.between(time.Millisecond, 50*time.Millisecond)), [2]*simHost{h, to}
	if last := n.arrived[way]; !at.After(last) {
		at = last.Add(1)
	}
	n.arrived[way] = at
	n.after(time.Until(at), f)
}

func (h *simHost) Name() string { return "model" }
func (h *simHost) Close() error { return nil }

func (h *simHost) Join(ctx context.Context, key wtproto.Topic, p *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		t := h.enter(key, p)
		defer t.leave()
		if !yield(discovery.Sighting{}, nil) {
			return
		}
		for ctx.Err() == nil {
			state, changed := p.State()
			t.changed(state)
			for same := true; same; {
				for _, s := range t.pull() {
					if !yield(s, nil) {
						return
					}
				}
				select {
				case <-t.wake:
				case <-changed:
					same = false
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// die ends h without a word to anybody. The others learn of it at once if its machine refuses
// their packets, or after half a minute.
func (h *simHost) die(life simLife, hosts []*simHost) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	h.life = life
	notice := 10 * time.Millisecond
	if life == simVanished {
		notice = 35 * time.Second
	}
	n.after(notice, func() {
		for p, s := range h.streams {
			delete(h.streams, p)
			delete(s.other.host.streams, s.other.pair)
			s.other.end(&wtproto.Error{Code: wtproto.CodePeerGone})
		}
		for _, o := range hosts {
			for _, t := range o.topics {
				if c := t.contacts[h]; c != nil {
					t.lost(c)
				}
			}
		}
	})
}
