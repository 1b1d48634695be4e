package dat

import (
	"net/netip"
	"testing"
)

// The UDP port is where the TCP port is. At a name, or at the IPv6 loopback address, the node of the
// DHT was open to everybody.
func TestUDPOf(t *testing.T) {
	for listen, tc := range map[string]struct{ at, want string }{
		"127.0.0.1:3282":       {"127.0.0.1", "127.0.0.1:3282"},
		":3282":                {"::", "0.0.0.0:3282"},
		"0.0.0.0:3282":         {"0.0.0.0", "0.0.0.0:3282"},
		"[::ffff:127.0.0.1]:1": {"::ffff:127.0.0.1", "127.0.0.1:1"},
		"localhost:0":          {"127.0.0.1", "127.0.0.1:0"},
		"[::1]:3282":           {"::1", "127.0.0.1:3282"},
		"[2001:db8::1]:3282":   {"2001:db8::1", "0.0.0.0:3282"},
	} {
		if got := udpOf(listen, netip.MustParseAddr(tc.at)); got.String() != tc.want {
			t.Errorf("%q at %s: %s, want %s", listen, tc.at, got, tc.want)
		}
	}
}
