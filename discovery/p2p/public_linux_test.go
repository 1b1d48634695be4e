package p2p

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
)

const publicServers = 24

// publicAddr returns the i-th address of the model of the internet. No two are of one /16, of
// which a routing table takes few.
func publicAddr(i int) string { return fmt.Sprintf("%d.83.1.1", 31+i) }

// The public DHT as it is but small: servers of the Amino DHT at public addresses, of which the
// gateways know one, and default policies. Two gateways and a native peer find each other there,
// and bytes pass between all of them.
func TestPublicDHT(t *testing.T) {
	if !netns.Inside() {
		n := netns.New(t, "amino")
		for i := range publicServers + 3 {
			n.Addr(t, publicAddr(i)+"/32", "lo")
		}
		n.Rerun(t)
		return
	}
	var entrance peer.AddrInfo
	for i := range publicServers {
		h, err := libp2p.New(
			libp2p.ListenAddrStrings("/ip4/"+publicAddr(i)+"/tcp/4001"),
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
		if i == 0 {
			entrance = peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}
			continue
		}
		if err := h.Connect(t.Context(), entrance); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a server knows another one", func() bool { return d.RoutingTable().Size() > 0 })
	}
	on := func(i int, gateway bool) *Host {
		return listen(t, func(c *Config) {
			p, err := discovery.NewPolicy(discovery.PolicyConfig{})
			if err != nil {
				t.Fatal(err)
			}
			c.Policy, c.Mode, c.Gateway = p, Public, gateway
			c.Listen = []string{"/ip4/" + publicAddr(publicServers+i) + "/tcp/4434"}
			c.Seeds = []string{entrance.Addrs[0].String() + "/p2p/" + entrance.ID.String()}
		})
	}
	a, b, n := on(0, true), on(1, true), on(2, false)
	am := join(t, a, presence(true, true, endpoint(1)), echo)
	bm := join(t, b, presence(true, true, endpoint(2)), echo)
	join(t, n, discovery.Native(), echo)
	opener, mm, e, other, f := a, am, endpoint(1), b, endpoint(2)
	if b.id < a.id {
		opener, mm, e, other, f = b, bm, endpoint(2), a, endpoint(1)
	}
	missing := map[string]bool{peerID(other, f): true, peerID(n, nobody): true} // in whatever order they come
	for len(missing) > 0 {
		i := mm.await("the other gateway's client and the native peer", func(i item) bool {
			return i.sighting.Dial != nil && missing[i.sighting.Peer.ID]
		})
		delete(missing, i.sighting.Peer.ID)
		testEcho(t, dial(t, i, e), 100_000)
	}
	for _, h := range []*Host{a, b, n} {
		if h.Known() < publicEnough || h.Err() != nil {
			t.Errorf("a host knows %d servers, and says %v", h.Known(), h.Err())
		}
	}
	if opener.Serves() {
		t.Error("a gateway serves the public DHT")
	}
}
