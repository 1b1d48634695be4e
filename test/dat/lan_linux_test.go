package dat

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/node"
)

const (
	thereVar = "SWARMGATE_TEST_THERE" // has the name of the namespace of the other machine
	hereAt   = "10.91.0.1"
	thereAt  = "10.91.0.2"
)

// scriptAt is script on the other machine.
func scriptAt(t *testing.T, ns *netns.NS, file, role string, options map[string]any, ready any) *node.Script {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	s := node.StartIn(t, ns, file, role, string(text))
	s.Await("ready", ready)
	return s
}

// A real peer on the LAN is found by multicast alone, and by all three ways at once as one: a client
// has one circuit with it, and reads the file of its archive byte for byte.
func TestHyperdiscoveryOnTheLAN(t *testing.T) {
	if !netns.Inside() {
		t.Parallel()
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, hereAt+"/24", there, thereAt+"/24")
		there.IP(t, "route", "add", "224.0.0.0/4", "dev", "veth0") // npm's multicast-dns chooses no interface
		here.Rerun(t, thereVar+"="+there.Name())
		return
	}
	there := netns.Open(os.Getenv(thereVar))
	for _, all := range []bool{false, true} {
		w, policy, announced := ways{multicast: true}, discovery.PolicyConfig{}, func() {}
		if all {
			var dht struct{ Port int }
			server := scriptAt(t, there, "find.mjs", "dns", map[string]any{"listen": 5300, "domain": "dat.local", "multicast": false, "ttl": 60}, nil)
			node := scriptAt(t, there, "find.mjs", "dht", map[string]any{"host": thereAt, "bootstrap": []string{}}, &dht)
			w.dns, w.dht = thereAt+":5300", netip.AddrPortFrom(netip.MustParseAddr(thereAt), uint16(dht.Port)).String()
			announced = func() {
				node.Await("announce", nil)
				for list := (struct{ All []struct{ At []string } }{}); len(list.All) == 0 || len(list.All[0].At) == 0; {
					server.Do(map[string]any{"do": "list"})
					server.Await("list", &list)
				}
			}
			policy.Allow = []netip.Prefix{netip.MustParsePrefix("10.91.0.0/24")} // for what is not found on the LAN
		}
		found := make(chan string, 1<<10) // by which way
		g := startGateway(t, w, dat.Config{
			Policy: newPolicy(t, policy), Listen: hereAt + ":0",
			Observer: &discovery.Observer{LookedUp: func(way string, n int, _ time.Duration, _ error) {
				if n > 0 {
					found <- way
				}
			}},
		}, server.Config{})
		c := g.Dial(t, client.Config{})
		var ready struct{ Archives []archive }
		peer := scriptAt(t, there, "peers.js", "hyper", w.options(thereAt, map[string]any{
			"version": 10, "port": 4040, "archives": []string{filepath.Join(t.TempDir(), "archive")},
		}), &ready)
		announced() // or the next look-up is a minute later
		a := ready.Archives[0]
		top := gateway.Join(t, c, a.Topic, client.JoinOptions{LookUpOnly: true, Networks: []string{"dat"}})
		conn := gateway.Accept(t, top)
		if got := read(t, conn, a); got != a.file() {
			t.Errorf("/dat.json is %q, want %q", got, a.file())
		}
		if all {
			for missing := map[string]bool{"dns": true, "mainline": true}; len(missing) > 0; {
				delete(missing, <-found)
			}
			gateway.Eventually(t, "it is found on the LAN and elsewhere", func() bool {
				return len(g.Topics()) == 1 && len(g.Topics()[0].Peers) == 2
			})
		}
		gateway.Status(t, top, "one circuit", func(s client.Status) bool { return s.Connected == 1 })
		if n := g.Topics()[0].Circuits; n != 1 {
			t.Errorf("%d circuits, want one", n)
		}
		peer.Kill()
		conn.Close()
		g.Close()
	}
}
