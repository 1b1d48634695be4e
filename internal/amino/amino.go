// Package amino plays the public DHT for tests. It runs real servers of the DHT at the addresses
// of the machine, which is a network namespace of its own, so that nothing else is reachable.
package amino

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// patience is how long a server may take to know another one.
const patience = 3 * time.Minute

// Addrs returns n public-looking IPv4 addresses. Each is in another /16, because a routing table
// takes few of the same one.
func Addrs(n int) (addrs []string) {
	for i := range n {
		addrs = append(addrs, fmt.Sprintf("%d.84.1.1", 31+i))
	}
	return addrs
}

// Start runs a server at TCP port 4001 of each address until the test ends, and returns the
// multiaddr of one by which to enter.
func Start(t testing.TB, addrs []string) (seed string) {
	t.Helper()
	var entrance *peer.AddrInfo
	for _, addr := range addrs {
		h, err := libp2p.New(
			libp2p.ListenAddrStrings("/ip4/"+addr+"/tcp/4001"),
			libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(noise.ID, noise.New), // the least that makes a host
			libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ForceReachabilityPublic(),
			libp2p.ResourceManager(&network.NullResourceManager{}),
		)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		d, err := dht.New(h, dht.Mode(dht.ModeServer), dht.DisableAutoRefresh())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		if entrance == nil {
			entrance = &peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}
			continue
		}
		known := make(chan struct{}, 1)
		rt := d.RoutingTable()
		added := rt.PeerAdded
		rt.PeerAdded = func(p peer.ID) {
			added(p)
			select {
			case known <- struct{}{}:
			default:
			}
		}
		if err := h.Connect(t.Context(), *entrance); err != nil {
			t.Fatal(err)
		}
		select {
		case <-known:
		case <-time.After(patience):
			t.Fatalf("amino: the server at %s knows no other one", addr)
		}
	}
	return entrance.Addrs[0].String() + "/p2p/" + entrance.ID.String()
}
