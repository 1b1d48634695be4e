package mdns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/mcast"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

// machine is a responder of multicast DNS in another namespace. It can do what avahi does not: it
// answers each question with that record and nothing else, in a packet of its own, and announces
// nothing unless it is told to.
type machine struct {
	t     *testing.T
	conn  *mcast.Conn
	index int
}

// newMachine starts a machine in ns, on its interface dev, that answers with records until the
// test ends.
func newMachine(t *testing.T, ns *netns.NS, dev string, records []dns.RR, subnets ...string) *machine {
	t.Helper()
	m := &machine{t: t}
	on := mcast.Interface{}
	for _, s := range subnets {
		on.Subnets = append(on.Subnets, netip.MustParsePrefix(s))
	}
	ns.Do(t, func() {
		i, err := net.InterfaceByName(dev)
		if err == nil {
			m.index, on.Index = i.Index, i.Index
			m.conn, err = mcast.Listen(mcast.Config{Group4: group4, Group6: group6, Port: port})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n, err := m.conn.SetInterfaces([]mcast.Interface{on}); n != 1 {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- m.conn.Run(ctx, func(p mcast.Packet) {
			q := new(dns.Msg)
			if q.Unpack(p.Data) == nil && !q.Response {
				for _, rr := range answersOf(q, records) {
					_ = m.conn.Send(m.index, mcast.FamilyOf(p.Source.Addr()), packet(rr))
				}
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

// say announces list by IPv4.
func (m *machine) say(list ...dns.RR) {
	m.t.Helper()
	if err := m.conn.Send(m.index, mcast.IPv4, packet(list...)); err != nil {
		m.t.Fatal(err)
	}
}

// echoes runs an echo service on TCP port 7007 in ns, which says first who it is.
func echoes(t *testing.T, ns *netns.NS, who string) {
	t.Helper()
	netns.Daemon(t, ns.Command(t.Context(), "socat", "-d", "-d", "TCP6-LISTEN:7007,fork,ipv6-v6only=0", "SYSTEM:echo "+who+"; cat"), "listening on")
}

// namespaces returns the namespaces whose names the outer process has put into the environment.
func namespaces() (out []*netns.NS) {
	for _, name := range strings.Split(os.Getenv(envLAN), ",") {
		out = append(out, netns.Open(name))
	}
	return out
}

// rerun runs the test in here, and has namespaces return the others there.
func rerun(t *testing.T, here *netns.NS, others ...*netns.NS) {
	t.Helper()
	var names []string
	for _, ns := range others {
		names = append(names, ns.Name())
	}
	here.Rerun(t, envLAN+"="+strings.Join(names, ","))
}

// network starts a network in this namespace.
func network(t *testing.T, cfg Config) *Network {
	t.Helper()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Policy = policy
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	start(t, n)
	return n
}

// find joins topicA and waits until the last sighting of a service is at want. It returns where
// anything was seen until then.
func find(t *testing.T, n *Network, want string) (s discovery.Sighting, seen []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for s, err := range n.Join(ctx, topicA, discovery.Native()) {
		switch {
		case err != nil:
			t.Fatalf("Join yields %v", err)
		case s.Peer.ID == "" || s.Gone:
			continue
		}
		at := s.Peer.Address
		if at == "" {
			_, err := s.Dial(ctx, wtproto.EndpointID{})
			at = fmt.Sprint(err)
		}
		if seen = append(seen, at); strings.HasPrefix(at, want) {
			return s, seen
		}
	}
	t.Fatalf("%s is not found, but %q", want, seen)
	return discovery.Sighting{}, nil
}

// greeted dials s and expects that who answers.
func greeted(t *testing.T, s discovery.Sighting, who string) {
	t.Helper()
	stream, err := s.Dial(t.Context(), wtproto.EndpointID{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	b := make([]byte, 100)
	if n, err := stream.Read(b); err != nil || strings.TrimSpace(string(b[:n])) != who {
		t.Errorf("%s answers %q, %v, want %q", s.Peer.Address, b[:n], err, who)
	}
}

// One forged packet by unicast from beyond a router, to an interface that is not among those to
// use, had the gateway connect to an internal web server and hand its bytes to a client on the
// internet. Neither that is believed, nor one that claims a source on the link, nor one on an
// interface that is used.
func TestForgedFromBeyondARouter(t *testing.T) {
	if !netns.Inside() {
		here, near, inner, router, far := netns.New(t, "here"), netns.New(t, "near"), netns.New(t, "inner"), netns.New(t, "router"), netns.New(t, "far")
		netns.Link(t, here, "10.90.0.1/24", near, "10.90.0.2/24")
		netns.Link(t, here, "10.91.0.1/24", inner, "10.91.0.2/24")
		netns.Link(t, here, "10.92.0.1/24", router, "10.92.0.254/24")
		netns.Link(t, router, "10.93.0.254/24", far, "10.93.0.2/24")
		for _, ns := range []*netns.NS{here, router} {
			for _, which := range []string{"all", "default", "veth0", "veth1"} {
				ns.Sysctl(t, "net/ipv4/conf/"+which+"/rp_filter", "0")
			}
		}
		here.Sysctl(t, "net/ipv4/conf/veth2/rp_filter", "0")
		router.Sysctl(t, "net/ipv4/ip_forward", "1")
		here.IP(t, "route", "add", "10.93.0.0/24", "via", "10.92.0.254")
		here.IP(t, "route", "add", "10.93.1.0/24", "via", "10.92.0.254")
		far.IP(t, "route", "add", "default", "via", "10.93.0.254")
		for _, ip := range []string{"10.92.0.66/32", "10.91.0.2/32", "10.90.0.66/32"} {
			far.Addr(t, ip, "veth0")
		}
		rerun(t, here, near, far)
		return
	}
	all := namespaces()
	near, far := all[0], all[1]
	n := network(t, Config{Interfaces: []string{"veth0", "veth1"}})
	forge := func(from, to, at string) {
		far.Do(t, func() {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from), Port: port})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			x := service4("forged", topicA, at)
			if _, err := c.WriteTo(packet(x.records(120)...), &net.UDPAddr{IP: net.ParseIP(to), Port: port}); err != nil {
				t.Fatal(err)
			}
		})
	}
	honest := service4("honest", topicA, "10.90.0.2")
	m := newMachine(t, near, "veth0", honest.records(120), "10.90.0.0/24")
	find(t, n, "tcp://10.90.0.2:80") // it listens
	for _, to := range []string{"10.90.0.1", "10.91.0.1", "10.92.0.1"} {
		forge("10.93.0.2", to, "10.91.0.2")
		forge("10.92.0.66", to, "10.91.0.2")
		forge("10.91.0.2", to, "10.91.0.2")
		forge("10.90.0.66", to, "10.90.0.66")
	}
	late := service4("late", topicA, "10.90.0.2")
	late.port = 81
	m.say(late.records(120)...) // after what was forged
	if _, seen := find(t, n, "tcp://10.90.0.2:81"); strings.Contains(strings.Join(seen, " "), "10.91.0.2") || strings.Contains(strings.Join(seen, " "), "66") {
		t.Errorf("found %q", seen)
	}
}

// Responders that answer PTR alone and say addresses last, and a machine with forty services, are
// found.
func TestSmallResponder(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, "10.94.0.1/24", there, "10.94.0.2/24")
		rerun(t, here, there)
		return
	}
	there := namespaces()[0]
	echoes(t, there, "there")
	var records []dns.RR
	for i := range 40 {
		x := service4(fmt.Sprint("s", i), topicA, "10.94.0.2")
		x.host, x.port = "there", 7007+i
		for _, rr := range x.records(120) {
			if txt, ok := rr.(*dns.TXT); ok && i%2 == 0 {
				txt.Txt = append([]string{strings.Repeat("x", 255), strings.Repeat("y", 255), strings.Repeat("z", 255)}, txt.Txt...)
			}
			records = append(records, rr)
		}
	}
	newMachine(t, there, "veth0", records, "10.94.0.0/24")
	n := network(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	found := make(map[string]discovery.Sighting)
	for s, err := range n.Join(ctx, topicA, discovery.Native()) {
		if err != nil || s.Gone {
			t.Fatalf("Join yields %v, %v", s.Peer, err)
		}
		if found[s.Peer.Address] = s; len(found) == 41 { // with the one that says that it works
			break
		}
	}
	if len(found) != 41 {
		t.Fatalf("%d services are found, want 40", len(found)-1)
	}
	greeted(t, found["tcp://10.94.0.2:7007"], "there")
}

// What a machine publishes of another one is dialed if that is allowed, and else the reason is
// told.
func TestProxy(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, "10.96.0.1/24", there, "10.96.0.2/24")
		rerun(t, here, there, here)
		return
	}
	there := namespaces()[0]
	echoes(t, namespaces()[1], "here") // another machine than the one that tells of it
	env := netns.Avahi(t, there)
	for _, args := range [][]string{
		{"-a", "-R", "printer.local", "10.96.0.1"},
		{"-s", "-H", "printer.local", "printer", topicService.name, "7007", "topic=" + topicA.String()},
	} {
		publish := there.Command(t.Context(), "avahi-publish", args...)
		publish.Env = env
		netns.Daemon(t, publish, "Established under name")
	}
	find(t, network(t, Config{}), "FORBIDDEN: 10.96.0.2 says it is at 10.96.0.1, which is not its own address: allow proxies with --lan-any-host")
	s, _ := find(t, network(t, Config{AnyHost: true}), "tcp://10.96.0.1:7007")
	greeted(t, s, "here")
}

// A peer that has a link-local address alone was never reached beside twelve other interfaces: the
// answer did not say on which it came, and the first eight were tried.
func TestLinkLocalBesideManyInterfaces(t *testing.T) {
	if !netns.Inside() {
		here, others, there := netns.New(t, "here"), netns.New(t, "others"), netns.New(t, "there")
		for range 12 {
			netns.Link(t, here, "", others, "")
		}
		netns.Link(t, here, "", there, "")
		rerun(t, here, there)
		return
	}
	there := namespaces()[0]
	echoes(t, there, "there")
	env := netns.Avahi(t, there)
	publish := there.Command(t.Context(), "avahi-publish", "-s", "far", topicService.name, "7007", "topic="+topicA.String())
	publish.Env = env
	netns.Daemon(t, publish, "Established under name")
	s, _ := find(t, network(t, Config{}), "tcp://[fe80:")
	if !strings.Contains(s.Peer.Address, "%veth12]") {
		t.Errorf("found at %s, want veth12", s.Peer.Address)
	}
	greeted(t, s, "there")
}

// A machine on eth0 that announced 172.17.0.2 had the gateway's clients connected with a container
// of the gateway's docker0. And if both interfaces have one subnet, what was heard on one of them
// is dialed there.
func TestServiceIsDialedWhereItWasHeard(t *testing.T) {
	if !netns.Inside() {
		here, there, container := netns.New(t, "here"), netns.New(t, "there"), netns.New(t, "container")
		netns.Link(t, here, "172.17.0.1/16", container, "172.17.0.2/16") // first: its routes count
		netns.Link(t, here, "172.17.0.1/16", there, "172.17.0.2/16")
		here.Addr(t, "10.95.0.1/24", "veth1")
		there.Addr(t, "10.95.0.2/24", "veth0")
		rerun(t, here, there, container)
		return
	}
	there, container := namespaces()[0], namespaces()[1]
	echoes(t, there, "there")
	echoes(t, container, "container")
	x := service4("mine", topicA, "172.17.0.2")
	x.port = 7007
	newMachine(t, there, "veth0", x.records(120), "172.17.0.0/16")
	s, _ := find(t, network(t, Config{}), "tcp://172.17.0.2:7007")
	greeted(t, s, "there")
}
