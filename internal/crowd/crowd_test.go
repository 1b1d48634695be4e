package crowd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// Each newcomer is written as its address, and is somebody of its own: a#1, a#2, … for the first,
// the second, … of that address.
func TestCrowd(t *testing.T) {
	const a, b, c, d = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
	const balancer, balancer6 = "198.51.100.1", "2001:db8:ba::1"
	v6 := func(n uint16) string { return fmt.Sprintf("2001:db8:1:%x::1", n) }
	for _, test := range []struct {
		name        string
		total, each int
		come        []string
		out         string // who had to go, in order, with the reason
	}{
		{"room for all", 4, 2, []string{a, a, b, b}, ""},
		{"an address has too many", 10, 2, []string{a, b, a, a}, a + "#1 of its group"},
		{"the same address as IPv6", 10, 1, []string{a, "::ffff:" + a}, a + "#1 of its group"},
		{"all is full, and the busiest goes", 4, -1, []string{b, a, a, a, c}, a + "#1 of all"},
		{"all is full, and the newcomer's group is the busiest", 4, -1, []string{b, b, a, a, a}, a + "#1 of all"},
		{"all is full of those with one each, and the oldest goes", 3, -1, []string{a, b, c, d}, a + "#1 of all"},
		{"one goes for each who comes", 3, -1, []string{a, a, a, b, c, d}, a + "#1 of all, " + a + "#2 of all, " + a + "#3 of all"},
		{"a /64", 10, 1, []string{"2001:db8::1", "2001:db8::ffff"}, "2001:db8::1#1 of its group"},
		{"a /56 has four times as many", 100, 1, []string{v6(0), v6(1), v6(2), v6(3), v6(4)}, v6(0) + "#1 of its group"},
		{"the busiest /64 of a /56", 100, 2, []string{v6(0), v6(1), v6(1), v6(2), v6(2), v6(3), v6(4), v6(5), v6(6)}, v6(1) + "#1 of its group"},
		{"a /48 is one party", 6, -1, []string{a, v6(0x100), v6(0x200), v6(0x300), v6(0x300), b, c}, v6(0x300) + "#1 of all"},
		{"a shared address has no limit", 10, 1, []string{balancer, balancer, "::ffff:" + balancer, balancer6, balancer6, a}, ""},
		{"but it is the busiest", 4, 1, []string{a, b, balancer, balancer, c}, balancer + "#1 of all"},
		{"and not one party with another", 3, 1, []string{balancer6, balancer6, "2001:db8:ba::2", a}, balancer6 + "#1 of all"},
		{"no limit", -1, -1, []string{a, a, a, a, a, a}, ""},
		{"a limit of 0 is 1", 0, 0, []string{a, a, b}, a + "#1 of its group, " + a + "#2 of all"},
	} {
		t.Run(test.name, func(t *testing.T) {
			crowd := New[string](test.total, test.each, netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:ba::/48"))
			there, seen := make(map[string]*Place[string]), make(map[string]int)
			var out []string
			for _, addr := range test.come {
				seen[addr]++
				who := fmt.Sprintf("%s#%d", addr, seen[addr])
				place, e := crowd.Enter(netip.MustParseAddr(addr), who)
				there[who] = place
				if e != nil {
					reason := "of its group"
					if e.Reason == Full {
						reason = "of all"
					}
					out = append(out, e.Who+" "+reason)
					if crowd.Leave(there[e.Who]) {
						t.Errorf("%s was there after it had to go", e.Who)
					}
					delete(there, e.Who)
				}
			}
			if got := strings.Join(out, ", "); got != test.out {
				t.Errorf("out: %s\nwant %s", got, test.out)
			}
			if crowd.Len() != len(there) {
				t.Errorf("Len = %d, want %d", crowd.Len(), len(there))
			}
			for who, place := range there {
				if !crowd.Leave(place) || crowd.Leave(place) {
					t.Errorf("%s did not leave exactly once", who)
				}
			}
			if crowd.Len() != 0 || len(crowd.groups) != 0 || len(crowd.all.busiest) != 0 {
				t.Errorf("%d places and groups %v after all have left", crowd.Len(), crowd.groups)
			}
		})
	}
}

// Sixteen times the limit of a /64 is that of a /48, whichever of its networks they come from.
func TestCrowdOfOneIPv6Site(t *testing.T) {
	crowd := New[int](1000, 2)
	for i := range 65536 {
		addr := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1})
		if crowd.Enter(addr, i); crowd.Len() > 2*Widen*Widen {
			t.Fatalf("a /48 has %d places, want at most %d", crowd.Len(), 2*Widen*Widen)
		}
	}
}

func TestCrowdRenews(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	crowd := New[string](2, -1)
	first, _ := crowd.Enter(addr, "first")
	crowd.Enter(addr, "second")
	crowd.Renew(first)
	if _, e := crowd.Enter(addr, "third"); e == nil || e.Who != "second" {
		t.Errorf("%v had to go, want the second: the first was renewed", e)
	}
}

// Whatever comes and goes, nobody who has the only place of their address loses it to an address
// that has two.
func TestCrowdKeepsTheFew(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type visitor struct{ addr netip.Addr }
	crowd := New[*visitor](20, -1)
	there := make(map[*visitor]*Place[*visitor])
	count := make(map[netip.Addr]int)
	for range 20_000 {
		if random.IntN(3) == 0 && len(there) > 0 {
			for v, p := range there {
				crowd.Leave(p)
				delete(there, v)
				count[v.addr]--
				break
			}
			continue
		}
		v := &visitor{netip.AddrFrom4([4]byte{192, 0, 2, byte(random.ExpFloat64() * 5)})}
		p, e := crowd.Enter(v.addr, v)
		there[v] = p
		count[v.addr]++
		if e == nil {
			continue
		}
		var most int
		for _, n := range count {
			most = max(most, n)
		}
		if count[e.Who.addr] != most || e.Who == v {
			t.Fatalf("%v with %d had to go, the busiest has %d: %v", e.Who.addr, count[e.Who.addr], most, count)
		}
		delete(there, e.Who)
		count[e.Who.addr]--
	}
	if crowd.Len() != len(there) {
		t.Errorf("Len = %d, want %d", crowd.Len(), len(there))
	}
}
