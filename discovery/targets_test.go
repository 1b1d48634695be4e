package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestTargets(t *testing.T) {
	const a, sameNet, other = "198.51.100.7", "198.51.100.8", "203.0.113.1"
	for _, test := range []struct {
		name    string
		ips     []string
		trusted bool
		onLink  bool
		dials   int
		later   time.Duration // after which as many are tried again
		want    []int         // dials that were made, then
	}{
		{"one target", []string{a}, false, false, 100, 50 * time.Second, []int{32, 10}},
		{"two targets", []string{a, sameNet}, false, false, 100, 0, []int{64, 0}},
		{"one IPv6 /64", []string{"2001:db8::1", "2001:db8::2"}, false, false, 100, 5 * time.Second, []int{32, 1}},
		{"IPv4 in IPv6", []string{a, "::ffff:" + a}, false, false, 100, 0, []int{32, 0}},
		{"link-local", []string{"fe80::1%a", "fe80::2%a", "fe80::1%b"}, false, false, 200, 0, []int{96, 0}},
		{"of one link", []string{"fd00::1", "fd00::2"}, true, true, 2000, 0, []int{1024, 0}},
		{"trusted", []string{a}, true, false, 1000, 10 * time.Second, []int{512, 32}},
		{"all over again", []string{a, other}, false, false, 1000, time.Hour, []int{64, 64}},
	} {
		var l targets
		now := time.Unix(1e9, 0)
		for _, want := range test.want {
			made := 0
			for i := range test.dials {
				if l.take(nil, targetOf(netip.MustParseAddr(test.ips[i%len(test.ips)]), test.onLink), test.trusted, now) == nil {
					made++
				}
			}
			if made != want {
				t.Errorf("%s: %d dials of %d, want %d", test.name, made, test.dials, want)
			}
			now = now.Add(test.later)
		}
	}
}

// All machines of a LAN had one target on IPv6, fe80::/64 or the /64 of the LAN, so one of them
// used up the dials of all others.
func TestNeighboursAreTargetsOfTheirOwn(t *testing.T) {
	p, err := NewPolicy(PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, lan := range [][2]string{{"[fe80::66%eth0]:80", "[fe80::1%eth0]:80"}, {"[fe80::66%eth0]:80", "[fe80::66%eth1]:80"}, {"[fd00::66]:80", "[fd00::1]:80"}} {
		liar, honest := netip.MustParseAddrPort(lan[0]), netip.MustParseAddrPort(lan[1])
		for p.Spend(nil, SourceLAN, liar) == nil {
		}
		for range 2 * targetBurst * targetTrust {
			if err := p.Spend(nil, SourceLAN, honest); err != nil {
				t.Errorf("%s after %s: %v", honest, liar, err)
				break
			}
			p.Refund(nil, SourceLAN, honest)
		}
	}
}

// Dials that succeed are not counted, however many there are.
func TestTargetsUseful(t *testing.T) {
	var l targets
	ip, now := netip.MustParseAddr("198.51.100.7"), time.Unix(1e9, 0)
	for i := range 10_000 {
		if err := l.take(nil, targetOf(ip, false), false, now); err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
		l.give(nil, targetOf(ip, false))
	}
	l.give(nil, targetOf(ip, false)) // once too often
	for i := range targetBurst {
		if err := l.take(nil, targetOf(ip, false), false, now); err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
	}
	wantCode(t, "one more", l.take(nil, targetOf(ip, false), false, now), wtproto.CodeRateLimited, false)
}

// All targets together have a limit, and those without failed dials are forgotten.
func TestTargetsInAll(t *testing.T) {
	var l targets
	now := time.Unix(1e9, 0)
	ip := netip.MustParseAddr("11.0.0.1")
	made := 0
	for i := range 4 * targetsBurst {
		if l.take(i, targetOf(ip, false), false, now) == nil { // each for somebody else
			made++
		}
		ip = ip.Next()
	}
	if made != targetsBurst {
		t.Errorf("%d dials of as many targets, want %d", made, targetsBurst)
	}
	for range 100_000 {
		now = now.Add(targetsEvery)
		if err := l.take(ip, targetOf(ip, false), false, now); err != nil {
			t.Fatal(err)
		}
		ip = ip.Next()
	}
	if n := len(l.each); n > 4*targetsSwept {
		t.Errorf("%d targets are remembered", n)
	}
	if n := len(l.payers); n > 4*targetsBurst+1 {
		t.Errorf("%d payers are remembered", n)
	}
}

// A principal that made topics full of dead targets used up the failed dials of all, so
// that nobody else's peers were dialed.
func TestTargetsArePaidFor(t *testing.T) {
	var l targets
	now := time.Unix(1e9, 0)
	ip := netip.MustParseAddr("11.0.0.1")
	hammer := func(who string) (made int) {
		for range 2 * targetsBurst {
			if l.take(who, targetOf(ip, false), false, now) == nil {
				made++
			}
			ip = ip.Next()
		}
		return made
	}
	if made := hammer("one"); made != targetsBurst/2 {
		t.Errorf("the first made %d failed dials, want %d", made, targetsBurst/2)
	}
	if made := hammer("two"); made != targetsBurst/4 {
		t.Errorf("the second made %d failed dials, want %d", made, targetsBurst/4)
	}
	for range 10 {
		now = now.Add(10 * targetsEvery)
		hammer("one")
		hammer("two")
	}
	made := 0
	for range targetsBurst / 8 {
		if l.take("newcomer", targetOf(ip, false), false, now) == nil {
			made++
		}
		ip = ip.Next()
	}
	if made != targetsBurst/8 {
		t.Errorf("the newcomer made %d failed dials, want %d", made, targetsBurst/8)
	}
	now = now.Add(time.Hour)
	if made := hammer("one"); made != targetsBurst/2 || len(l.payers) != 1 {
		t.Errorf("an hour later %d dials were made, of %d payers", made, len(l.payers))
	}
	for range 100 {
		l.give("one", targetOf(ip, false))
	}
	if made := hammer("one"); made < 45 || made > 105 {
		t.Errorf("%d dials were made after 100 were given back", made)
	}
}

// thirdParty is a TCP service that hangs up at once, or sends greeting first, and counts.
func thirdParty(t *testing.T, greeting string) (addr string, accepted *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			fmt.Fprint(c, greeting)
			c.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String(), accepted
}

// One host of the DHT and 64 topics had the gateway open 26,136 connections to a third party in 13
// s.
func TestThirdPartyIsSpared(t *testing.T) {
	d := NewTCPDialer(testPolicy(t, PolicyConfig{Private: true}), SourcePublic)
	defer d.Close()
	addr, accepted := thirdParty(t, "")
	start := time.Now()
	var limited atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				s, err := d.Dial(t.Context(), addr)
				if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code == wtproto.CodeRateLimited {
					limited.Add(1)
				}
				if err == nil {
					s.Reset(wtproto.CodeNone)
				}
			}
		})
	}
	wg.Wait()
	most := int64(targetBurst*targetTrust) + int64(time.Since(start)/(targetEvery/targetTrust)) + 1
	if n := accepted.Load(); n > most || limited.Load() == 0 {
		t.Errorf("the third party got %d connections, want %d at most; %d dials were refused", n, most, limited.Load())
	}
	// The operator's own target is dialed as often as it takes.
	own := NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured)
	defer own.Close()
	for i := range 2 * targetBurst * targetTrust {
		s, err := own.Dial(t.Context(), addr)
		if err != nil {
			t.Fatalf("dial %d of the operator's target: %v", i, err)
		}
		s.Reset(wtproto.CodeNone)
	}
}

// A peer that says something is dialed as often as clients want, though each circuit is short.
func TestUsefulPeerIsNotLimited(t *testing.T) {
	d := NewTCPDialer(testPolicy(t, PolicyConfig{Private: true}), SourcePublic)
	defer d.Close()
	addr, _ := thirdParty(t, "hello")
	for i := range 2 * targetBurst * targetTrust {
		s, err := d.Dial(t.Context(), addr)
		if err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
		if n, err := s.Read(make([]byte, 8)); n == 0 {
			t.Fatalf("dial %d: read nothing, %v", i, err)
		}
		s.Close()
	}
}
