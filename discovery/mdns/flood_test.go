package mdns

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// Amid a flood from a thousand made-up sources, those went first that had come last, so a machine
// that was switched on then was not found. It is found, and stays.
func TestNewcomerAmidFlood(t *testing.T) {
	r := newResolver([]*service{topicService}, false)
	now := time.Unix(1e9, 0)
	honest := origin{1, netip.MustParseAddr("10.79.0.2")}
	r.setLinks([]link{honest.link()}, func(link) bool { return true }, now)
	say := func(o origin, name string) {
		x := service4(name, topicA, o.addr.String())
		r.take(o, parseAnswers(packet(x.records(120)...), r.services), now)
	}
	const comes, sources = 3000, 1000
	for k := range 2 * comes { // 3,000 a second
		now = now.Add(time.Second / 3000)
		say(origin{1, netip.AddrFrom4([4]byte{10, 79, byte(1 + k%sources/250), byte(1 + k%250)})}, fmt.Sprint("forged", k))
		if k == comes {
			say(honest, "honest")
		}
		if k < comes || k%500 != 0 {
			continue
		}
		_, claims, _ := r.settle(now)
		there := false
		for _, c := range claims {
			there = there || c.origin == honest
		}
		if !there || r.cache.size > maxRecords {
			t.Fatalf("after %d more: there: %v; %d records of %d origins", k-comes, there, r.cache.size, len(r.cache.all))
		}
	}
}
