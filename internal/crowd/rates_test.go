package crowd

import (
	"net/netip"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	start := time.Unix(1e9, 0)
	r := NewRates(2, 4)
	for i, test := range []struct {
		addr netip.Addr
		at   time.Duration
		want bool
	}{
		{a, 0, true},
		{a, 0, true},
		{a, 0, true},
		{a, 0, true},
		{a, 0, false},                      // the burst
		{b, 0, true},                       // another address does not feel it
		{a, 499 * time.Millisecond, false}, // what was refused did not count
		{a, 500 * time.Millisecond, true},
		{a, 501 * time.Millisecond, false},
		{a, 5 * time.Second, true},
		{a, 5 * time.Second, true},
		{a, 5 * time.Second, true},
		{a, 5 * time.Second, true},
		{a, 5 * time.Second, false}, // a long pause brings no more than the burst
	} {
		if got := r.Allow(test.addr, start.Add(test.at)); got != test.want {
			t.Errorf("%d: %v after %v = %v, want %v", i, test.addr, test.at, got, test.want)
		}
	}
	none, shared := NewRates(-1, 0), NewRates(1, 1, netip.MustParsePrefix("192.0.2.1/32"))
	for range 1000 {
		if !none.Allow(a, start) {
			t.Fatal("no limit refuses")
		}
		if !shared.Allow(a, start) {
			t.Fatal("a shared address is refused")
		}
	}
	if !shared.Allow(b, start) || shared.Allow(b, start) {
		t.Error("beside a shared address another one has no limit")
	}
}

// A /48 has sixteen times what a /64 has.
func TestRatesOfOneIPv6Site(t *testing.T) {
	r := NewRates(1, 2)
	allowed := 0
	for i := range 65536 {
		addr := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1})
		if r.Allow(addr, time.Unix(1e9, 0)) {
			allowed++
		}
	}
	if allowed != 2*Widen*Widen {
		t.Errorf("%d of a /48 may come at once, want %d", allowed, 2*Widen*Widen)
	}
}

// Forged addresses once had a row each. They share one when there are too many, and do not keep
// others out for longer than their rows last.
func TestRatesKnowSoManyAddresses(t *testing.T) {
	r := NewRates(1, 2)
	r.maxRows = 100
	now := time.Unix(1e9, 0)
	allowed := 0
	for i := range 10_000 {
		if r.Allow(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now) {
			allowed++
		}
	}
	if len(r.rows) > r.maxRows || allowed > r.maxRows+r.burst {
		t.Errorf("%d rows and %d allowed, want about %d", len(r.rows), allowed, r.maxRows)
	}
	now = now.Add(2 * time.Second)
	for i := range 2 {
		if !r.Allow(netip.MustParseAddr("192.0.2.1"), now) {
			t.Errorf("newcomer %d is refused after the others have been forgotten", i)
		}
	}
	if len(r.rows) != 1 {
		t.Errorf("%d rows, want that of the newcomer", len(r.rows))
	}
}
