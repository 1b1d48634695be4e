package crowd

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestGroups(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1/32",
		"::ffff:192.0.2.1":     "192.0.2.1/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64 2001:db8:1::/56 2001:db8:1::/48",
		"2001:db8:1:2ff::":     "2001:db8:1:2ff::/64 2001:db8:1:200::/56 2001:db8:1::/48",
		"fe80::1%eth0":         "fe80::/64 fe80::/56 fe80::/48",
		"0.0.0.0":              "0.0.0.0/32",
	} {
		var got []string
		for _, g := range Groups(netip.MustParseAddr(in)) {
			got = append(got, g.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("Groups(%s) = %s, want %s", in, s, want)
		}
	}
}

// text is an address that is only text.
type text string

func (a text) Network() string { return "text" }
func (a text) String() string  { return string(a) }

func TestAddrOf(t *testing.T) {
	for _, test := range []struct {
		in   net.Addr
		want string
	}{
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}, "::ffff:192.0.2.1"},
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 9}, "192.0.2.1"},
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::1%eth0"},
		{text("[2001:db8::1]:9"), "2001:db8::1"},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::2"), Port: 9}, "2001:db8::2"},
		{text("pipe"), "0.0.0.0"},
		{nil, "0.0.0.0"},
	} {
		if got := AddrOf(test.in); got != netip.MustParseAddr(test.want) {
			t.Errorf("AddrOf(%v) = %v, want %s", test.in, got, test.want)
		}
	}
}
