package p2p

import (
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/amino"
	"github.com/swarmgate/swarmgate/internal/netns"
)

const (
	publicServers = 24
	// publicPatience is how long a dial, an answer and a meeting may take, as 24 servers under the
	// race detector take all of a busy machine.
	publicPatience = 3 * patience
)

// The public DHT as it is but small: servers of the Amino DHT at public addresses, of which the
// gateways know one, and default policies. Two gateways and a native peer find each other there,
// and bytes pass between all of them.
func TestPublicDHT(t *testing.T) {
	addrs := amino.Addrs(publicServers + 3)
	if !netns.Inside() {
		n := netns.New(t, "amino")
		for _, a := range addrs {
			n.Addr(t, a+"/32", "lo")
		}
		n.Rerun(t)
		return
	}
	entrance := amino.Start(t, addrs[:publicServers])
	on := func(i int, gateway bool) *Host {
		return listen(t, func(c *Config) {
			p, err := discovery.NewPolicy(discovery.PolicyConfig{})
			if err != nil {
				t.Fatal(err)
			}
			c.Policy, c.Mode, c.Gateway = p, Public, gateway
			c.DialTimeout, c.AnswerTimeout = publicPatience, publicPatience
			c.Listen = []string{"/ip4/" + addrs[publicServers+i] + "/tcp/4434"}
			c.Seeds = []string{entrance}
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
	missing := map[string]bool{peerID(other, f): true, peerID(n, nativeEndpoint): true} // in whatever order they come
	for len(missing) > 0 {
		i := mm.awaitFor(publicPatience, "the other gateway's client and the native peer", func(i item) bool {
			return i.sighting.Dial != nil && missing[i.sighting.Peer.ID]
		})
		delete(missing, i.sighting.Peer.ID)
		var s discovery.Stream
		eventually(t, "a circuit", func() bool { // one that is lost is opened again
			var err error
			if s, err = i.sighting.Dial(t.Context(), e); err != nil {
				t.Logf("Dial: %v", err)
			}
			return err == nil
		})
		testEcho(t, s, 100_000)
	}
	for _, h := range []*Host{a, b, n} {
		eventually(t, "a host knows enough servers, and complains of nothing", func() bool {
			return h.Known() >= publicEnough && h.Err() == nil
		})
	}
	if opener.Serves() {
		t.Error("a gateway serves the public DHT")
	}
}
