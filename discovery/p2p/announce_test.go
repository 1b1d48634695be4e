package p2p

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
)

// forwardPort forwards a free port of 127.0.0.1 to addr, as a router does, and returns it.
func forwardPort(t *testing.T, addr string) netip.AddrPort { return forwardSilently(t, addr, 0) }

// forwardSilently is forwardPort, but the first so many connections hear nothing.
func forwardSilently(t *testing.T, addr string, silent int) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			if silent > 0 {
				silent--
				io.Copy(io.Discard, from)
				from.Close()
				continue
			}
			to, err := net.Dial("tcp", addr)
			if err != nil {
				from.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				wg.Go(func() {
					io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// A gateway behind a router had no way to say where it is reached: it told others the address that
// it listens on.
func TestAnnounce(t *testing.T) {
	seed := listen(t, native)
	p := newPlace(t)
	inner := p.addr[len("/ip4/127.0.0.1/tcp/"):]
	outer := forwardPort(t, "127.0.0.8:"+inner)
	announced := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", outer.Port())
	g := listen(t, all(gateway, key(p.key), seeds(seed), func(c *Config) {
		c.Listen, c.Announce = []string{"/ip4/127.0.0.8/tcp/" + inner}, []string{announced}
	}))
	if !g.Serves() {
		t.Error("a host that says where it is reached does not serve")
	}
	if want := []string{announced + "/p2p/" + g.ID()}; !slices.Equal(g.Addrs(), want) {
		t.Errorf("Addrs = %v, want %v", g.Addrs(), want)
	}
	if g.Policy.Check(discovery.SourceConfigured, outer) == nil {
		t.Error("its own address may be dialed")
	}
	join(t, g, presence(true, false, endpoint(1)), nil)
	n := listen(t, all(native, seeds(seed)))
	nm := join(t, n, discovery.Native(), echo)
	nm.await("the gateway's client", isPeer(g, endpoint(1)))
	for _, c := range n.libp2p.Network().ConnsToPeer(g.id) {
		if to, _ := plainTCP(c.RemoteMultiaddr()); c.Stat().Direction.String() == "Outbound" && to != outer {
			t.Errorf("connected to %s, want %s", to, outer)
		}
	}
}
