package p2p

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
)

// insideEnv names the namespace behind the firewall.
const insideEnv = "TEST_INSIDE"

// Of 30 native peers behind a firewall that drops each one was a server of the DHT, and a newcomer
// waited 6 to 11 s for those that it asked in vain. Now nobody asks them, and all the same the
// newcomer meets each of them.
func TestBehindFirewall(t *testing.T) {
	const peers, seedAddr, newAddr = 30, "45.83.9.1", "45.83.9.2"
	if !netns.Inside() {
		outside, inside := netns.New(t, "outside"), netns.New(t, "inside")
		dev, insideDev := netns.Link(t, outside, "10.91.0.1/30", inside, "10.91.0.2/30")
		for _, a := range []string{seedAddr, newAddr} {
			outside.Addr(t, a+"/32", dev)
		}
		inside.IP(t, "route", "add", "45.83.9.0/24", "via", "10.91.0.1")
		rules := fmt.Sprintf("add table inet t; add chain inet t in { type filter hook input priority 0; }; "+
			"add rule inet t in iifname %s tcp flags & (syn|ack) == syn drop", insideDev)
		if out, err := inside.Command(t.Context(), "nft", rules).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v\n%s", err, out)
		}
		outside.Rerun(t, insideEnv+"="+inside.Name())
		return
	}
	at := func(addr string) func(*Config) {
		return func(c *Config) { c.Listen = []string{"/ip4/" + addr + "/tcp/0"} }
	}
	seed := listen(t, all(native, at(seedAddr)))
	all30 := startInside(t, seed, peers)
	eventually(t, "all are announced", func() bool {
		n := 0
		for range seed.table.find(t.Context(), testTopic.Digest()) {
			n++
		}
		return n == peers
	})
	newcomer := listen(t, all(gateway, at(newAddr), seeds(seed)))
	m := join(t, newcomer, presence(true, true, endpoint(1)), nil)
	for len(all30) > 0 {
		i := m.await("those behind the firewall", func(i item) bool { return i.err == nil && all30[i.sighting.Peer.ID] })
		delete(all30, i.sighting.Peer.ID)
	}
	eventually(t, "the newcomer serves", func() bool { return newcomer.Serves() && seed.Known() == 1 })
	if n := newcomer.Known(); n != 1 {
		t.Errorf("the newcomer knows %d servers, want the seed alone", n)
	}
}

// A host of a cloud has a private address, and a router gives it a public one. It did not know
// that one, so it told others the private one, at which nobody could find it.
func TestTranslatedAddress(t *testing.T) {
	const seedAddr, newAddr, public, private = "45.83.9.1", "45.83.9.2", "45.83.8.8", "10.91.0.2"
	if !netns.Inside() {
		outside, inside := netns.New(t, "outside"), netns.New(t, "cloud")
		dev, _ := netns.Link(t, outside, "10.91.0.1/30", inside, private+"/30")
		for _, a := range []string{seedAddr, newAddr} {
			outside.Addr(t, a+"/32", dev)
		}
		outside.IP(t, "route", "add", public+"/32", "via", private)
		inside.IP(t, "route", "add", "45.83.9.0/24", "via", "10.91.0.1")
		rules := "add table ip t; " +
			"add chain ip t o { type nat hook output priority -100; }; add rule ip t o ip daddr " + public + " dnat to " + private + "; " +
			"add chain ip t i { type nat hook input priority 100; }; add rule ip t i ip saddr " + private + " snat to " + public
		if out, err := outside.Command(t.Context(), "nft", rules).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v\n%s", err, out)
		}
		outside.Rerun(t, insideEnv+"="+inside.Name())
		return
	}
	on := func(addr string) func(*Config) {
		return func(c *Config) {
			p, err := discovery.NewPolicy(discovery.PolicyConfig{})
			if err != nil {
				t.Fatal(err)
			}
			c.Policy, c.Listen = p, []string{"/ip4/" + addr + "/tcp/0"}
		}
	}
	seed := listen(t, all(native, on(seedAddr)))
	ids := startInside(t, seed, 1)
	newcomer := listen(t, all(gateway, on(newAddr), seeds(seed)))
	m := join(t, newcomer, presence(false, true, endpoint(1)), nil) // it is not announced, so nobody comes to it
	i := m.await("the host behind the router", func(i item) bool { return i.err == nil && ids[i.sighting.Peer.ID] })
	if to := newcomer.libp2p.Network().ConnsToPeer(peer.ID(i.sighting.Peer.ID))[0].RemoteMultiaddr().String(); !strings.HasPrefix(to, "/ip4/"+public+"/") {
		t.Errorf("it was reached at %s", to)
	}
}

// startInside starts n native peers in the namespace that the test was told of, and returns their
// ids.
func startInside(t *testing.T, seed *Host, n int) map[string]bool {
	t.Helper()
	cmd := netns.Open(os.Getenv(insideEnv)).Command(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childrenEnv+"="+strconv.Itoa(n))
	ids := make(map[string]bool)
	for _, id := range startPeers(t, cmd, seed, n) {
		ids[string(id)] = true
	}
	return ids
}
