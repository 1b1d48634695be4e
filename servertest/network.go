package servertest

import (
	"context"
	"crypto/rand"
	"iter"
	"net/netip"
	"sync"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// networkName is what clients see as the network of the peers here.
const networkName = "test"

// network is a [discovery.Network] whose peers the test adds.
type network struct {
	dialer *discovery.TCPDialer // constant

	mu      sync.Mutex
	news    map[wtproto.Topic][]discovery.Sighting // guarded by mu; all that was seen, for those who join later
	changed chan struct{}                          // guarded by mu; closed when there is more
	peers   []*Peer                                // guarded by mu
}

func newNetwork() *network {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		panic("servertest: " + err.Error())
	}
	return &network{
		dialer:  discovery.NewTCPDialer(policy, discovery.SourceConfigured),
		news:    make(map[wtproto.Topic][]discovery.Sighting),
		changed: make(chan struct{}),
	}
}

func (n *network) Name() string { return networkName }

// Join yields what was seen before, and what is seen later.
func (n *network) Join(ctx context.Context, topic wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		if !yield(discovery.Sighting{}, nil) { // it works, with peers and without
			return
		}
		for next := 0; ; {
			n.mu.Lock()
			news, changed := n.news[topic][next:], n.changed
			n.mu.Unlock()
			for _, s := range news {
				if s.Inbound != nil && !s.Inbound.(*inbound).take() {
					continue // another one has answered it
				}
				if ctx.Err() != nil || !yield(s, nil) {
					return
				}
			}
			next += len(news)
			if len(news) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Close ends the peers.
func (n *network) Close() error {
	n.mu.Lock()
	peers := n.peers
	n.mu.Unlock()
	for _, p := range peers {
		p.Close()
	}
	n.dialer.Close()
	return nil
}

// see adds what was seen.
func (n *network) see(topic wtproto.Topic, s discovery.Sighting) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.news[topic] = append(n.news[topic], s)
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) addTCP(topic wtproto.Topic, address string) {
	at := netip.MustParseAddrPort(address)
	dial := func(ctx context.Context, _ wtproto.EndpointID) (discovery.Stream, error) {
		return n.dialer.Dial(ctx, address)
	}
	n.see(topic, discovery.Sighting{
		Peer: discovery.Peer{
			Network: networkName,
			ID:      discovery.OpaqueID(networkName, topic, address),
			Address: discovery.ServiceAddress(at),
			Service: &discovery.Service{Source: discovery.SourceConfigured, At: []netip.AddrPort{at}},
		},
		Holds: -1, Dial: dial, Further: dial,
	})
}

func (n *network) listen(topic wtproto.Topic) *Peer {
	id := make([]byte, 16)
	rand.Read(id)
	p := &Peer{network: n, topic: topic, id: id, backlog: make(chan *Conn, backlog), done: make(chan struct{})}
	n.mu.Lock()
	n.peers = append(n.peers, p)
	n.mu.Unlock()
	n.see(topic, discovery.Sighting{Peer: p.describe(), Holds: -1, Dial: p.dialed, Further: p.dialed})
	return p
}
