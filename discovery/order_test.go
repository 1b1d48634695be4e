package discovery

import (
	"net/netip"
	"slices"
	"testing"
)

func addrPorts(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestOrder(t *testing.T) {
	subnets := prefixes("10.1.0.0/16", "fd01::/64")
	for _, tc := range []struct {
		name     string
		in, want []netip.AddrPort
	}{
		{"none", nil, nil},
		{
			"same subnet first, loopback last",
			addrPorts("127.0.0.1:1", "192.0.2.1:1", "10.1.2.3:1"),
			addrPorts("10.1.2.3:1", "192.0.2.1:1", "127.0.0.1:1"),
		},
		{
			"link-local after other near ones",
			addrPorts("[fe80::1%eth0]:1", "192.0.2.1:1", "[fd01::1]:1", "[::1]:1"),
			addrPorts("[fd01::1]:1", "[fe80::1%eth0]:1", "192.0.2.1:1", "[::1]:1"),
		},
		{
			"families take turns",
			addrPorts("[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "192.0.2.1:1", "192.0.2.2:1"),
			addrPorts("[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "[2001:db8::3]:1"),
		},
		{"order stays", addrPorts("192.0.2.9:1", "192.0.2.1:1", "192.0.2.5:2"), addrPorts("192.0.2.9:1", "192.0.2.1:1", "192.0.2.5:2")},
		{"each once", addrPorts("192.0.2.9:1", "[::ffff:192.0.2.9]:1", "192.0.2.9:2"), addrPorts("192.0.2.9:1", "192.0.2.9:2")},
	} {
		if got := order(tc.in, subnets); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Two pieces once had classes of their own, and tried link-local addresses at different times.
func TestClassOf(t *testing.T) {
	subnets := prefixes("10.1.0.0/16", "fd01::/64", "127.0.0.0/8", "169.254.0.0/16")
	for ip, want := range map[string]Class{
		"10.1.2.3": ClassSubnet, "::ffff:10.1.2.3": ClassSubnet, "fd01::1": ClassSubnet,
		"169.254.1.1": ClassLinkLocal, "fe80::1%eth0": ClassLinkLocal,
		"192.0.2.1": ClassFar, "10.2.0.1": ClassFar, "2001:db8::1": ClassFar,
		"127.0.0.1": ClassLoopback, "::ffff:127.0.0.1": ClassLoopback, "::1": ClassLoopback,
	} {
		if got := ClassOf(netip.MustParseAddr(ip), subnets); got != want {
			t.Errorf("%s: %d, want %d", ip, got, want)
		}
	}
}

// The subnets of this machine are those of its interfaces; of loopback's there is none.
func TestPolicyOrder(t *testing.T) {
	p := testPolicy(t, PolicyConfig{})
	got := p.Order(addrPorts("127.0.0.1:1", "192.0.2.1:1"))
	if want := addrPorts("192.0.2.1:1", "127.0.0.1:1"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
