package dat

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/node"
)

// thereVar has the name of the namespace of the other machine.
const thereVar = "SWARMGATE_TEST_THERE"

// onTwoMachines runs inside on a machine with an avahi-daemon at 10.90.0.1, on a LAN with another
// machine at 10.90.0.2.
func onTwoMachines(t *testing.T, inside func(there *netns.NS)) {
	t.Helper()
	if netns.Inside() {
		inside(netns.Open(os.Getenv(thereVar)))
		return
	}
	t.Parallel()
	here, there := netns.New(t, "here"), netns.New(t, "there")
	netns.Link(t, here, "10.90.0.1/24", there, "10.90.0.2/24")
	there.IP(t, "route", "add", "224.0.0.0/4", "dev", "veth0") // npm's multicast-dns chooses no interface
	netns.Avahi(t, here)                                       // it has the port first
	here.Rerun(t, thereVar+"="+there.Name())
}

// scriptIn is script on another machine.
func scriptIn(t *testing.T, ns *netns.NS, role string, options map[string]any) *node.Script {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	s := node.StartIn(t, ns, "find.mjs", role, string(text))
	s.Await("ready", nil)
	return s
}

func newTestMulticast(t *testing.T) *multicast {
	t.Helper()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newMulticast(multicastConfig{
		Policy: policy, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

// Real peers on the LAN, those of dat and those without a configuration, and ours: whoever comes
// later is found by the other at once. The machine has other programs on the port.
func TestMulticastWithRealPeers(t *testing.T) {
	onTwoMachines(t, func(there *netns.NS) {
		w := newTestMulticast(t)
		i, j := testID("first"), testID("second")
		f := followOn(t, w, i, both, 4030)
		f.works(t)
		for port, domain := range map[int]string{4031: datDomain, 4032: plainDomain} {
			peer := scriptIn(t, there, "channel", map[string]any{"dht": false, "dns": map[string]any{"domain": domain}})
			peer.Do(map[string]any{"do": "join", "id": i.String(), "port": port})
			awaitPeer(t, peer, i, "10.90.0.1:4030") // by its question
			at := netip.AddrPortFrom(netip.MustParseAddr("10.90.0.2"), uint16(port)).String()
			if a := f.await(t, at); a.source != discovery.SourceLAN || a.through != "veth0" { // by ours, which its caused
				t.Errorf("found as %+v", a)
			}
			peer.Do(map[string]any{"do": "join", "id": j.String(), "port": port})
			if domain == datDomain {
				followOn(t, w, j, announceOnly, 4033)
				awaitPeer(t, peer, j, "10.90.0.1:4033") // by our announcement
			}
			followOn(t, w, j, lookUpOnly, 0).await(t, at)
		}
	})
}

// Who left is not found any more.
func TestMulticastLeave(t *testing.T) {
	onTwoMachines(t, func(there *netns.NS) {
		w := newTestMulticast(t)
		gone, stays := testID("gone"), testID("stays")
		f := followOn(t, w, gone, both, 4034)
		f.works(t)
		followOn(t, w, stays, announceOnly, 4035).works(t)
		peer := scriptIn(t, there, "dns", map[string]any{"domain": datDomain})
		peer.Do(map[string]any{"do": "lookup", "id": gone.String()})
		awaitPeer(t, peer, gone, "10.90.0.1:4034")
		// barrier returns what the peer has found until it was answered about the id that stays.
		barrier := func() (found []string) {
			peer.Do(map[string]any{"do": "lookup", "id": stays.String()})
			for late := time.Now().Add(time.Minute); ; {
				l, ok := peer.Next(time.Until(late))
				if !ok {
					t.Fatal("who stayed is not found")
				}
				if strings.Contains(string(l.JSON), "10.90.0.1:4035") {
					return found
				}
				found = append(found, string(l.JSON))
			}
		}
		f.end()
		barrier()
		barrier() // what was said before the end has come
		peer.Do(map[string]any{"do": "lookup", "id": gone.String()})
		for _, l := range append(barrier(), barrier()...) {
			if strings.Contains(l, gone.String()) {
				t.Errorf("after the end: %s", l)
			}
		}
	})
}

// A machine on the LAN can say anything. What it says of addresses that are not on the LAN is not
// believed.
func TestMulticastBelievesOnlyTheLAN(t *testing.T) {
	onTwoMachines(t, func(there *netns.NS) {
		w := newTestMulticast(t)
		i := testID("forged")
		f := followOn(t, w, i, lookUpOnly, 0)
		f.works(t)
		var many []netip.AddrPort
		many = append(many, addrPorts("192.0.2.1:1", "127.0.0.1:1", "10.91.0.1:1", "169.254.169.254:80", "10.90.0.9:0", "0.0.0.0:0")...)
		many = append(many, addrPorts("10.90.0.9:9", "0.0.0.0:7")...)
		b, err := answer([]string{nameOf(i, datDomain)}, "token=theirs", "peers="+writePeers(many))
		if err != nil {
			t.Fatal(err)
		}
		there.Do(t, func() {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 90, 0, 2)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			dev, err := net.InterfaceByName("veth0")
			if err == nil {
				err = ipv4.NewPacketConn(c).SetMulticastInterface(dev)
			}
			if err == nil {
				_, err = c.WriteToUDPAddrPort(b, netip.AddrPortFrom(multicastGroup, multicastPort))
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		f.await(t, "10.90.0.9:9")
		f.await(t, "10.90.0.2:7")
		f.end()
		for len(f.found) > 0 {
			t.Errorf("found %s", (<-f.found).at)
		}
		if len(f.seen) != 2 {
			t.Errorf("found %v", f.seen)
		}
	})
}

// A machine without a LAN says so, and goes on as soon as it has one.
func TestMulticastWithoutLAN(t *testing.T) {
	if !netns.Inside() {
		t.Parallel()
		netns.New(t, "alone").Rerun(t)
		return
	}
	w := newTestMulticast(t)
	f := followOn(t, w, testID("alone"), both, 4036)
	if err := f.fails(t); !errors.Is(err, errNoInterface) {
		t.Errorf("reported %v", err)
	}
	for _, args := range []string{"link add veth0 type veth peer name veth1", "addr add 10.90.0.1/24 dev veth0", "link set veth1 up", "link set veth0 up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	f.works(t)
}
