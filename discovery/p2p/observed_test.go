package p2p

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestObserved(t *testing.T) {
	at, us := netip.MustParseAddr("45.83.1.1"), netip.MustParseAddr("45.83.2.2")
	var o observed
	o.trust([]target{{id: "seed"}})
	check := func(what string, want ...string) {
		t.Helper()
		if got := fmt.Sprint(o.addrs()); got != fmt.Sprint(append([]string{}, want...)) {
			t.Errorf("%s: %s, want %v", what, got, want)
		}
	}
	o.noteView("stranger", at, us)
	o.reached("stranger", at, 4434)
	check("a stranger says so")
	if o.reached("seed", at, 4434) {
		t.Error("a seed that has said nothing shows an address")
	}
	o.noteView("seed", at, us)
	check("a seed says so")
	o.reached("seed", us, 4434)
	check("the seed came from elsewhere")
	if !o.reached("seed", at, 4434) || o.reached("seed", at, 4434) {
		t.Error("that the seed reaches us is not news once")
	}
	check("the seed has reached us", "45.83.2.2:4434")
	o.noteView("seed", us, us)
	check("the seed is elsewhere")
}
