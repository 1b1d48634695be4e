package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

const anID = "12D3KooWDwTirQce1RRKnasT5fPVFgzXCy6SiRgSwrwPGLC7zE91"

func TestPlainTCP(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"/ip4/45.83.1.2/tcp/4001", "45.83.1.2:4001"},
		{"/ip4/45.83.1.2/tcp/4001/p2p/" + anID, "45.83.1.2:4001"},
		{"/ip6/2a01::1/tcp/1", "[2a01::1]:1"},
		{"/ip6/::ffff:10.9.8.7/tcp/1", "10.9.8.7:1"},
		{"/ip6zone/eth0/ip6/fe80::1/tcp/1", ""},
		{"/ip4/45.83.1.2/udp/4001/quic-v1", ""},
		{"/ip4/45.83.1.2/tcp/4001/ws", ""},
		{"/ip4/45.83.1.2/tcp/4001/tls/http", ""},
		{"/ip4/45.83.1.2", ""},
		{"/dns4/localhost/tcp/1", ""},
		{"/dnsaddr/localhost", ""},
		{"/unix/tmp/x", ""},
		{"/ip4/45.83.1.2/tcp/4001/p2p/" + anID + "/p2p-circuit", ""},
		{"/ip4/45.83.1.2/tcp/4001/p2p/" + anID + "/p2p-circuit/p2p/" + anID, ""},
	} {
		got, ok := plainTCP(ma.StringCast(tc.in))
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("plainTCP(%s) = %v, %v, want %q", tc.in, got, ok, tc.want)
		}
		if ok {
			m, err := toMultiaddr(got)
			if back, _ := plainTCP(m); err != nil || back != got {
				t.Errorf("%s became %v, %v", got, m, err)
			}
		}
	}
	if _, ok := plainTCP(nil); ok {
		t.Error("nothing is an address")
	}
	if m, err := toMultiaddr(netip.MustParseAddrPort("[fe80::1%eth0]:1")); err == nil {
		t.Errorf("an address with a zone became %v", m)
	}
}

func TestParseTarget(t *testing.T) {
	for _, tc := range []struct {
		in string
		ok bool
	}{
		{"/ip4/10.0.0.1/tcp/4001/p2p/" + anID, true},
		{"/dns4/example.com/tcp/4001/p2p/" + anID, true},
		{"/dns/example.com/tcp/4001/p2p/" + anID, true},
		{"/dnsaddr/example.com/p2p/" + anID, true},
		{"/ip4/10.0.0.1/tcp/4001", false},
		{"/dns4/example.com/p2p/" + anID, false},
		{"/ip4/10.0.0.1/udp/4001/quic-v1/p2p/" + anID, false},
		{"/ip4/10.0.0.1/tcp/4001/ws/p2p/" + anID, false},
		{"/p2p/" + anID, false},
		{"tcp://10.0.0.1:4001", false},
		{"", false},
	} {
		got, err := parseTarget(tc.in)
		if (err == nil) != tc.ok || tc.ok && (got.id.String() != anID || !got.named || len(got.addrs) != 1) {
			t.Errorf("parseTarget(%q) = %+v, %v", tc.in, got, err)
		}
	}
}

func TestResolve(t *testing.T) {
	id, err := peer.Decode(anID)
	if err != nil {
		t.Fatal(err)
	}
	const otherID = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV"
	mock := &madns.MockResolver{
		IP: map[string][]net.IPAddr{
			"four.test": {{IP: net.IPv4(10, 0, 0, 1)}, {IP: net.IPv4(10, 0, 0, 2)}},
			"deep.test": {{IP: net.IPv4(10, 0, 0, 3)}},
		},
		TXT: map[string][]string{
			"_dnsaddr.many.test": {
				"dnsaddr=/dns4/deep.test/tcp/1/p2p/" + anID,
				"dnsaddr=/ip4/10.0.0.4/tcp/2/p2p/" + anID,
				"dnsaddr=/ip4/10.0.0.4/udp/2/quic-v1/p2p/" + anID,
				"dnsaddr=/ip4/10.0.0.5/tcp/3/p2p/" + otherID,
			},
		},
	}
	madnsResolver, err := madns.NewResolver(madns.WithDefaultResolver(mock))
	if err != nil {
		t.Fatal(err)
	}
	n := names{swarm.ResolverFromMaDNS{Resolver: madnsResolver}}
	for _, tc := range []struct {
		in   string
		want []string
		err  bool
	}{
		{"/ip4/10.0.0.9/tcp/9", []string{"10.0.0.9:9"}, false},
		{"/dns4/four.test/tcp/7", []string{"10.0.0.1:7", "10.0.0.2:7"}, false},
		{"/dnsaddr/many.test", []string{"10.0.0.3:1", "10.0.0.4:2"}, false},
		{"/dns4/nowhere.test/tcp/7", nil, false},
	} {
		addrs, err := n.resolve(t.Context(), target{id: id, addrs: []ma.Multiaddr{ma.StringCast(tc.in)}})
		var got []string
		for _, m := range addrs {
			a, _ := plainTCP(m)
			got = append(got, a.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) || (err != nil) != tc.err {
			t.Errorf("resolve(%s) = %v, %v, want %v", tc.in, got, err, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if addrs, err := systemNames().resolve(ctx, target{id: id, addrs: []ma.Multiaddr{ma.StringCast("/dns4/example.invalid/tcp/7")}}); len(addrs) != 0 || err == nil {
		t.Errorf("resolve of a name that is none = %v, %v", addrs, err)
	}
}

// The resolver that libp2p gets is asked for names of strangers.
func TestNoNames(t *testing.T) {
	var r network.MultiaddrDNSResolver = noNames{}
	m := ma.StringCast("/dns4/localhost/tcp/1")
	if got, err := r.ResolveDNSComponent(t.Context(), m, 9); len(got) != 0 || err != nil {
		t.Errorf("ResolveDNSComponent = %v, %v", got, err)
	}
	if got, err := r.ResolveDNSAddr(t.Context(), "", m, 9, 9); len(got) != 0 || err != nil {
		t.Errorf("ResolveDNSAddr = %v, %v", got, err)
	}
}

func TestGater(t *testing.T) {
	p, err := discovery.NewPolicy(discovery.PolicyConfig{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.Decode(anID)
	if err != nil {
		t.Fatal(err)
	}
	l := newLAN(time.Minute)
	g := newGater(p, l)
	g.name(id, []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/7"), ma.StringCast("/ip4/169.254.169.254/tcp/7")})
	l.saw(id, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8"), netip.MustParseAddrPort("10.1.2.3:8")})
	p.AddOwn(netip.MustParseAddrPort("45.83.1.9:7"))
	for _, tc := range []struct {
		id   peer.ID
		addr string
		want bool
	}{
		{id, "/ip4/45.83.1.2/tcp/7", true},
		{id, "/ip4/10.1.2.3/tcp/7", true},  // allowed
		{id, "/ip4/127.0.0.1/tcp/7", true}, // named
		{id, "/ip4/127.0.0.1/tcp/9", false},
		{id + "x", "/ip4/127.0.0.1/tcp/7", false},   // another host
		{id, "/ip4/169.254.169.254/tcp/7", false},   // named, but never
		{id, "/ip4/127.0.0.1/tcp/8", false},         // the LAN cannot say that
		{id, "/ip4/45.83.1.9/tcp/7", false},         // our own
		{id, "/ip4/10.9.8.7/tcp/7", false},          //
		{id, "/ip6/::ffff:10.9.8.7/tcp/7", false},   //
		{id, "/ip6/64:ff9b::a09:807/tcp/7", false},  // NAT64 of 10.9.8.7
		{id, "/ip6/2002:a09:807::1/tcp/7", false},   // 6to4 of it
		{id, "/dns4/example.com/tcp/7", false},      //
		{id, "/ip4/45.83.1.2/udp/7/quic-v1", false}, //
		{id, "/ip4/45.83.1.2/tcp/7/p2p/" + anID + "/p2p-circuit", false},
	} {
		m := ma.StringCast(tc.addr)
		if got := g.InterceptAddrDial(tc.id, m); got != tc.want {
			t.Errorf("InterceptAddrDial(%s) = %v", tc.addr, got)
		}
		if got := g.InterceptSecured(network.DirOutbound, tc.id, remoteAddr{m}); got != tc.want {
			t.Errorf("InterceptSecured(%s) = %v", tc.addr, got)
		}
		if !g.InterceptSecured(network.DirInbound, tc.id, remoteAddr{m}) {
			t.Errorf("a connection in from %s was refused", tc.addr)
		}
	}
	var many []ma.Multiaddr
	for i := range 2 * maxAddrs {
		many = append(many, ma.StringCast(fmt.Sprintf("/ip4/45.83.1.%d/tcp/1", 10+i)))
	}
	if good, _ := g.dialable(id, many); len(good) != maxAddrs {
		t.Errorf("%d addresses of one host may be dialed, want %d", len(good), maxAddrs)
	}
	if ranked := g.rankDials(many); len(ranked) != maxAddrs {
		t.Errorf("%d addresses of one host are dialed, want %d", len(ranked), maxAddrs)
	}
}

type remoteAddr struct{ m ma.Multiaddr }

func (r remoteAddr) LocalMultiaddr() ma.Multiaddr  { return nil }
func (r remoteAddr) RemoteMultiaddr() ma.Multiaddr { return r.m }

func TestLAN(t *testing.T) {
	l := newLAN(time.Hour)
	addr := netip.MustParseAddrPort("10.0.0.1:7")
	id := func(i int) peer.ID { return peer.ID(fmt.Sprint("host ", i)) }
	for i := range maxLAN {
		l.saw(id(i), []netip.AddrPort{addr})
	}
	l.saw(id(0), []netip.AddrPort{netip.MustParseAddrPort("[::ffff:10.0.0.2]:7")})
	l.saw(id(maxLAN), slices.Repeat([]netip.AddrPort{addr}, 2*maxAddrs))
	if l.has(id(1), addr) || !l.has(id(2), addr) || l.has(id(0), addr) || !l.has(id(0), netip.MustParseAddrPort("10.0.0.2:7")) {
		t.Error("the host that was seen least recently was not the one to go")
	}
	if all := l.all(); len(all) != maxLAN {
		t.Errorf("%d hosts are remembered, want %d", len(all), maxLAN)
	}
	if h, ok := l.target(id(maxLAN)); !ok || len(h.addrs) != maxAddrs || h.network != "lan" {
		t.Errorf("target = %+v, %v", h, ok)
	}
	l.hold = 0
	if _, ok := l.target(id(2)); ok || l.has(id(2), addr) || len(l.all()) != 0 || len(l.hosts) != 0 {
		t.Error("hosts are remembered for too long")
	}
}

// A host that has left the LAN is not looked for there any more.
func TestHostGone(t *testing.T) {
	g, n := listen(t, gateway), listen(t, native)
	g.HostSeen(n.ID(), []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", n.Port()))})
	if seen := g.lan.all(); len(seen) != 1 {
		t.Fatalf("%d hosts on the LAN, want 1", len(seen))
	}
	g.HostGone("nobody")
	g.HostGone(g.ID())
	if seen := g.lan.all(); len(seen) != 1 {
		t.Errorf("%d hosts on the LAN after others are gone, want 1", len(seen))
	}
	g.HostGone(n.ID())
	if seen := g.lan.all(); len(seen) != 0 {
		t.Errorf("%d hosts on the LAN, want none", len(seen))
	}
}

// A host of the LAN is met without a DHT, whichever of the two joins first, and can lead into the
// DHT.
func TestHostSeen(t *testing.T) {
	off := func(c *Config) { c.Mode = Off }
	for _, lateJoin := range []bool{true, false} {
		g, n := listen(t, all(gateway, off)), listen(t, all(native, off))
		nm := join(t, n, presence(true, false, nativeEndpoint), echo)
		var gm *member
		if !lateJoin {
			gm = join(t, g, presence(true, true, endpoint(1)), nil)
		}
		g.HostSeen("nobody", nil)
		g.HostSeen(g.ID(), nil)
		g.HostSeen(n.ID(), []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", n.Port()))})
		if lateJoin {
			gm = join(t, g, presence(true, true, endpoint(1)), nil)
		}
		i := gm.await("the native peer", isPeer(n, nativeEndpoint))
		if i.sighting.Peer.Network != "lan" || i.sighting.PeerFoundUs {
			t.Errorf("%s", describe(i))
		}
		testEcho(t, dial(t, i, endpoint(1)), 1000)
		nm.await("the gateway's client", isPeer(g, endpoint(1)))
		if err := g.Err(); err != nil {
			t.Errorf("Err = %v without a DHT", err)
		}
	}
	a, b := listen(t, nil), listen(t, nil)
	m := join(t, a, discovery.Native(), nil)
	m.await("that the DHT is empty", isError(wtproto.CodePeerUnreachable))
	a.HostSeen(b.ID(), []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", b.Port()))})
	m.await("that it is not", isRecovery)
}

// A host of the LAN that is on none of our topics is nothing to report, and remembers that it was
// asked.
func TestHostSeenElsewhere(t *testing.T) {
	off := func(c *Config) { c.Mode = Off }
	g, n := listen(t, all(gateway, off)), listen(t, all(native, off))
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	g.HostSeen(n.ID(), []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", n.Port()))})
	eventually(t, "it was asked", func() bool { return heard(n, g.id) })
	join(t, n, presence(true, false, nativeEndpoint), nil)
	gm.await("the native peer", func(i item) bool {
		if i.err != nil {
			t.Errorf("%s", describe(i))
		}
		return isPeer(n, nativeEndpoint)(i)
	})
}

// What the operator wrote may be dialed, by name too.
func TestStatic(t *testing.T) {
	strict, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	off := func(c *Config) { c.Mode = Off }
	n := listen(t, all(native, off))
	named := fmt.Sprintf("/dns4/localhost/tcp/%d/p2p/%s", n.Port(), n.ID())
	g := listen(t, all(gateway, off, func(c *Config) {
		c.Policy, c.Static = strict, map[wtproto.Topic][]string{testTopic: {named}}
	}))
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	gm.await("that it is not on the topic", isError(wtproto.CodeForbidden))
	join(t, n, presence(false, false, nativeEndpoint), echo)
	i := gm.await("the native peer", isPeer(n, nativeEndpoint))
	if i.sighting.Peer.Network != "static" || i.sighting.PeerFoundUs {
		t.Errorf("%s", describe(i))
	}
	testEcho(t, dial(t, i, endpoint(1)), 1000)
}

// Addresses that the policy forbids are not dialed, and that is the reason that is given.
func TestForbidden(t *testing.T) {
	strict, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	// The seed may be dialed. The gateway does not listen, since the other host would dial it, and
	// they would meet.
	hosts := swarmOf(t, native, native, all(gateway, func(c *Config) { c.Policy, c.Listen = strict, nil }))
	join(t, hosts[1], presence(true, false, nativeEndpoint), nil)
	gm := join(t, hosts[2], presence(true, true, endpoint(1)), nil)
	i := gm.await("the reason", isError(wtproto.CodeForbidden))
	if !strings.Contains(i.err.Error(), hosts[1].ID()) || !strings.Contains(i.err.Error(), "127.0.0.0/8") {
		t.Errorf("error %q, want the host and the range", i.err)
	}
	if n := hosts[2].libp2p.Network().Connectedness(hosts[1].id); n == network.Connected {
		t.Error("they are connected")
	}
	if _, err := strict.Dialer(discovery.SourcePublic).Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("the policy is not strict")
	} else if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeForbidden {
		t.Errorf("the policy says %v", err)
	}
}
