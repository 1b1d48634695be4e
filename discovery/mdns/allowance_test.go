package mdns

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// What all are allowed was used up by whoever said most, and by made-up sources: half of what an
// honest machine said then was dropped, and as many of the questions for its records were not
// asked.
func TestAllowancesAreShared(t *testing.T) {
	honest := origin{1, netip.MustParseAddr("10.0.0.1")}
	forged := func(k int) origin {
		return origin{1, netip.AddrFrom4([4]byte{10, byte(1 + k>>16), byte(k >> 8), byte(k)})}
	}
	for _, tc := range []struct {
		name    string
		sources int  // of the flood; 0 for always another one
		stays   bool // the honest one was there before the flood
		late    bool // some of what it says is lost
	}{
		{"one source", 1, false, false},
		{"20 sources", 20, false, false},
		{"1000 sources", 1000, false, false},
		{"1000 sources, and who was there before", 1000, true, false},
		{"always another source", 0, false, true},
		{"always another source, and who was there before", 0, true, false},
	} {
		a, now := newAllowances(64<<10, 256<<10, 16), time.Unix(1e9, 0)
		const perSecond, packet, long = 5000, 400, 40
		random := rand.New(rand.NewPCG(1, 2))
		asked, heard, flood := 0, 0, 0
		for k := range long * perSecond {
			now = now.Add(time.Second / perSecond)
			from := forged(k)
			if tc.sources > 0 {
				from = forged(k % tc.sources)
			}
			if a.take(from, packet, tc.sources > 0 && k > 10*perSecond, now) {
				flood++
			}
			if random.IntN(perSecond) == 0 {
				asked++
				if a.take(honest, packet, tc.stays, now) {
					heard++
				}
			}
		}
		if heard < asked && !tc.late || heard == 0 {
			t.Errorf("%s: %d of %d packets are taken in", tc.name, heard, asked)
		}
		if most := long<<20 + 16*256<<10; flood*packet > most {
			t.Errorf("%s: %d bytes of the flood, want %d at most", tc.name, flood*packet, most)
		}
		if len(a.now.all)+len(a.before.all) > 4*maxOrigins {
			t.Errorf("%s: %d origins are told apart", tc.name, len(a.now.all)+len(a.before.all))
		}
	}
}

// An origin alone has its own allowance, and no more.
func TestAllowanceOfOne(t *testing.T) {
	a, now := newAllowances(20, 256, 4), time.Unix(1e9, 0)
	for _, want := range []int{256, 20, 20} {
		taken := 0
		for range 1000 {
			if a.take(from("10.0.0.1"), 1, true, now) {
				taken++
			}
		}
		if taken != want {
			t.Errorf("%d taken, want %d", taken, want)
		}
		now = now.Add(time.Second)
	}
}
