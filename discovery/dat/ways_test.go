package dat

import (
	"net/netip"
	"testing"
)

func TestUDPOf(t *testing.T) {
	for listen, want := range map[string]string{
		"": "", "127.0.0.1:3282": "127.0.0.1:3282", ":3282": "0.0.0.0:3282", "0.0.0.0:3282": "0.0.0.0:3282", "[::]:3282": "0.0.0.0:3282",
		"[::ffff:127.0.0.1]:1": "127.0.0.1:1", "localhost:0": "0.0.0.0:0",
	} {
		var at netip.AddrPort
		if want != "" {
			at = netip.MustParseAddrPort(want)
		}
		if got := udpOf(listen); got != at {
			t.Errorf("%q: %s, want %s", listen, got, at)
		}
	}
}
