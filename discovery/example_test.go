package discovery_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"net"
	"net/netip"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// phonebook is a network of TCP services that a program knows of in some way of its own. A gateway
// gets it with server.Config.
type phonebook struct {
	dialer   *discovery.TCPDialer
	services map[wtproto.Topic][]netip.AddrPort
}

func (p *phonebook) Name() string { return "phonebook" }

// Join tells of each service once. A network that learns of more later goes on to yield them.
func (p *phonebook) Join(ctx context.Context, topic wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		if !yield(discovery.Sighting{}, nil) { // it works, whoever is there
			return
		}
		for _, at := range p.services[topic] {
			dial := func(ctx context.Context, _ wtproto.EndpointID) (discovery.Stream, error) {
				return p.dialer.Dial(ctx, at.String())
			}
			s := discovery.Sighting{
				Peer: discovery.Peer{
					Network: p.Name(),
					ID:      discovery.OpaqueID(p.Name(), topic, at.String()),
					Address: discovery.ServiceAddress(at),
					Service: &discovery.Service{Source: discovery.SourceConfigured, At: []netip.AddrPort{at}},
				},
				Holds:   -1, // for ever
				Dial:    dial,
				Further: dial, // it takes any number of connections
			}
			if !yield(s, nil) {
				return
			}
		}
		<-ctx.Done()
	}
}

func (p *phonebook) Close() error {
	p.dialer.Close()
	return nil
}

// A network is joined for a topic, and yields sightings of peers that can be dialed.
func ExampleNetwork() {
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		log.Fatal(err)
	}
	wowcool := wtproto.TopicFromName("wowcool")
	var network discovery.Network = &phonebook{
		dialer:   discovery.NewTCPDialer(policy, discovery.SourceConfigured),
		services: map[wtproto.Topic][]netip.AddrPort{wowcool: {netip.MustParseAddrPort(service.Addr().String())}},
	}
	defer network.Close()

	for s, err := range network.Join(context.Background(), wowcool, discovery.Native()) {
		if err != nil {
			log.Fatal(err)
		}
		if s.Dial == nil {
			continue
		}
		stream, err := s.Dial(context.Background(), wtproto.EndpointID{})
		if err != nil {
			log.Fatal(err)
		}
		stream.Close()
		fmt.Println("dialed a peer of the network", s.Peer.Network)
		break
	}
	// Output: dialed a peer of the network phonebook
}

// No network dials an address that the policy does not allow.
func ExamplePolicy() {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		log.Fatal(err)
	}
	public := netip.MustParseAddrPort("8.8.8.8:53")
	metadata := netip.MustParseAddrPort("169.254.169.254:80")
	fmt.Println(policy.Check(discovery.SourcePublic, public) == nil, policy.Check(discovery.SourcePublic, metadata) == nil)
	// Output: true false
}
