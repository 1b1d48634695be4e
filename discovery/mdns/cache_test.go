package mdns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// from returns an origin on interface 1.
func from(ip string) origin { return origin{1, netip.MustParseAddr(ip)} }

// answersIn returns the records of lines as a packet's answers.
func answersIn(lines ...string) []answer {
	return parseAnswers(packet(rrs(lines...)...), []*service{topicService, hostService})
}

// contents returns what c holds, one line for each record, in order: who said it, its name and
// data, and for how many seconds it is there.
func contents(c *cache, now time.Time) (out []string) {
	for o, n := range c.all {
		for s, list := range n.sets {
			for _, e := range list {
				what := e.target + e.text
				if e.addr.IsValid() {
					what = e.addr.String()
				}
				name, _, _ := strings.Cut(s.name, ".")
				out = append(out, fmt.Sprintf("%v %s %s %s %v", o.addr, name, dns.TypeToString[s.kind], what, e.expires.Sub(now).Seconds()))
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestCache(t *testing.T) {
	const web = "web._swarmgate._tcp.local."
	type step struct {
		at    time.Duration
		from  string
		lines []string
	}
	ptr := func(ttl int) string { return fmt.Sprintf("_swarmgate._tcp.local. %d IN PTR %s", ttl, web) }
	for _, tc := range []struct {
		name  string
		steps []step
		at    time.Duration // when contents are looked at
		want  []string
	}{
		{"a record lives for its TTL", []step{{0, "10.0.0.1", []string{ptr(120)}}}, 119 * time.Second, []string{"10.0.0.1 _swarmgate PTR " + web + " 1"}},
		{"and no longer", []step{{0, "10.0.0.1", []string{ptr(120)}}}, 120 * time.Second, nil},
		{
			"it lives on if it is said again",
			[]step{{0, "10.0.0.1", []string{ptr(120)}}, {60 * time.Second, "10.0.0.1", []string{ptr(120)}}},
			150 * time.Second,
			[]string{"10.0.0.1 _swarmgate PTR " + web + " 30"},
		},
		{"a long TTL is cut", []step{{0, "10.0.0.1", []string{ptr(1 << 30)}}}, 0, []string{"10.0.0.1 _swarmgate PTR " + web + " 4500"}},
		{
			"a goodbye leaves a second",
			[]step{{0, "10.0.0.1", []string{ptr(120)}}, {10 * time.Second, "10.0.0.1", []string{ptr(0)}}},
			10 * time.Second,
			[]string{"10.0.0.1 _swarmgate PTR " + web + " 1"},
		},
		{
			"which saves it if it is said again",
			[]step{{0, "10.0.0.1", []string{ptr(120)}}, {10 * time.Second, "10.0.0.1", []string{ptr(0)}}, {10500 * time.Millisecond, "10.0.0.1", []string{ptr(120)}}},
			20500 * time.Millisecond,
			[]string{"10.0.0.1 _swarmgate PTR " + web + " 110"},
		},
		{"a goodbye of what is not known is nothing", []step{{0, "10.0.0.1", []string{ptr(0)}}}, 0, nil},
		{
			"a goodbye of another machine is nothing",
			[]step{{0, "10.0.0.1", []string{ptr(120)}}, {10 * time.Second, "10.0.0.2", []string{ptr(0)}}},
			20 * time.Second,
			[]string{"10.0.0.1 _swarmgate PTR " + web + " 100"},
		},
		{
			"cache-flush ends others of the set in a second",
			[]step{
				{0, "10.0.0.1", []string{"!" + web + " 120 IN SRV 0 0 80 a.local."}},
				{10 * time.Second, "10.0.0.1", []string{"!" + web + " 120 IN SRV 0 0 80 b.local."}},
			},
			10 * time.Second,
			[]string{"10.0.0.1 web SRV a.local. 1", "10.0.0.1 web SRV b.local. 120"},
		},
		{
			"but not what was said in the last second",
			[]step{
				{0, "10.0.0.1", []string{"!" + web + " 120 IN SRV 0 0 80 a.local."}},
				{time.Second, "10.0.0.1", []string{"!" + web + " 120 IN SRV 0 0 80 b.local."}},
			},
			10 * time.Second,
			[]string{"10.0.0.1 web SRV a.local. 110", "10.0.0.1 web SRV b.local. 111"},
		},
		{
			"nor other types, nor what others said",
			[]step{
				{0, "10.0.0.1", []string{"!" + web + " 120 IN TXT x"}},
				{0, "10.0.0.2", []string{"!" + web + " 120 IN SRV 0 0 80 a.local."}},
				{10 * time.Second, "10.0.0.1", []string{"!" + web + " 120 IN SRV 0 0 80 b.local."}},
			},
			10 * time.Second,
			[]string{"10.0.0.1 web SRV b.local. 120", "10.0.0.1 web TXT  110", "10.0.0.2 web SRV a.local. 110"},
		},
		{
			"a shared name has no flush",
			[]step{
				{0, "10.0.0.1", []string{"!" + ptr(120)}},
				{10 * time.Second, "10.0.0.1", []string{"!_swarmgate._tcp.local. 120 IN PTR b._swarmgate._tcp.local."}},
			},
			10 * time.Second,
			[]string{"10.0.0.1 _swarmgate PTR b._swarmgate._tcp.local. 120", "10.0.0.1 _swarmgate PTR " + web + " 110"},
		},
		{
			"case does not matter",
			[]step{
				{0, "10.0.0.1", []string{"!" + web + " 120 IN SRV 0 0 80 A.local."}},
				{10 * time.Second, "10.0.0.1", []string{"!WEB._swarmgate._TCP.local. 120 IN SRV 0 0 80 a.LOCAL."}},
			},
			10 * time.Second,
			[]string{"10.0.0.1 web SRV a.local. 120"},
		},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			c, begin := newCache(), time.Unix(1e9, 0)
			for _, s := range tc.steps {
				c.expire(begin.Add(s.at))
				for _, a := range answersIn(s.lines...) {
					c.add(from(s.from), a, begin.Add(s.at))
				}
			}
			now := begin.Add(tc.at)
			next := c.expire(now)
			if got := contents(&c, now); !slices.Equal(got, tc.want) || c.size != len(tc.want) {
				t.Errorf("the cache has %d records:\n %q, want\n %q", c.size, got, tc.want)
			}
			if len(tc.want) == 0 != next.IsZero() || !next.IsZero() && !next.After(now) {
				t.Errorf("next is %v after now", next.Sub(now))
			}
			if len(tc.want) == 0 && len(c.all) > 0 {
				t.Errorf("%d origins of nothing are remembered", len(c.all))
			}
		})
	}
}

// Whoever says a lot loses what it said first, and others lose nothing. Made-up sources make room
// for each other: who was there before stays, and who comes later comes in.
func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	say := func(c *cache, src netip.Addr, instance string) {
		now = now.Add(time.Millisecond)
		for _, a := range answersIn(
			"_swarmgate._tcp.local. 4500 IN PTR "+instance+"._swarmgate._tcp.local.",
			instance+"._swarmgate._tcp.local. 4500 IN SRV 0 0 80 "+instance+".local.") {
			c.add(origin{1, src}, a, now)
		}
	}
	has := func(c *cache, src netip.Addr, instance string) bool {
		n := c.all[origin{1, src}]
		return n != nil && n.newest(instance+"._swarmgate._tcp.local.", dns.TypeSRV) != nil && c.isHost(origin{1, src}, instance+".local.", false)
	}
	honest, flooder := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.66")
	c := newCache()
	c.maxRecords, c.maxOwn, c.maxOrigins = 400, 100, 20
	for i := range 40 {
		say(&c, honest, fmt.Sprint("s", i))
	}
	for i := range 10_000 {
		say(&c, flooder, fmt.Sprint("forged", i))
	}
	if n := c.all[origin{1, flooder}]; n.order.Len() != 100 || !has(&c, flooder, "forged9999") || has(&c, flooder, "forged0") {
		t.Errorf("of one origin %d records, want the last 100", n.order.Len())
	}
	for i := range 10_000 {
		src := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		say(&c, src, fmt.Sprint("spoofed", i))
		if i%100 == 0 {
			for k := range 100 { // some say a lot
				say(&c, src, fmt.Sprint("spoofed", i, "-", k))
			}
		}
		if c.size > c.maxRecords || len(c.all) > c.maxOrigins {
			t.Fatalf("%d records of %d origins", c.size, len(c.all))
		}
		if !has(&c, src, fmt.Sprint("spoofed", i)) && i%100 != 0 {
			t.Fatalf("origin %d was not taken in", i)
		}
	}
	for i := range 40 {
		if !has(&c, honest, fmt.Sprint("s", i)) {
			t.Fatalf("service %d of 40 was pushed out", i)
		}
	}
	if c.evicted == 0 {
		t.Error("nobody is told that there is no room")
	}
	records, hosts := 0, 0
	for _, n := range c.all {
		records += n.order.Len()
		for _, k := range n.hosts {
			hosts += k
		}
	}
	all := 0
	for _, k := range c.hosts {
		all += k
	}
	if records != c.size || hosts != all || hosts > records {
		t.Errorf("%d records, counted as %d; %d hosts, counted as %d", records, c.size, hosts, all)
	}
	c.keep(func(origin) bool { return false })
	if c.size != 0 || len(c.all) != 0 || len(c.hosts) != 0 {
		t.Errorf("%d records, %d origins, %d hosts on no interface", c.size, len(c.all), len(c.hosts))
	}
}

func TestParseAnswers(t *testing.T) {
	topic := topicA.String()
	const web = "web._swarmgate._tcp.local."
	for _, tc := range []struct {
		in   string
		want string // text or target, "" for nothing
		ok   bool
	}{
		{"_swarmgate._tcp.local. 9 IN PTR " + web, web, true},
		{"_SWARMGATE._tcp.local. 9 IN PTR WEB._swarmgate._tcp.local.", web, true},
		{`_swarmgate._tcp.local. 9 IN PTR my\ we\.b._swarmgate._tcp.local.`, `my\ we\.b._swarmgate._tcp.local.`, true},
		{"_swarmgate._tcp.local. 9 IN PTR web._http._tcp.local.", "", false},
		{"_swarmgate._tcp.local. 9 IN PTR a.web._swarmgate._tcp.local.", "", false},
		{"_swarmgate._tcp.local. 9 IN PTR _swarmgate._tcp.local.", "", false},
		{"_swarmgate._tcp.local. 9 IN PTR web._swarmgate._udp.local.", "", false},
		{"_http._tcp.local. 9 IN PTR web._http._tcp.local.", "", false},
		{"_services._dns-sd._udp.local. 9 IN PTR _swarmgate._tcp.local.", "", false},
		{web + " 9 IN SRV 0 0 80 host.local.", "host.local.", true},
		{"web._http._tcp.local. 9 IN SRV 0 0 80 host.local.", "", false},
		{web + ` 9 IN TXT "x" "TOPIC=` + strings.ToUpper(topic) + `"`, topic, true},
		{web + ` 9 IN TXT "topic=` + topic + `" "topic=x"`, topic, true},
		{web + ` 9 IN TXT "topic=x" "topic=` + topic + `"`, "", true},
		{web + ` 9 IN TXT "topic=` + topic[1:] + `"`, "", true},
		{web + ` 9 IN TXT "id=` + topic + `"`, "", true},
		{`x._swarmgate._udp.local. 9 IN TXT "id=12D3Koo"`, "12D3Koo", true},
		{`x._swarmgate._udp.local. 9 IN TXT "id=a\"b"`, "", true},
		{"host.local. 9 IN A 10.0.0.1", "", true},
		{"host.local. 9 IN A 224.0.0.1", "", false},
		{"host.local. 9 IN A 0.0.0.0", "", false},
		{"host.local. 9 IN AAAA fe80::1", "", true},
		{"host.local. 9 IN AAAA ff02::1", "", false},
		{"host.local. 9 CH A 10.0.0.1", "", false},
		{"host.local. 9 IN HINFO a b", "", false},
	} {
		got := answersIn(tc.in)
		if len(got) != 0 != tc.ok || tc.ok && got[0].target+got[0].text != tc.want {
			t.Errorf("%s: %+v, want %q, %v", tc.in, got, tc.want, tc.ok)
		}
	}
	one := packet(rrs(web + " 9 IN SRV 0 0 80 host.local.")...)
	query, failed, status := slices.Clone(one), slices.Clone(one), slices.Clone(one)
	query[2] &^= 0x80
	failed[3] |= 3
	status[2] |= 2 << 3
	for name, b := range map[string][]byte{"query": query, "failed": failed, "status": status, "nothing": nil, "short": one[:20]} {
		if got := parseAnswers(b, []*service{topicService}); len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// What was read before a mistake counts.
	two := packet(rrs(web+" 9 IN SRV 0 0 80 host.local.", "host.local. 9 IN A 10.0.0.1")...)
	m := new(dns.Msg)
	if err := m.Unpack(two); err != nil {
		t.Fatal(err)
	}
	m.Extra, m.Answer = m.Answer[1:], m.Answer[:1]
	b, _ := m.Pack()
	if got := parseAnswers(b[:len(b)-2], []*service{topicService}); len(got) != 1 {
		t.Errorf("a packet that is cut off: %+v, want its first record", got)
	}
}

// FuzzParseAnswers finds no packet that fails.
func FuzzParseAnswers(f *testing.F) {
	f.Add(packet(service4("web", topicA, "10.0.0.1", "fe80::1").records(120)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range parseAnswers(b, []*service{topicService, hostService}) {
			if a.name == "" || a.kind == dns.TypePTR && a.target == "" {
				t.Errorf("%+v", a)
			}
		}
	})
}
