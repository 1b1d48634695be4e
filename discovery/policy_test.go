package discovery

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// testMachine is what the tests' policies take for the machine's interfaces.
func testMachine() ([]Interface, error) {
	iface := func(name string, flags net.Flags, addrs ...string) Interface {
		i := Interface{Interface: net.Interface{Name: name, Flags: flags}}
		for _, s := range addrs {
			p := netip.MustParsePrefix(s)
			i.Subnets = append(i.Subnets, p.Masked())
			i.locals = append(i.locals, p.Addr())
		}
		return i
	}
	const lan = net.FlagUp | net.FlagBroadcast | net.FlagMulticast
	return []Interface{
		iface("lo", net.FlagUp|net.FlagLoopback, "127.0.0.1/8", "::1/128"),
		iface("eth0", lan, "192.168.7.2/24", "8.8.4.0/24", "fe80::1/64", "2a00:7::2/64", "fd07::2/64"),
		iface("eth1", lan, "10.1.0.2/16", "fe80::2/64"),
		iface("down0", net.FlagBroadcast|net.FlagMulticast, "10.3.0.2/16"),
		iface("tun0", net.FlagUp|net.FlagPointToPoint|net.FlagMulticast, "10.8.0.2/24", "fe80::3/64"),
		iface("dummy0", net.FlagUp|net.FlagBroadcast, "10.9.0.2/16"),
		iface("odd0", lan, "127.5.0.1/16"),
	}, nil
}

func testPolicy(t testing.TB, cfg PolicyConfig) *Policy {
	t.Helper()
	p, err := NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.lan.read = testMachine
	return p
}

// isForbidden reports whether err refuses an address, and fails the test where it is another
// error.
func isForbidden(t testing.TB, err error) bool {
	t.Helper()
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok || e.Code != wtproto.CodeForbidden || e.Remote || e.Reason == "" {
		t.Errorf("error = %#v, want %v with a reason", err, wtproto.CodeForbidden)
	}
	return true
}

func at(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 4001) }

// registry is every entry of the two IANA special-purpose address registries, and what else is no
// unicast.
var registry = []string{
	"0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32", "224.0.0.0/4",
	"::1/128", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23",
	"2001::/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48",
	"2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
	"5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	"::/3", "4000::/2", "8000::/1", // not global unicast
}

// last returns the highest address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// A stranger can name no address of a special range: neither end of any, nor in disguise as IPv6.
// The addresses right outside are public unless another range has them.
func TestPolicyPublicRanges(t *testing.T) {
	p := testPolicy(t, PolicyConfig{})
	special := prefixes(registry...)
	check := func(ip netip.Addr) {
		want := false
		for _, r := range special {
			want = want || r.Contains(ip)
		}
		if got := isForbidden(t, p.Check(SourcePublic, netip.AddrPortFrom(ip, 80))); got != want {
			t.Errorf("%v: forbidden = %v, want %v", ip, got, want)
		}
		if mapped := netip.AddrFrom16(ip.As16()); ip.Is4() && isForbidden(t, p.Check(SourcePublic, netip.AddrPortFrom(mapped, 80))) != want {
			t.Errorf("%v: forbidden = %v, want %v", mapped, !want, want)
		}
	}
	for _, r := range special {
		if r.Addr().Is4In6() {
			continue // the IPv4 ranges once more
		}
		check(r.Addr())
		check(last(r))
		if ip := r.Addr().Prev(); ip.IsValid() {
			check(ip)
		}
		if ip := last(r).Next(); ip.IsValid() {
			check(ip)
		}
	}
	for _, s := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2001:200::1", "2606:4700::1111", "2a00:1450::1", "3ffe::1"} {
		check(netip.MustParseAddr(s))
	}
}

func TestPolicyCheck(t *testing.T) {
	allow := PolicyConfig{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.9.9/16"), netip.MustParsePrefix("fd01::/16")}}
	private := PolicyConfig{Private: true}
	named := PolicyConfig{LANInterfaces: []string{"eth1", "tun0", "lo", "later0"}}
	namedPrivate := PolicyConfig{LANInterfaces: []string{"tun0"}, Private: true}
	for _, tc := range []struct {
		name string
		cfg  PolicyConfig
		src  Source
		addr netip.AddrPort
		ok   bool
	}{
		{"public: no address", PolicyConfig{}, SourcePublic, netip.AddrPort{}, false},
		{"public: port 0", PolicyConfig{}, SourcePublic, netip.MustParseAddrPort("8.8.8.8:0"), false},
		{"public: zone", PolicyConfig{}, SourcePublic, at("2606:4700::1%eth0"), false},
		{"public: link-local with zone", private, SourcePublic, at("fe80::9%eth0"), false},
		{"public: the LAN's subnet", PolicyConfig{}, SourcePublic, at("192.168.7.9"), false},
		{"public: mapped loopback", PolicyConfig{}, SourcePublic, at("::ffff:127.0.0.1"), false},
		{"public: mapped public", PolicyConfig{}, SourcePublic, at("::ffff:8.8.8.8"), true},
		{"public: mapped with zone", PolicyConfig{}, SourcePublic, at("::ffff:8.8.8.8%eth0"), false},
		{"public: allowed range", allow, SourcePublic, at("10.1.200.1"), true},
		{"public: allowed range, mapped", allow, SourcePublic, at("::ffff:10.1.200.1"), true},
		{"public: beside the allowed range", allow, SourcePublic, at("10.2.0.1"), false},
		{"public: allowed IPv6 range", allow, SourcePublic, at("fd01:2::1"), true},
		{"public: private allowed", private, SourcePublic, at("10.2.0.1"), true},
		{"public: loopback with private", private, SourcePublic, at("127.0.0.1"), true},
		{"public: ::1 with private", private, SourcePublic, at("::1"), true},
		{"public: multicast with private", private, SourcePublic, at("224.0.0.251"), false},
		{"public: documentation with private", private, SourcePublic, at("192.0.2.1"), false},
		{"unknown source: like public", PolicyConfig{}, Source(9), at("10.1.0.1"), false},

		{"lan: subnet", PolicyConfig{}, SourceLAN, at("192.168.7.9"), true},
		{"lan: subnet, mapped", PolicyConfig{}, SourceLAN, at("::ffff:192.168.7.9"), true},
		{"lan: public subnet", PolicyConfig{}, SourceLAN, at("8.8.4.4"), true},
		{"lan: IPv6 subnet", PolicyConfig{}, SourceLAN, at("2a00:7::9"), true},
		{"lan: subnet with zone", PolicyConfig{}, SourceLAN, at("fd07::9%eth0"), false},
		{"lan: other subnet", PolicyConfig{}, SourceLAN, at("192.168.8.9"), false},
		{"lan: public address", PolicyConfig{}, SourceLAN, at("8.8.8.8"), false},
		{"lan: allowed range", allow, SourceLAN, at("fd01::9"), true},
		{"lan: link-local", PolicyConfig{}, SourceLAN, at("fe80::9%eth0"), true},
		{"lan: link-local without zone", PolicyConfig{}, SourceLAN, at("fe80::9"), false},
		{"lan: link-local of a tunnel", PolicyConfig{}, SourceLAN, at("fe80::9%tun0"), false},
		{"lan: link-local of nothing", PolicyConfig{}, SourceLAN, at("fe80::9%eth7"), false},
		{"lan: loopback", PolicyConfig{}, SourceLAN, at("127.0.0.1"), false},
		{"lan: loopback of an ordinary interface", PolicyConfig{}, SourceLAN, at("127.5.0.9"), false},
		{"lan: ::1", PolicyConfig{}, SourceLAN, at("::1"), false},
		{"lan: loopback with private", private, SourceLAN, at("127.0.0.1"), true},
		{"lan: point-to-point", PolicyConfig{}, SourceLAN, at("10.8.0.9"), false},
		{"lan: down", PolicyConfig{}, SourceLAN, at("10.3.0.9"), false},
		{"lan: not multicast", PolicyConfig{}, SourceLAN, at("10.9.0.9"), false},
		{"lan: named", named, SourceLAN, at("10.1.0.9"), true},
		{"lan: not named", named, SourceLAN, at("192.168.7.9"), false},
		{"lan: link-local, named", named, SourceLAN, at("fe80::9%eth1"), true},
		{"lan: link-local, not named", named, SourceLAN, at("fe80::9%eth0"), false},
		{"lan: named point-to-point", named, SourceLAN, at("10.8.0.9"), false},
		{"lan: named loopback", named, SourceLAN, at("127.0.0.1"), false},
		{"lan: named point-to-point with private", namedPrivate, SourceLAN, at("fe80::9%tun0"), true},

		{"configured: loopback", PolicyConfig{}, SourceConfigured, at("127.0.0.1"), true},
		{"configured: private", PolicyConfig{}, SourceConfigured, at("10.77.0.1"), true},
		{"configured: link-local with zone", PolicyConfig{}, SourceConfigured, at("fe80::9%tun0"), true},
		{"configured: unspecified", PolicyConfig{}, SourceConfigured, at("0.0.0.0"), false},
		{"configured: unspecified IPv6", PolicyConfig{}, SourceConfigured, at("::"), false},
		{"configured: this network", PolicyConfig{}, SourceConfigured, at("0.1.2.3"), false},
		{"configured: multicast", PolicyConfig{}, SourceConfigured, at("ff02::fb"), false},
		{"configured: broadcast", PolicyConfig{}, SourceConfigured, at("255.255.255.255"), false},
		{"configured: port 0", PolicyConfig{}, SourceConfigured, netip.MustParseAddrPort("10.0.0.1:0"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := testPolicy(t, tc.cfg).Check(tc.src, tc.addr)
			if isForbidden(t, err) == tc.ok {
				t.Errorf("Check(%v, %v) = %v, want ok = %v", tc.src, tc.addr, err, tc.ok)
			}
		})
	}
}

// anything is the widest configuration there is.
var anything = PolicyConfig{Private: true, Allow: prefixes("0.0.0.0/0", "::/0")}

func TestPolicyMetadata(t *testing.T) {
	p := testPolicy(t, anything)
	for _, src := range []Source{SourcePublic, SourceLAN, SourceConfigured} {
		for _, s := range []string{
			"169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254",
			"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::a9fe:a9fe", "fe80::a9fe:a9fe%eth0",
		} {
			if err := p.Check(src, netip.AddrPortFrom(netip.MustParseAddr(s), 80)); !isForbidden(t, err) {
				t.Errorf("Check(%v, %s) = nil", src, s)
			}
		}
		if err := p.Check(src, at("169.254.169.1")); err != nil {
			t.Errorf("Check(%v) of a neighbour = %v", src, err)
		}
	}
}

func TestPolicyOwn(t *testing.T) {
	p := testPolicy(t, anything)
	p.AddOwn(netip.MustParseAddrPort("127.0.0.1:1000"), netip.MustParseAddrPort("[::ffff:192.168.7.2]:1001"))
	p.AddOwn(netip.MustParseAddrPort("[fe80::1%eth0]:1002"), netip.MustParseAddrPort("[::]:2000"), netip.MustParseAddrPort("10.1.0.2:0"))
	p.AddOwn(netip.AddrPortFrom(netip.Addr{}, 2001)) // how net spells a wildcard
	for _, tc := range []struct {
		addr string
		own  bool
	}{
		{"127.0.0.1:1000", true},
		{"[::ffff:127.0.0.1]:1000", true},
		{"127.0.0.2:1000", false},
		{"127.0.0.1:1001", false},
		{"192.168.7.2:1001", true},
		{"[fe80::1%eth0]:1002", true},
		{"[fe80::1%1]:1002", true},
		{"[fe80::2%eth0]:1002", false},
		{"10.1.0.2:1003", false},
		{"127.0.0.1:2000", true},
		{"127.9.9.9:2000", true},
		{"[::1]:2000", true},
		{"192.168.7.2:2000", true},
		{"10.8.0.2:2000", true},
		{"[fe80::3%tun0]:2000", true},
		{"[2a00:7::2]:2000", true},
		{"192.168.7.3:2000", false},
		{"8.8.8.8:2000", false},
		{"10.1.0.2:2001", true},
	} {
		for _, src := range []Source{SourcePublic, SourceLAN, SourceConfigured} {
			if src != SourceConfigured && strings.HasPrefix(tc.addr, "[fe80") && !tc.own {
				continue // refused for another reason
			}
			if err := p.Check(src, netip.MustParseAddrPort(tc.addr)); isForbidden(t, err) != tc.own {
				t.Errorf("Check(%v, %s) = %v, want own = %v", src, tc.addr, err, tc.own)
			}
		}
	}
}

// An interface that comes is LAN after a moment, and one that goes is not.
func TestPolicyInterfacesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPolicy(t, PolicyConfig{})
		reads, failing := 0, errors.New("no interfaces")
		p.lan.read = func() ([]Interface, error) {
			reads++
			all, _ := testMachine()
			switch {
			case reads == 1:
				return all[:2], nil
			case reads == 2:
				return nil, failing
			default:
				return all[2:], nil
			}
		}
		old, fresh := at("192.168.7.9"), at("10.1.0.9")
		check := func(oldOK, freshOK bool) {
			t.Helper()
			for addr, ok := range map[netip.AddrPort]bool{old: oldOK, fresh: freshOK} {
				if err := p.Check(SourceLAN, addr); isForbidden(t, err) == ok {
					t.Errorf("after %d reads: Check(%v) = %v, want ok = %v", reads, addr, err, ok)
				}
			}
		}
		check(true, false)
		if reads != 1 {
			t.Errorf("%d reads for two checks at once, want 1", reads)
		}
		time.Sleep(interfacesAge)
		if err := p.Check(SourceLAN, old); !isForbidden(t, err) || !errors.Is(err, failing) {
			t.Errorf("Check without interfaces = %v, want %v", err, failing)
		}
		check(false, true) // an error is not remembered
		if lan, err := p.LAN(); err != nil || len(lan) != 2 || lan[0].Name != "eth1" || lan[1].Name != "odd0" {
			t.Errorf("LAN = %v, %v, want eth1 and odd0", lan, err)
		}
	})
}

// Where the local addresses cannot be read, what may be our own listener is not dialed.
func TestPolicyOwnUnknown(t *testing.T) {
	p := testPolicy(t, PolicyConfig{})
	failing := errors.New("no interfaces")
	p.lan.read = func() ([]Interface, error) { return nil, failing }
	p.AddOwn(netip.MustParseAddrPort("0.0.0.0:2000"))
	if err := p.Check(SourceConfigured, netip.MustParseAddrPort("10.0.0.1:2000")); !isForbidden(t, err) || !errors.Is(err, failing) {
		t.Errorf("Check = %v, want %v", err, failing)
	}
	if err := p.Check(SourceConfigured, netip.MustParseAddrPort("10.0.0.1:2001")); err != nil {
		t.Errorf("Check of another port = %v", err)
	}
}

func TestNewPolicyMistakes(t *testing.T) {
	_, err := NewPolicy(PolicyConfig{
		Allow:         []netip.Prefix{{}, netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("10.0.0.0/8")},
		LANInterfaces: []string{"eth0", ""},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"not valid", "::ffff:10.0.0.0/104", "no name"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

// This machine's own interfaces, whatever they are: loopback is local and no LAN.
func TestReadInterfaces(t *testing.T) {
	p, err := NewPolicy(PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	view, err := p.lan.view()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := view.local[netip.MustParseAddr("127.0.0.1")]; !ok {
		t.Errorf("local addresses %v lack 127.0.0.1", view.local)
	}
	for _, i := range view.lan {
		if i.Flags&net.FlagLoopback != 0 {
			t.Errorf("%s is LAN", i.Name)
		}
		for _, s := range i.Subnets {
			if s != s.Masked() || s.Addr().Is4In6() || s.Addr().Zone() != "" {
				t.Errorf("%s: subnet %v is not plain", i.Name, s)
			}
		}
	}
}

func TestPolicyDialer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	public, configured := testPolicy(t, PolicyConfig{}), testPolicy(t, PolicyConfig{})
	for _, host := range []string{"127.0.0.1", "::ffff:127.0.0.1", "localhost"} { // a name is checked once it is an address
		if c, err := public.Dialer(SourcePublic).DialContext(t.Context(), "tcp", net.JoinHostPort(host, port)); !isForbidden(t, err) {
			c.Close()
			t.Errorf("%s was dialed", host)
		}
	}
	c, err := configured.Dialer(SourceConfigured).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	configured.AddOwn(ln.Addr().(*net.TCPAddr).AddrPort())
	if c, err := configured.Dialer(SourceConfigured).DialContext(t.Context(), "tcp", ln.Addr().String()); !isForbidden(t, err) {
		c.Close()
		t.Error("our own listener was dialed")
	}
}

// FuzzPolicyMapped checks that an IPv4 address and its IPv6 disguise are treated alike.
func FuzzPolicyMapped(f *testing.F) {
	for _, s := range registry {
		if p := netip.MustParsePrefix(s); p.Addr().Is4() {
			b := p.Addr().As4()
			f.Add(b[0], b[1], b[2], b[3], uint16(80), 0)
		}
	}
	f.Add(byte(192), byte(168), byte(7), byte(2), uint16(2000), 1)
	f.Add(byte(169), byte(254), byte(169), byte(254), uint16(80), 2)
	var policies []*Policy
	for _, cfg := range []PolicyConfig{{}, {Private: true}, {Allow: prefixes("10.1.0.0/16")}} {
		p := testPolicy(f, cfg)
		p.AddOwn(netip.MustParseAddrPort("0.0.0.0:2000"), netip.MustParseAddrPort("10.1.0.2:3000"))
		policies = append(policies, p)
	}
	f.Fuzz(func(t *testing.T, a, b, c, d byte, port uint16, src int) {
		plain := netip.AddrFrom4([4]byte{a, b, c, d})
		mapped := netip.AddrFrom16(plain.As16())
		for i, p := range policies {
			want := isForbidden(t, p.Check(Source(src), netip.AddrPortFrom(plain, port)))
			got := isForbidden(t, p.Check(Source(src), netip.AddrPortFrom(mapped, port)))
			if got != want {
				t.Errorf("policy %d: %v forbidden = %v, %v forbidden = %v", i, plain, want, mapped, got)
			}
		}
	})
}
