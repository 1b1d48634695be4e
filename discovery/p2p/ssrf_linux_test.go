package p2p

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	gatewayAddr = "45.83.1.1"
	hostileAddr = "45.83.1.2"
	metadata    = "169.254.169.254"
	lastAddr    = "10.255.255.1" // where the last packet of a capture goes, and nothing else
)

// inside are addresses that only the machines behind a gateway should be able to reach.
var inside = []string{"127.0.0.1", "10.9.8.7", metadata, "100.64.0.9", "fd00::9", "::1"}

// A DHT server that names addresses of our own network in every way it can makes the gateway send
// no packet to them: not to one that it claims to have itself, not to those of hosts that it made
// up, as providers or as servers to ask next.
func TestHostileAddresses(t *testing.T) {
	if !netns.Inside() {
		n := netns.New(t, "ssrf")
		for _, a := range append([]string{gatewayAddr, hostileAddr, lastAddr}, inside...) {
			switch {
			case a == "127.0.0.1" || a == "::1": // is there
			case strings.Contains(a, ":"):
				n.Addr(t, a+"/128", "lo")
			default:
				n.Addr(t, a+"/32", "lo")
			}
		}
		n.Rerun(t)
		return
	}
	for _, tc := range []struct {
		name   string
		policy discovery.PolicyConfig
		want   []string // that are dialed
	}{
		{"forbidden", discovery.PolicyConfig{}, nil},
		{"allowed", discovery.PolicyConfig{Private: true}, slices.DeleteFunc(slices.Clone(inside), func(a string) bool { return a == metadata })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := discovery.NewPolicy(tc.policy)
			if err != nil {
				t.Fatal(err)
			}
			traps := setTraps(t)
			seen := capture(t)
			bad := newHostile(t, traps)
			g := listen(t, all(gateway, func(c *Config) {
				c.Policy, c.Listen, c.Seeds = p, []string{"/ip4/" + gatewayAddr + "/tcp/0"}, []string{bad.addr}
			}))
			m := join(t, g, presence(true, true, endpoint(1)), nil)
			if tc.want == nil {
				m.await("that they are forbidden", isError(wtproto.CodeForbidden))
			}
			for _, a := range tc.want {
				eventually(t, a+" is dialed", func() bool { return traps.accepted(a) > 0 })
			}
			bad.awaitRequests(3)
			bad.hangUp(g) // the gateway comes back, to addresses that it was told
			bad.awaitRequests(3)

			packets := seen()
			for _, a := range inside {
				want := slices.Contains(tc.want, a)
				if n := packets[netip.MustParseAddr(a)]; n > 0 != want {
					t.Errorf("%d packets to %s", n, a)
				}
				if n := traps.accepted(a); n > 0 != want {
					t.Errorf("%d connections to %s", n, a)
				}
			}
			if packets[netip.MustParseAddr(hostileAddr)] == 0 {
				t.Error("not even packets to the seed were seen")
			}
		})
	}
}

// traps listen on all addresses inside and count who comes.
type traps map[string]*trap

type trap struct {
	net.Listener
	count atomic.Int64
}

func setTraps(t *testing.T) traps {
	t.Helper()
	all := make(traps)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for _, a := range inside {
		ln, err := net.Listen("tcp", net.JoinHostPort(a, "0"))
		if err != nil {
			t.Fatal(err)
		}
		tr := &trap{Listener: ln}
		all[a] = tr
		t.Cleanup(func() { ln.Close() })
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				tr.count.Add(1)
				c.Close()
			}
		})
	}
	return all
}

func (t traps) accepted(addr string) int64 { return t[addr].count.Load() }

func (t traps) multiaddrs() (all []ma.Multiaddr) {
	for _, tr := range t {
		m, err := toMultiaddr(tr.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			panic(err)
		}
		all = append(all, m)
	}
	return all
}

// capture counts the IP packets of the namespace by destination, from now until the function that
// it returns is called.
func capture(t *testing.T) func() map[netip.Addr]int {
	t.Helper()
	const protocols = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the order of the network
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocols)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		t.Fatal(err)
	}
	last := netip.MustParseAddr(lastAddr)
	counts := make(map[netip.Addr]int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fd)
		buf := make([]byte, 128)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Errorf("capture: %v", err)
				return
			}
			var to netip.Addr
			switch b := buf[:n]; {
			case n >= 20 && b[0]>>4 == 4:
				to = netip.AddrFrom4([4]byte(b[16:20]))
			case n >= 40 && b[0]>>4 == 6:
				to = netip.AddrFrom16([16]byte(b[24:40]))
			}
			if to == last {
				return
			}
			counts[to]++
		}
	}()
	stop := sync.OnceFunc(func() {
		c, err := net.Dial("udp", net.JoinHostPort(lastAddr, "9"))
		if err == nil {
			_, err = c.Write([]byte("last"))
			c.Close()
		}
		if err != nil {
			t.Errorf("end of capture: %v", err)
			return
		}
		<-done
	})
	t.Cleanup(stop)
	return func() map[netip.Addr]int {
		stop()
		return counts
	}
}

// hostile is a server of the private DHT.
type hostile struct {
	t        *testing.T
	host     stranger
	addr     string
	requests chan struct{}
}

func newHostile(t *testing.T, tr traps) *hostile {
	t.Helper()
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/"+hostileAddr+"/tcp/0"),
		libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return tr.multiaddrs() }), // what it says of itself
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ForceReachabilityPublic(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionGater(dialsNobody{}), // what is dialed, the gateway dials
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	bad := &hostile{t: t, host: stranger{h, t}, requests: make(chan struct{}, 1<<16)}
	bad.addr = h.Network().ListenAddresses()[0].String() + "/p2p/" + h.ID().String()
	d, err := dht.New(h, dht.Mode(dht.ModeServer), dht.ProtocolPrefix(dhtPrefix), dht.DisableValues(), dht.DisableAutoRefresh(),
		dht.OnRequestHook(func(_ context.Context, _ network.Stream, m *pb.Message) {
			if m.GetType() == pb.Message_GET_PROVIDERS {
				bad.requests <- struct{}{}
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	key := recordKey(testTopic.Digest())
	madeUp := func() peer.ID {
		small, _ := keys(t)
		id, err := peer.IDFromPrivateKey(p2pKey(t, small))
		if err != nil {
			t.Fatal(err)
		}
		h.Peerstore().AddAddrs(id, tr.multiaddrs(), peerstore.PermanentAddrTTL)
		return id
	}
	for range 3 {
		if err := d.ProviderStore().AddProvider(t.Context(), key.Hash(), peer.AddrInfo{ID: madeUp()}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.RoutingTable().TryAddPeer(madeUp(), true, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Provide(t.Context(), key, false); err != nil {
		t.Fatal(err)
	}
	return bad
}

type dialsNobody struct{}

func (dialsNobody) InterceptPeerDial(peer.ID) bool               { return false }
func (dialsNobody) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return false }
func (dialsNobody) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
func (dialsNobody) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (dialsNobody) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// awaitRequests waits for further look-ups of the topic.
func (b *hostile) awaitRequests(n int) {
	b.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for len(b.requests) > 0 {
		<-b.requests
	}
	for range n {
		select {
		case <-b.requests:
		case <-timer.C:
			b.t.Fatal("waited in vain for look-ups")
		}
	}
}

// hangUp closes the connections with g.
func (b *hostile) hangUp(g *Host) {
	b.t.Helper()
	if err := b.host.Network().ClosePeer(g.id); err != nil {
		b.t.Fatal(err)
	}
}
