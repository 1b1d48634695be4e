package p2p

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestDistance(t *testing.T) {
	s := newSurroundings()
	s.read = func() (list []net.Addr, err error) {
		for _, a := range []string{"127.0.0.1/8", "10.1.0.2/16", "2a01:4f8:1::2/64", "45.83.1.1/32"} {
			ip, n, err := net.ParseCIDR(a)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return list, nil
	}
	for addr, want := range map[string]distance{
		"127.0.0.9": fromHere, "::1": fromHere, "10.1.0.2": fromHere, "45.83.1.1": fromHere, "::ffff:10.1.0.2": fromHere,
		"10.1.9.9": fromLink, "2a01:4f8:1::9": fromLink, "fe80::1": fromLink, "169.254.3.4": fromLink,
		"10.2.0.1": fromSite, "192.168.1.1": fromSite, "fd00::1": fromSite, "100.64.0.1": fromSite,
		"45.83.1.2": fromWorld, "2a01:4f8:2::9": fromWorld,
	} {
		if got := s.distance(netip.MustParseAddr(addr)); got != want {
			t.Errorf("distance(%s) = %d, want %d", addr, got, want)
		}
	}
}

// What a neighbour behind the same firewall can do says nothing of what others can.
func TestReach(t *testing.T) {
	home, away := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("10.9.9.9")
	var r reach
	check := func(what string, want bool) {
		t.Helper()
		if r.serves() != want {
			t.Errorf("%s: serves is %v", what, !want)
		}
	}
	check("at the start", false)
	r.reached(fromLink)
	check("a neighbour came, and no seed is known", true)
	r.seeds([]seedConn{{home, fromWorld}})
	check("the seed is far away", false)
	r.reached(fromSite)
	check("somebody came from the next network", false)
	r.reached(fromWorld)
	check("somebody came from as far away as the seed", true)
	r.reached(fromLink)
	check("a neighbour came again", true)
	r.seeds(nil)
	check("the seed is lost", true)
	r.seeds([]seedConn{{home, fromWorld}, {away, fromWorld}})
	check("there is a second way out", true)
	r.seeds([]seedConn{{away, fromWorld}})
	check("there is the second one only", true)
	r.seeds([]seedConn{{home, fromWorld}})
	check("the machine was moved", false)
}

func TestServeText(t *testing.T) {
	for v := ServeAuto; v <= ServeNever; v++ {
		if got, err := ParseServe(v.String()); got != v || err != nil {
			t.Errorf("ParseServe(%q) = %v, %v", v, got, err)
		}
	}
	if _, err := ParseServe("often"); err == nil {
		t.Error("ParseServe takes anything")
	}
}

func TestCallbackAddrs(t *testing.T) {
	from := netip.MustParseAddr("45.83.1.2")
	got := callbackAddrs(from, []ma.Multiaddr{
		ma.StringCast("/ip4/10.0.0.1/tcp/80"), ma.StringCast("/ip4/169.254.169.254/tcp/80"), // where it came from all the same
		ma.StringCast("/dns/example.com/tcp/7"), ma.StringCast("/ip4/10.0.0.1/udp/9/quic-v1"),
		ma.StringCast("/ip4/10.0.0.1/tcp/81"), ma.StringCast("/ip4/10.0.0.1/tcp/82"),
	})
	if len(got) != 2 || got[0] != netip.AddrPortFrom(from, 80) || got[1] != netip.AddrPortFrom(from, 81) {
		t.Errorf("callbackAddrs = %v", got)
	}
}

// Hosts behind one address are called one after the other while that is in vain, and not for ever.
func TestCallbacks(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCallbacks()
	at := func(ip string) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(ip), 1)}
	}
	for i := range 3 {
		c.want(peer.ID([]byte{byte(i)}), netip.Addr{}, at("45.83.1.1"))
	}
	c.want("other", netip.Addr{}, at("45.83.1.2"))
	c.want("nowhere", netip.Addr{}, nil)
	calls := c.due(now)
	if len(calls) != 2 {
		t.Fatalf("%d are called, want one of each address", len(calls))
	}
	for _, b := range calls {
		c.done(b, b.id == "other", now)
	}
	if len(c.hosts) != 3 {
		t.Errorf("%d are waiting, want 3", len(c.hosts))
	}
	total := 0
	for end := now.Add(24 * time.Hour); now.Before(end); now = now.Add(callbackPause) {
		calls := c.due(now)
		if total += len(calls); len(calls) > 1 {
			t.Fatalf("%d are called at one address", len(calls))
		}
		for _, b := range calls {
			c.done(b, false, now)
		}
	}
	if total < 3*5 || total > 3*20 {
		t.Errorf("%d calls in vain in a day, want some for each", total)
	}
	for i := range 2 * maxCallbacks {
		c.want(peer.ID([]byte{9, byte(i), byte(i >> 8)}), netip.Addr{}, at("45.83.1.9"))
	}
	if len(c.hosts) > maxCallbacks {
		t.Errorf("%d hosts are remembered", len(c.hosts))
	}
}

// A host that was given seeds serves the DHT once one of them could connect to it, and one that
// nobody connects to does not.
func TestServesOnceReached(t *testing.T) {
	seed := listen(t, gateway)
	auto := listen(t, all(gateway, seeds(seed)))
	never := listen(t, all(gateway, seeds(seed), func(c *Config) { c.Serve = ServeNever }))
	if !seed.Serves() {
		t.Error("one without seeds does not serve")
	}
	eventually(t, "the seed knows the one that it could call back", func() bool { return seed.Known() == 1 && auto.Serves() })
	nm := join(t, never, presence(true, true, endpoint(1)), nil)
	am := join(t, auto, presence(true, true, endpoint(2)), nil)
	nm.await("each other", isPeer(auto, endpoint(2)))
	am.await("each other", isPeer(never, endpoint(1)))
	eventually(t, "the other one knows both", func() bool { return never.Known() == 2 })
	if seed.Known() != 1 || never.Serves() {
		t.Errorf("the seed knows %d servers, want 1", seed.Known())
	}
}

// Two that have each other as seeds are both clients at first.
func TestSeedsOfEachOther(t *testing.T) {
	p, q := newPlace(t), newPlace(t)
	at := func(p place) func(*Config) {
		return all(gateway, key(p.key), func(c *Config) { c.Listen = []string{p.addr} })
	}
	a, b := listen(t, all(at(p), q.seed)), listen(t, all(at(q), p.seed))
	eventually(t, "they form a DHT", func() bool { return a.Known() == 1 && b.Known() == 1 && a.Err() == nil && b.Err() == nil })
}

// A fleet gives everybody the same seeds, the seed itself too.
func TestSeedIsItself(t *testing.T) {
	p := newPlace(t)
	h := listen(t, all(gateway, p.seed, key(p.key), func(c *Config) { c.Listen = []string{p.addr} }))
	if !h.Serves() {
		t.Error("it does not serve")
	}
	join(t, h, presence(true, true, endpoint(1)), nil)
	m := join(t, listen(t, all(gateway, p.seed)), presence(true, true, endpoint(2)), nil)
	m.await("the seed's client", isPeer(h, endpoint(1)))
	if err := h.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

// The first host of a DHT has others that only ask it, and nothing to complain of.
func TestServesClientsOnly(t *testing.T) {
	h := listen(t, gateway)
	m := join(t, h, presence(true, true, endpoint(1)), nil)
	c := listen(t, all(seeds(h), func(c *Config) { c.Serve = ServeNever }))
	m.await("that somebody is there", isRecovery)
	cm := join(t, c, presence(true, true, nativeEndpoint), nil)
	cm.await("the gateway's client", isPeer(h, endpoint(1)))
	if h.Known() != 0 {
		t.Errorf("a client is known as a server")
	}
}
