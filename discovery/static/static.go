package static

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// name is the name of the network.
const name = "static"

// Config sets up a [Network].
type Config struct {
	// Peers are the peers of all topics. Duplicates count once.
	Peers []Peer
	// Policy decides about each dial. It refuses only metadata services and our own listeners,
	// because the operator chose the addresses. Required.
	Policy *discovery.Policy
}

// Network is a [discovery.Network] of configured peers, which never leave.
type Network struct {
	peers  map[wtproto.Topic][]string // addresses; constant after New
	dialer *discovery.TCPDialer
}

var (
	_ discovery.Network = (*Network)(nil)
	_ discovery.Fixed   = (*Network)(nil)
)

// New returns the network that cfg describes, or every mistake in cfg.
func New(cfg Config) (*Network, error) {
	n := &Network{peers: make(map[wtproto.Topic][]string)}
	var errs []error
	if cfg.Policy == nil {
		errs = append(errs, errors.New("static: config: no policy"))
	}
	for _, p := range cfg.Peers {
		address, err := checkAddress(p.Address)
		if err != nil {
			errs = append(errs, fmt.Errorf("static: config: peer %s: %w", p, err))
		}
		n.peers[p.Topic] = append(n.peers[p.Topic], address)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	n.dialer = discovery.NewTCPDialer(cfg.Policy, discovery.SourceConfigured)
	return n, nil
}

// Name returns "static".
func (n *Network) Name() string { return name }

// Peers returns the configured peers of topic.
func (n *Network) Peers(topic wtproto.Topic) []discovery.Sighting {
	var all []discovery.Sighting
	for _, address := range n.peers[topic] {
		all = append(all, n.sighting(topic, address))
	}
	return all
}

// Join yields each configured peer of topic once and then waits.
func (n *Network) Join(ctx context.Context, topic wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		if !yield(discovery.Sighting{}, nil) { // the network works, with or without peers
			return
		}
		for _, s := range n.Peers(topic) {
			if ctx.Err() != nil || !yield(s, nil) {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-n.dialer.Done():
		}
	}
}

func (n *Network) sighting(topic wtproto.Topic, address string) discovery.Sighting {
	service := &discovery.Service{Source: discovery.SourceConfigured}
	if at, err := netip.ParseAddrPort(address); err == nil { // else it is a name
		service.At = []netip.AddrPort{at}
	}
	dial := func(ctx context.Context, _ wtproto.EndpointID) (discovery.Stream, error) {
		return n.dialer.Dial(ctx, address)
	}
	return discovery.Sighting{
		Peer: discovery.Peer{
			Network: name, ID: discovery.OpaqueID(name, topic, address), Address: scheme + address, Service: service,
		},
		Holds: -1, Dial: dial, Further: dial,
	}
}

// Close ends all joins, dials and circuits.
func (n *Network) Close() error {
	n.dialer.Close()
	return nil
}
