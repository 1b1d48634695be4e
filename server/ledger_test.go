package server

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestAddressAccounts(t *testing.T) {
	for _, test := range []struct {
		in   string
		want []string
	}{
		{"192.0.2.1", []string{"192.0.2.1/32"}},
		{"::ffff:192.0.2.1", []string{"192.0.2.1/32"}},
		{"2001:db8:1:2:3:4:5:6", []string{"2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48"}},
		{"2001:db8:1:f2ff::", []string{"2001:db8:1:f2ff::/64", "2001:db8:1:f200::/56", "2001:db8:1::/48"}},
		{"fe80::1%eth0", []string{"fe80::/64", "fe80::/56", "fe80::/48"}},
		{"0.0.0.0", []string{"0.0.0.0/32"}},
	} {
		var got []string
		for _, a := range addressAccounts(netip.MustParseAddr(test.in)) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("addressAccounts(%s) = %v, want %v", test.in, got, test.want)
		}
	}
}

// testLedger has room for total sessions, and for each of a principal.
func testLedger(total, each int) *ledger {
	c := Config{MaxSessions: total, MaxSessionsPerPrincipal: each, NewTopics: 60, MaxTopicsPerPrincipal: 2}
	return c.ledger()
}

func from(addr string) *principal { return newPrincipal(&auth.Grant{}, netip.MustParseAddr(addr)) }

// through is somebody behind a balancer, by a connection of it.
func through(balancer string) *principal {
	c := Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:ba::/48")}}
	return c.principal(&auth.Grant{}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(balancer)))
}

func byName(name string, l auth.Limits) *principal {
	return newPrincipal(&auth.Grant{Name: name, Limits: l}, netip.MustParseAddr("192.0.2.99"))
}

func TestLedgerTake(t *testing.T) {
	v6 := func(n int) []*principal { // n different /64s of one /56
		var all []*principal
		for i := range n {
			all = append(all, from(fmt.Sprintf("2001:db8:0:%x::1", i)))
		}
		return all
	}
	times := func(n int, p *principal) []*principal { return slices.Repeat([]*principal{p}, n) }
	for _, test := range []struct {
		name        string
		total, each int
		there       []*principal
		comes       *principal
		want        LimitName // empty for none
	}{
		{"the first", 10, 2, nil, from("192.0.2.1"), ""},
		{"the last of its address", 10, 2, times(1, from("192.0.2.1")), from("192.0.2.1"), ""},
		{"one too many of an address", 10, 2, times(2, from("192.0.2.1")), from("192.0.2.1"), LimitSessionsPrincipal},
		{"another address", 10, 2, times(2, from("192.0.2.1")), from("192.0.2.2"), ""},
		{"the same address as IPv6", 10, 1, times(1, from("192.0.2.1")), from("::ffff:192.0.2.1"), LimitSessionsPrincipal},
		{"one IPv6 /64", 10, 1, times(1, from("2001:db8::1")), from("2001:db8::ffff"), LimitSessionsPrincipal},
		{"another IPv6 /64", 10, 1, times(1, from("2001:db8::1")), from("2001:db8:0:1::1"), ""},
		{"a fifth /64 of one /56", 100, 1, v6(4), from("2001:db8:0:9::1"), LimitSessionsPrincipal},
		{"another /56", 100, 1, v6(4), from("2001:db8:0:100::1"), ""},
		{"another /48", 100, 1, v6(4), from("2001:db9::1"), ""},
		{"a link-local network of two zones", 10, 1, times(1, from("fe80::1%eth0")), from("fe80::2%eth1"), LimitSessionsPrincipal},
		{"the last of all", 2, 2, times(1, from("192.0.2.1")), from("192.0.2.2"), ""},
		{"one too many of all", 2, 2, []*principal{from("192.0.2.1"), from("192.0.2.2")}, from("192.0.2.3"), LimitSessions},
		{"the last tenth, for one who has some", 10, -1, times(9, from("192.0.2.1")), from("192.0.2.1"), LimitSessions},
		{"the last tenth, for one who has none", 10, -1, times(9, from("192.0.2.1")), from("192.0.2.2"), ""},
		{"the last tenth, for another /64 of one /48", 10, -1, times(9, from("2001:db8::1")), from("2001:db8:0:ffff::1"), LimitSessions},
		{"too many of both", 1, 1, times(1, from("192.0.2.1")), from("192.0.2.1"), LimitSessionsPrincipal},
		{"no limit of an address", 100, -1, times(9, from("192.0.2.1")), from("192.0.2.1"), ""},
		{"no limit in all", -1, 1, []*principal{from("192.0.2.1"), from("192.0.2.2")}, from("192.0.2.3"), ""},
		{"another connection of a balancer", 100, 1, times(1, through("198.51.100.1:1")), through("198.51.100.1:2"), ""},
		{"the same connection of a balancer", 100, 1, times(1, through("198.51.100.1:1")), through("[::ffff:198.51.100.1]:1"), LimitSessionsPrincipal},
		{"another connection of a balancer with IPv6", 100, 1, times(1, through("[2001:db8:ba::1]:1")), through("[2001:db8:ba::1]:2"), ""},
		{"an address beside the balancers", 100, 1, times(1, through("198.51.101.1:1")), through("198.51.101.1:2"), LimitSessionsPrincipal},
		{"the last tenth, behind a balancer that has some", 10, -1, times(9, through("198.51.100.1:1")), through("198.51.100.1:2"), LimitSessions},
		{"the last tenth, behind another balancer", 10, -1, times(9, through("198.51.100.1:1")), through("198.51.100.2:2"), ""},
		{"the last tenth, beside a balancer", 10, -1, times(9, through("198.51.100.1:1")), from("192.0.2.1"), ""},
		{"a name is one, wherever it is", 10, 1, times(1, byName("ann", auth.Limits{})), byName("ann", auth.Limits{}), LimitSessionsPrincipal},
		{"another name at the same address", 10, 1, times(1, byName("ann", auth.Limits{})), byName("bob", auth.Limits{}), ""},
		{"a name is not its address", 10, 1, times(1, from("192.0.2.99")), byName("ann", auth.Limits{}), ""},
		{"a grant has more", 10, 1, times(1, byName("ann", auth.Limits{Sessions: 2})), byName("ann", auth.Limits{Sessions: 2}), ""},
		{"a grant has less", 10, 2, times(1, byName("ann", auth.Limits{Sessions: 1})), byName("ann", auth.Limits{Sessions: 1}), LimitSessionsPrincipal},
		{"a grant has no limit", 100, 1, times(9, byName("ann", auth.Limits{Sessions: -1})), byName("ann", auth.Limits{Sessions: -1}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := testLedger(test.total, test.each)
			for _, p := range test.there {
				if r := l.take(p, resourceSessions, 1); r != nil {
					t.Fatalf("%v: %v", p.accounts, r)
				}
			}
			r := l.take(test.comes, resourceSessions, 1)
			if (r == nil) != (test.want == "") || r != nil && r.limit != test.want {
				t.Errorf("take = %+v, want %q", r, test.want)
			}
			if r != nil && (r.Code == wtproto.CodeNone || r.Reason == "" || r.Remote) {
				t.Errorf("take = %#v, want a code, a reason, and that it is our decision", r.Error)
			}
			if r == nil {
				l.give(test.comes, resourceSessions, 1)
			}
			for _, p := range test.there {
				l.give(p, resourceSessions, 1)
			}
			if len(l.rows) != 0 || l.total[resourceSessions] != 0 {
				t.Errorf("%d rows, %d in all after all was given back", len(l.rows), l.total[resourceSessions])
			}
		})
	}
}

func TestLedgerSpend(t *testing.T) {
	l := testLedger(-1, -1) // one new topic a second, 60 at once
	now := time.Unix(1_000_000, 0)
	ann, bob := from("2001:db8::1"), from("2001:db8:0:1::1")
	use := func(p *principal) (n int) {
		for l.spend(p, flowNewTopics, 1, now) == nil {
			n++
		}
		return n
	}
	if n := use(ann); n != 60 {
		t.Errorf("%d at once, want 60", n)
	}
	if n := use(bob); n != 60 {
		t.Errorf("another /64: %d at once, want 60", n)
	}
	if r := l.spend(ann, flowNewTopics, 1, now); r == nil || r.limit != LimitNewTopics || r.Code != wtproto.CodeRateLimited {
		t.Errorf("spend = %+v, want %s", r, LimitNewTopics)
	}
	now = now.Add(3 * time.Second)
	if n := use(ann); n != 3 {
		t.Errorf("%d after 3s, want 3", n)
	}
	for i := range 10 { // the /56 has had 123 of its 240
		now = now.Add(time.Millisecond)
		use(from(fmt.Sprintf("2001:db8:0:%x::1", 16+i)))
	}
	if n := use(from("2001:db8:0:99::1")); n != 0 {
		t.Errorf("a new /64 of a /56 that has used up its own: %d, want 0", n)
	}
	if n := use(byName("ann", auth.Limits{NewTopics: 5})); n != 5 {
		t.Errorf("a grant of 5 a minute: %d at once, want 5", n)
	}
	if n := use(byName("bob", auth.Limits{NewTopics: 5})); n != 5 {
		t.Errorf("another name: %d at once, want 5", n)
	}
	if n := use(byName("bob", auth.Limits{NewTopics: 600})); n != 0 {
		t.Errorf("another grant of the same name: %d at once, want 0", n)
	}
	now = now.Add(time.Second)
	if n := use(byName("bob", auth.Limits{NewTopics: 600})); n != 10 {
		t.Errorf("another grant of the same name: %d after a second, want its 10", n)
	}
	if l.spend(byName("eve", auth.Limits{NewTopics: -1}), flowNewTopics, 1000, now) != nil {
		t.Error("a grant without a limit was refused")
	}
}

// Whoever is behind a balancer could have filled a disk by coming again and again, each time as
// somebody new.
func TestLogLinesBehindABalancer(t *testing.T) {
	l, now := testLedger(-1, -1), time.Unix(1_000_000, 0)
	lines := 0
	for port := range 10 * linesBurst {
		p := through(fmt.Sprintf("198.51.100.1:%d", port+1))
		if l.spend(p, flowNewTopics, 60, now) != nil {
			t.Fatal("new topics were refused by what others used up")
		}
		if l.spend(p, flowLogLines, 1, now) == nil {
			lines++
		}
	}
	if lines != linesBurst {
		t.Errorf("%d lines, want %d", lines, linesBurst)
	}
}

// A row stays while it says something: somebody could else get a fresh one by leaving.
func TestLedgerForgetsIdleRows(t *testing.T) {
	l := testLedger(-1, -1)
	now := time.Unix(1_000_000, 0)
	for i := range 10 * sweepMin {
		l.spend(from(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()), flowNewTopics, 60, now)
		now = now.Add(100 * time.Millisecond)
	}
	if n := len(l.rows); n < 600 || n > 2*sweepMin {
		t.Errorf("%d rows, want the 600 that are not idle and at most as many again as the least", n)
	}
	ann := from("10.0.39.255")
	if l.spend(ann, flowNewTopics, 60, now) == nil {
		t.Error("a row that was used up is gone")
	}
}

func TestLedgerAllocatesNothing(t *testing.T) {
	l := testLedger(-1, -1)
	p, now := from("2001:db8::1"), time.Unix(1_000_000, 0)
	l.take(p, resourceSessions, 1)
	l.spend(p, flowNewTopics, 1, now)
	if n := testing.AllocsPerRun(100, func() {
		l.take(p, resourceSessions, 1)
		l.give(p, resourceSessions, 1)
		now = now.Add(time.Minute)
		l.spend(p, flowNewTopics, 1, now)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestLimitsAreDescribed(t *testing.T) {
	seen := make(map[LimitName]bool)
	for _, l := range Limits() {
		if l.Name == "" || l.Default == "" || l.What == "" || l.Why == "" || seen[l.Name] {
			t.Errorf("%+v, want a name of its own, a default, what and why", l)
		}
		seen[l.Name] = true
	}
	for _, q := range (&Config{}).ledger().quotas {
		if !seen[q.eachLimit] || !seen[q.totalLimit] {
			t.Errorf("%s or %s is not described", q.eachLimit, q.totalLimit)
		}
	}
	for _, p := range (&Config{}).ledger().paces {
		if !seen[p.limit] {
			t.Errorf("%s is not described", p.limit)
		}
	}
}

// One page in a hundred tabs once took all circuits of its address, and its neighbours behind one
// NAT got none.
func TestLedgerKeepsSomeForNeighbours(t *testing.T) {
	for _, test := range []struct {
		name       string
		tab, other *principal
		takes      int  // of one session, which asks on and on
		neighbour  bool // gets one then
	}{
		{"strangers behind one address", from("192.0.2.1"), from("192.0.2.1"), 18, true},
		{"strangers in one /64", from("2001:db8::1"), from("2001:db8::2"), 18, true},
		{"strangers behind another address", from("192.0.2.1"), from("192.0.2.2"), 18, true},
		{"two sessions of one name", byName("alice", auth.Limits{}), byName("alice", auth.Limits{}), 20, false},
	} {
		c := Config{MaxCircuitsPerPrincipal: 20, MaxCircuitsTotal: -1}
		l := c.ledger()
		takes := 0
		for l.take(test.tab, resourceCircuits, 1) == nil {
			takes++
		}
		if takes != test.takes {
			t.Errorf("%s: one session has %d of 20, want %d", test.name, takes, test.takes)
		}
		refused := l.take(test.other, resourceCircuits, 1)
		if (refused == nil) != test.neighbour {
			t.Errorf("%s: the neighbour: %v, want one: %v", test.name, refused, test.neighbour)
		}
		if refused == nil {
			l.give(test.other, resourceCircuits, 1)
		}
		l.give(test.tab, resourceCircuits, int64(takes))
		if len(l.rows) != 0 {
			t.Errorf("%s: %d rows are left", test.name, len(l.rows))
		}
	}
}

// Sessions of one address that joined again and again made and ended circuits without pause, and
// took the processor from all others. Circuits beyond a rate now wait, and open later.
func TestCircuitsOfPrincipalWait(t *testing.T) {
	inBubble(t, Config{NewCircuits: 2, IsolateClients: true}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 100)
		began := time.Now()
		for i := range 26 {
			g.lan.see(g.lan.peer(fmt.Sprint(i)).sighting())
		}
		for i := range 26 {
			c.circuit()
			if i == 19 && time.Since(began) != 0 {
				t.Errorf("20 circuits took %v, want none", time.Since(began))
			}
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("26 circuits took %v, want 3s to 5s", took)
		}
	})
}
