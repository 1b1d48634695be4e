package dat

import (
	"net/netip"
	"testing"
)

// Nodes say where they see us. One neighbourhood has one voice, and most must agree.
func TestOutside(t *testing.T) {
	us, lie := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	node := func(n, host byte) netip.Addr { return netip.AddrFrom4([4]byte{8, 8, n, host}) }
	var o outside
	for host := range byte(200) {
		o.note(node(1, host), lie)
	}
	if o.is(lie) {
		t.Error("one neighbourhood is believed")
	}
	for n := range byte(4) {
		if o.is(us) {
			t.Errorf("%d neighbourhoods are believed", n)
		}
		o.note(node(10+n, 1), us)
		o.note(node(10+n, 2), us)
	}
	if !o.is(us) || o.is(lie) {
		t.Error("four of five neighbourhoods are not believed")
	}
	for n := range byte(3) {
		o.note(node(20+n, 1), lie)
	}
	if o.is(us) || o.is(lie) {
		t.Error("a half is believed")
	}
	for n := range byte(100) {
		o.note(node(100+n, 1), us)
	}
	if !o.is(us) || len(o.voices) > maxVoices {
		t.Errorf("%d voices, and the new ones are not believed", len(o.voices))
	}
	o.note(node(1, 1), netip.Addr{})
	o.note(netip.MustParseAddr("2001:db8::1"), us)
}
