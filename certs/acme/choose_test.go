package acme

import (
	"net"
	"net/netip"
	"testing"
)

func TestChoose(t *testing.T) {
	names := []string{"a.example", "192.0.2.1", "2001:db8::1", "192.0.2.2"}
	for _, c := range []struct {
		what, serverName, local, remote string
		want                            string
	}{
		{"a name", "a.example", "10.0.0.1", "198.51.100.1", "a.example"},
		{"the same in capitals and with the root", "A.Example.", "10.0.0.1", "198.51.100.1", "a.example"},
		{"another name", "b.example", "192.0.2.1", "198.51.100.1", ""},
		{"a name below it", "x.a.example", "192.0.2.1", "198.51.100.1", ""},
		{"an address of this machine", "", "192.0.2.2", "198.51.100.1", "192.0.2.2"},
		{"a public address in front of a NAT", "", "10.0.0.1", "198.51.100.1", "192.0.2.1"},
		{"the same by IPv6", "", "fd00::1", "2001:db8::9", "2001:db8::1"},
		{"a UDP socket that does not know its address", "", "::", "2001:db8::9", "2001:db8::1"},
		{"a client on this machine", "", "127.0.0.1", "127.0.0.1", ""},
		{"a client on this machine, which connects to the public address", "", "192.0.2.1", "127.0.0.1", "192.0.2.1"},
	} {
		if got := choose(names, c.serverName, netip.MustParseAddr(c.local), netip.MustParseAddr(c.remote)); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := choose(names[:1], "", netip.Addr{}, netip.Addr{}); got != "" {
		t.Errorf("no name at a gateway without addresses: %q", got)
	}
}

func TestIP(t *testing.T) {
	for _, c := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 1}, "192.0.2.1"},
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::1"},
		{&net.UnixAddr{}, "invalid IP"},
	} {
		if got := ip(c.addr).String(); got != c.want {
			t.Errorf("%v = %s, want %s", c.addr, got, c.want)
		}
	}
}
