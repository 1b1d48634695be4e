package server

import (
	"net/netip"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestAddressKey(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"192.0.2.1", "192.0.2.1/32"},
		{"::ffff:192.0.2.1", "192.0.2.1/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"::1", "::/64"},
		{"0.0.0.0", "0.0.0.0/32"},
	} {
		if got := addressKey(netip.MustParseAddr(test.in)); got != netip.MustParsePrefix(test.want) {
			t.Errorf("addressKey(%s) = %v, want %s", test.in, got, test.want)
		}
	}
}

func TestAdmission(t *testing.T) {
	for _, test := range []struct {
		name              string
		total, perAddress int
		there             []string
		comes             string
		want              wtproto.Code
	}{
		{"the first", 10, 2, nil, "192.0.2.1", wtproto.CodeNone},
		{"the last of its address", 10, 2, []string{"192.0.2.1"}, "192.0.2.1", wtproto.CodeNone},
		{"one too many of an address", 10, 2, []string{"192.0.2.1", "192.0.2.1"}, "192.0.2.1", wtproto.CodeRateLimited},
		{"another address", 10, 2, []string{"192.0.2.1", "192.0.2.1"}, "192.0.2.2", wtproto.CodeNone},
		{"the same address as IPv6", 10, 1, []string{"192.0.2.1"}, "::ffff:192.0.2.1", wtproto.CodeRateLimited},
		{"one IPv6 network", 10, 1, []string{"2001:db8::1"}, "2001:db8::ffff", wtproto.CodeRateLimited},
		{"another IPv6 network", 10, 1, []string{"2001:db8::1"}, "2001:db8:0:1::1", wtproto.CodeNone},
		{"one link-local network, two zones", 10, 1, []string{"fe80::1%eth0"}, "fe80::2%eth1", wtproto.CodeRateLimited},
		{"the last of all", 2, 2, []string{"192.0.2.1"}, "192.0.2.2", wtproto.CodeNone},
		{"one too many of all", 2, 2, []string{"192.0.2.1", "192.0.2.2"}, "192.0.2.3", wtproto.CodeBusy},
		{"too many of both", 1, 1, []string{"192.0.2.1"}, "192.0.2.1", wtproto.CodeRateLimited},
		{"no limit an address", 10, -1, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, "192.0.2.1", wtproto.CodeNone},
		{"no limit in all", -1, 1, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, "192.0.2.4", wtproto.CodeNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAdmission(test.total, test.perAddress)
			for _, addr := range test.there {
				if err := a.enter(netip.MustParseAddr(addr)); err != nil {
					t.Fatalf("%s: %v", addr, err)
				}
			}
			comes := netip.MustParseAddr(test.comes)
			err := a.enter(comes)
			if (err == nil) != (test.want == wtproto.CodeNone) || err != nil && err.Code != test.want {
				t.Errorf("enter(%v) = %v, want %v", comes, err, test.want)
			}
			if err != nil && (err.Reason == "" || err.Remote) {
				t.Errorf("enter(%v) = %#v, want a reason, and that it is our decision", comes, err)
			}
			// Who has left makes room, one that was refused too.
			a.leave(comes)
			for _, addr := range test.there {
				a.leave(netip.MustParseAddr(addr))
			}
			if err := a.enter(comes); err != nil {
				t.Errorf("enter(%v) after all have left = %v", comes, err)
			}
			a.leave(comes)
			if a.n != 0 || len(a.addresses) != 0 {
				t.Errorf("%d and %v are counted after all have left", a.n, a.addresses)
			}
		})
	}
}

// A refusal takes a second to be told, and somebody who tries on and on must not have more of them at once than sessions.
func TestAdmissionCountsRefusals(t *testing.T) {
	a := newAdmission(2, -1)
	addr := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		a.enter(addr)
	}
	a.leave(addr)
	if err := a.enter(addr); err == nil || err.Code != wtproto.CodeBusy {
		t.Errorf("enter with two others there = %v, want BUSY", err)
	}
}
