package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/mcast"
	"github.com/swarmgate/swarmgate/wtproto"
)

func testPolicy(t *testing.T) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var topicA, topicB = wtproto.TopicFromName("a"), wtproto.TopicFromName("b")

// rrs reads records in the form of a zone file. One that begins with "!" has the cache-flush bit.
func rrs(lines ...string) []dns.RR {
	var out []dns.RR
	for _, line := range lines {
		text, flush := strings.CutPrefix(line, "!")
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(fmt.Sprintf("%q: %v", line, err))
		}
		if flush {
			rr.Header().Class |= flushBit
		}
		out = append(out, rr)
	}
	return out
}

// packet returns a response with list, as multicast DNS has it.
func packet(list ...dns.RR) []byte {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true, Answer: list}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// thing is an instance of a service of a scripted LAN.
type thing struct {
	name  string // one label
	typ   string // topicService.name if empty
	text  string // a TXT string
	host  string // one label; name if empty
	port  int    // 80 if zero
	addrs []string
}

func service4(name string, topic wtproto.Topic, addrs ...string) thing {
	return thing{name: name, text: "topic=" + topic.String(), addrs: addrs}
}

func hostThing(name, id string, addrs ...string) thing {
	return thing{name: name, typ: hostService.name, text: "id=" + id, addrs: addrs}
}

// records returns what can be said of x: PTR, SRV, TXT, A, AAAA, with a TTL in seconds.
func (x thing) records(ttl int) []dns.RR {
	typ, host, port := x.typ, x.host, x.port
	if typ == "" {
		typ = topicService.name
	}
	if host == "" {
		host = x.name
	}
	if port == 0 {
		port = 80
	}
	full := x.name + "." + typ + ".local."
	lines := []string{
		fmt.Sprintf("%s.local. %d IN PTR %s", typ, ttl, full),
		fmt.Sprintf("!%s %d IN SRV 0 0 %d %s.local.", full, ttl, port, host),
		fmt.Sprintf("!%s %d IN TXT %q", full, ttl, x.text),
	}
	for _, a := range x.addrs {
		kind := "A"
		if strings.Contains(a, ":") {
			kind = "AAAA"
		}
		lines = append(lines, fmt.Sprintf("!%s.local. %d IN %s %s", host, ttl, kind, a))
	}
	return rrs(lines...)
}

// scriptedLAN is the LAN of a network in a test: interface 1 is eth0 with 10.0.0.0/24, fd00::/64
// and fe80::/64, and 2 is eth1 with 10.0.1.0/24 and fe80::/64.
type scriptedLAN struct {
	t     *testing.T
	begin time.Time

	mu     sync.Mutex
	lan    []discovery.Interface // guarded by mu
	heard  func(mcast.Packet)    // guarded by mu; nil while nobody listens
	joined []mcast.Interface     // guarded by mu
	asked  []string              // guarded by mu; what was asked, and when
	answer func(index int, family mcast.Family, q *dns.Msg)
	broken error // guarded by mu; of the next socket
	fail   chan error
}

func iface(index int, name string, subnets ...string) discovery.Interface {
	i := discovery.Interface{}
	i.Index, i.Name = index, name
	for _, s := range subnets {
		i.Subnets = append(i.Subnets, netip.MustParsePrefix(s))
	}
	return i
}

// scripted returns a network on a scripted LAN, which is to be started.
func scripted(t *testing.T, cfg Config) (*Network, *scriptedLAN) {
	t.Helper()
	if cfg.Policy == nil {
		cfg.Policy = testPolicy(t)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &scriptedLAN{t: t, begin: time.Now(), fail: make(chan error, 1)}
	l.lan = []discovery.Interface{
		iface(1, "eth0", "10.0.0.0/24", "fd00::/64", "fe80::/64"),
		iface(2, "eth1", "10.0.1.0/24", "fe80::/64"),
	}
	n.register = func(*Self, []discovery.Interface) (func(), error) { return func() {}, nil }
	n.lan = func() ([]discovery.Interface, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.lan, nil
	}
	n.check = func(a netip.AddrPort) error {
		if a.Addr().Zone() != "" { // the policy knows this machine's interfaces only
			return nil
		}
		return cfg.Policy.Check(discovery.SourceLAN, a)
	}
	n.listen = func() (conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.broken != nil {
			return nil, l.broken
		}
		return l, nil
	}
	return n, l
}

func (l *scriptedLAN) SetInterfaces(list []mcast.Interface) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined = list
	return len(list), nil
}

func (l *scriptedLAN) Run(ctx context.Context, handle func(mcast.Packet)) error {
	l.mu.Lock()
	l.heard = handle
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.heard = nil
		l.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-l.fail:
		return err
	}
}

func (l *scriptedLAN) Send(index int, family mcast.Family, b []byte) error {
	q := new(dns.Msg)
	if err := q.Unpack(b); err != nil || q.Response {
		l.t.Errorf("sent %v, %v", q, err)
	}
	l.mu.Lock()
	for _, x := range q.Question {
		l.asked = append(l.asked, fmt.Sprintf("%v %d/%d %s %s", time.Since(l.begin).Round(time.Millisecond), index, family, x.Name, dns.TypeToString[x.Qtype]))
		if x.Qclass != dns.ClassINET {
			l.t.Errorf("asked %v", x)
		}
	}
	answer := l.answer
	l.mu.Unlock()
	if answer != nil {
		answer(index, family, q)
	}
	return nil
}

func (l *scriptedLAN) Close() error { return nil }

// say has the machine at src say list on an interface.
func (l *scriptedLAN) say(index int, src string, list ...dns.RR) {
	l.mu.Lock()
	heard := l.heard
	on := slices.ContainsFunc(l.joined, func(i mcast.Interface) bool { return i.Index == index })
	l.mu.Unlock()
	if heard == nil || !on {
		return
	}
	from := netip.MustParseAddr(src)
	group := group4
	if from.Is6() {
		group = group6
	}
	for k := 0; k < len(list) || k == 0; k += 50 { // what fits one packet
		heard(mcast.Packet{
			Data: packet(list[k:min(k+50, len(list))]...), Interface: index, HopLimit: 255,
			Source: netip.AddrPortFrom(from, port), Destination: group,
		})
	}
}

// sayAt has it said after a while.
func (l *scriptedLAN) sayAt(after time.Duration, index int, src string, list ...dns.RR) {
	time.AfterFunc(after, func() { l.say(index, src, list...) })
}

// responder is a machine that answers exactly what it is asked, each record in a packet of its
// own: the least that RFC 6762 allows.
type responder struct {
	index   int
	src     string
	records []dns.RR
}

// respond has machines answer, each after 50 ms. It replaces those that did.
func (l *scriptedLAN) respond(machines ...responder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = func(index int, family mcast.Family, q *dns.Msg) {
		for _, m := range machines {
			if m.index == index && mcast.FamilyOf(netip.MustParseAddr(m.src)) == family {
				for _, rr := range answersOf(q, m.records) {
					l.sayAt(50*time.Millisecond, index, m.src, rr)
				}
			}
		}
	}
}

// answersOf returns those of records that q asks for and does not know.
func answersOf(q *dns.Msg, records []dns.RR) (out []dns.RR) {
	for _, rr := range records {
		h := rr.Header()
		asked := slices.ContainsFunc(q.Question, func(x dns.Question) bool {
			return strings.EqualFold(x.Name, h.Name) && (x.Qtype == h.Rrtype || x.Qtype == dns.TypeANY)
		})
		known := slices.ContainsFunc(q.Answer, func(k dns.RR) bool {
			return dns.IsDuplicate(k, rr) && k.Header().Ttl >= h.Ttl/2
		})
		if asked && !known {
			out = append(out, rr)
		}
	}
	return out
}

// questions returns what was asked.
func (l *scriptedLAN) questions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// start runs n until the test ends.
func start(t *testing.T, n *Network) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- n.Run(context.Background()) }()
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// event is what a join yielded.
type event struct {
	at   time.Duration // since the join began
	what string        // "works", an error, the address, or "gone" and the address
	id   string
}

func (e event) String() string { return fmt.Sprintf("%v %s", e.at, e.what) }

// events joins topic for d and returns what it yielded.
func events(t *testing.T, n *Network, topic wtproto.Topic, d time.Duration) (out []event) {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for s, err := range n.Join(ctx, topic, discovery.Native()) {
		e := event{at: time.Since(begin).Round(time.Millisecond), what: "works", id: s.Peer.ID}
		switch {
		case err != nil:
			e.what = err.Error()
		case s.Gone:
			e.what = "gone " + s.Peer.Address
			if s.Dial != nil || s.Holds != 0 {
				t.Errorf("gone with a dial or a hold: %+v", s)
			}
		case s.Peer.ID != "":
			if e.what = s.Peer.Address; e.what == "" {
				_, err := s.Dial(ctx, wtproto.EndpointID{})
				refusal, _ := errors.AsType[*wtproto.Error](err)
				if refusal == nil || refusal.Code != wtproto.CodeForbidden {
					t.Errorf("Dial = %v, want a refusal", err)
				}
				e.what = fmt.Sprint(err)
			}
			if s.Dial == nil || s.Holds <= 0 || s.Peer.Network != "lan" || len(s.Peer.ID) != 16 {
				t.Errorf("sighting %+v", s)
			}
		}
		out = append(out, e)
	}
	return out
}

// wantEvents expects what got has, without "works", at the times of want or within the two seconds
// after.
func wantEvents(t *testing.T, got []event, want ...event) {
	t.Helper()
	got = slices.DeleteFunc(got, func(e event) bool { return e.what == "works" })
	same := slices.EqualFunc(got, want, func(g, w event) bool {
		return g.what == w.what && g.at >= w.at && g.at <= w.at+2*time.Second
	})
	if !same {
		t.Errorf("events:\n %v\nwant within 2s of\n %v", got, want)
	}
}

// ev is an event that is wanted.
func ev(at time.Duration, what string) event { return event{at: at, what: what} }
