package p2p

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// Above the limit the oldest one of the busiest address leaves.
func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name string
			from []string // in the order in which they come
			out  []int    // the numbers of those who have to leave
		}{
			{"room for all", []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"}, nil},
			{"one address", []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"}, []int{0, 1}},
			{"the busiest", []string{"192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.4"}, []int{1}},
			{"all as busy", []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"}, []int{0, 1}},
			{"a /64 is one", []string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.2"}, []int{0}},
		} {
			d := newDoor(4)
			var all []*visitor
			var out []int
			for _, a := range tc.from {
				addr := netip.MustParseAddr(a)
				bits := 32
				if addr.Is6() {
					bits = 64
				}
				source, _ := addr.Prefix(bits)
				v := &visitor{door: d, source: source}
				all = append(all, v)
				time.Sleep(time.Second)
				left := d.enter(v)
				for i, o := range all {
					if o == left {
						out = append(out, i)
					}
				}
			}
			if fmt.Sprint(out) != fmt.Sprint(tc.out) {
				t.Errorf("%s: %v left, want %v", tc.name, out, tc.out)
			}
			for _, v := range all {
				d.leave(v)
				d.leave(v)
			}
			if d.count != 0 || len(d.from) != 0 {
				t.Errorf("%s: %d are counted of %d addresses after all have left", tc.name, d.count, len(d.from))
			}
		}
	})
}
