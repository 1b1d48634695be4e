package dat

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The names of the networks.
const (
	nameDat   = "dat"
	nameSwarm = "discovery-swarm"
)

// network is one of the two networks of a host.
type network struct {
	host      *Host
	name      string
	handshake bool // connections begin with the handshake of discovery-swarm
}

var (
	_ discovery.Network   = (*network)(nil)
	_ discovery.OnRequest = (*network)(nil)
)

// Name returns "dat" or "discovery-swarm".
func (n *network) Name() string { return n.name }

// OnRequest returns true: strangers see the ids of topics.
func (n *network) OnRequest() bool { return true }

// Close closes the host, and so the other network.
func (n *network) Close() error { return n.host.Close() }

// member is one of our endpoints on a topic of a network.
type member struct {
	network  *network
	topic    wtproto.Topic
	endpoint wtproto.EndpointID
}

// peer returns the peer at a.
func (n *network) peer(topic wtproto.Topic, a address) discovery.Peer {
	return discovery.Peer{
		Network: n.name, ID: discovery.OpaqueID(n.name, topic, fmt.Sprintf("%v/%s/%v", a.source, a.through, a.at)),
		Address: discovery.ServiceAddress(a.at),
		Service: &discovery.Service{Source: a.source, At: []netip.AddrPort{a.at}},
	}
}

// sighting returns the sighting of the peer at a.
func (n *network) sighting(topic wtproto.Topic, a address) discovery.Sighting {
	dial := func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
		return n.dial(ctx, member{n, topic, from}, a)
	}
	s := discovery.Sighting{Peer: n.peer(topic, a), Holds: holds, Dial: dial}
	if !n.handshake { // a second connection with the same two ids would be dropped
		s.Further = dial
	}
	return s
}

// mayDial returns an error if a stranger may not have us dial the port of a: raw bytes of clients
// go there, and on most ports below 1024 are services that are not peers.
func mayDial(a address) error {
	if p := a.at.Port(); p < 1024 && p != 80 && p != 443 {
		return wtproto.Errorf(wtproto.CodeForbidden, "%s has port %d: below 1024 only 80 and 443 are dialed", a.at, p)
	}
	return nil
}
