package mdns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
)

// watched is a network whose news of topicA are waited for.
type watched struct {
	*Network
	t     *testing.T
	ctx   context.Context
	news  chan string    // addresses, or "gone" and an address
	flags chan net.Flags // of veth0, whenever they are looked at; holds 1
}

// watch starts a network in this namespace, and joins topicA until the test ends.
func watch(t *testing.T) *watched {
	t.Helper()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	w := &watched{n, t, ctx, make(chan string), make(chan net.Flags, 1)}
	look := n.lan
	n.lan = func() ([]discovery.Interface, error) {
		list, err := look()
		for _, i := range list {
			if i.Name == "veth0" {
				select {
				case <-w.flags:
				default:
				}
				w.flags <- i.Flags
			}
		}
		return list, err
	}
	start(t, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s, err := range n.Join(ctx, topicA, discovery.Native()) {
			what := s.Peer.Address
			switch {
			case err != nil:
				what = err.Error()
			case s.Gone:
				what = "gone " + what
			}
			select {
			case w.news <- what:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// next waits for news that are want, of which "gone" is that of any service, and returns what else
// came until then.
func (w *watched) next(want string) (seen []string) {
	w.t.Helper()
	for {
		select {
		case what := <-w.news:
			if what == want || strings.HasPrefix(what, "gone") && want == "gone" {
				return seen
			}
			seen = append(seen, what)
		case <-w.ctx.Done():
			w.t.Fatalf("%q did not come, but %q", want, seen)
		}
	}
}

// patient has the network ask for instances in an hour again, as it does when it has asked for
// long.
func (w *watched) patient() {
	w.browser.mu.Lock()
	defer w.browser.mu.Unlock()
	for _, s := range w.browser.resolver.links {
		s.next = time.Now().Add(time.Hour)
	}
}

// sees waits until the network has seen whether veth0 has a carrier.
func (w *watched) sees(carrier bool) {
	w.t.Helper()
	for {
		select {
		case f := <-w.flags:
			if f&net.FlagRunning != 0 == carrier {
				return
			}
		case <-w.ctx.Done():
			w.t.Fatalf("veth0 is not seen with a carrier (%v)", carrier)
		}
	}
}

// A network that had asked for long asked again after an hour only when its cable had been put in
// elsewhere. An interface that is taken down is no LAN any more, and is asked anew when it is up
// again; so is one whose carrier is back, and one whose address is another. The machine announces
// nothing.
func TestInterfaceChanges(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, "10.97.0.1/24", there, "10.97.0.2/24")
		there.Addr(t, "10.98.0.2/24", "veth0")
		rerun(t, here, here, there)
		return
	}
	here, there := namespaces()[0], namespaces()[1]
	answer := func(name string, port int) {
		x := service4(name, topicA, "10.97.0.2", "10.98.0.2")
		x.port = port
		newMachine(t, there, "veth0", x.records(4500), "10.97.0.0/24", "10.98.0.0/24")
	}
	answer("first", 81)
	w := watch(t)
	w.next("tcp://10.97.0.2:81")

	here.IP(t, "link", "set", "veth0", "down")
	w.next("gone") // perhaps after the news that it may not be dialed there
	w.patient()
	here.IP(t, "link", "set", "veth0", "up")
	w.next("tcp://10.97.0.2:81")

	there.IP(t, "link", "set", "veth0", "down")
	w.sees(false)
	w.patient()
	answer("second", 82)
	there.IP(t, "link", "set", "veth0", "up")
	w.next("tcp://10.97.0.2:82")

	w.patient()
	for ns, i := range map[*netns.NS]string{here: "1", there: "2"} {
		ns.IP(t, "addr", "replace", "10.98.0."+i+"/24", "dev", "veth0")
		ns.IP(t, "addr", "del", "10.97.0."+i+"/24", "dev", "veth0")
	}
	if seen := w.next("tcp://10.98.0.2:81"); !slices.Contains(seen, "tcp://10.98.0.2:82") {
		w.next("tcp://10.98.0.2:82")
	}
}

// A machine in the second subnet of an interface alone is found, though questions come from the
// first one.
func TestSecondSubnet(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, "10.97.0.1/24", there, "10.99.0.2/24")
		here.Addr(t, "10.99.0.1/24", "veth0")
		for _, ns := range []*netns.NS{here, there} {
			for _, which := range []string{"all", "veth0"} {
				ns.Sysctl(t, "net/ipv4/conf/"+which+"/rp_filter", "0")
			}
		}
		rerun(t, here, there)
		return
	}
	there := namespaces()[0]
	echoes(t, there, "there")
	x := service4("web", topicA, "10.99.0.2")
	x.port = 7007
	newMachine(t, there, "veth0", x.records(4500), "10.99.0.0/24")
	s, _ := find(t, network(t, Config{}), "tcp://10.99.0.2:7007")
	greeted(t, s, "there")
}

// resolved answers as systemd-resolved does, by its own socket in ns: the port is bound for itself
// alone, and only then shared with who comes later.
func resolved(t *testing.T, ns *netns.NS, records []dns.RR) {
	t.Helper()
	var c net.PacketConn
	ns.Do(t, func() {
		i, err := net.InterfaceByName("veth0")
		if err != nil {
			t.Fatal(err)
		}
		if c, err = net.ListenPacket("udp4", ":5353"); err != nil {
			t.Fatal(err)
		}
		p, to := ipv4.NewPacketConn(c), &net.UDPAddr{IP: group4.AsSlice()}
		for _, err := range []error{p.JoinGroup(i, to), p.SetMulticastInterface(i), p.SetMulticastTTL(255), p.SetTTL(255), p.SetMulticastLoopback(true)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		raw, err := c.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 9000)
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(b[:n]) != nil || q.Response {
				continue
			}
			if list := answersOf(q, records); len(list) > 0 {
				_, _ = c.WriteTo(packet(list...), &net.UDPAddr{IP: group4.AsSlice(), Port: port})
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
}

// What systemd-resolved publishes is found, on another machine and on this one, where it had the
// port first.
func TestResolved(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, "10.97.0.1/24", there, "10.97.0.2/24")
		rerun(t, here, here, there)
		return
	}
	for i, ns := range namespaces() {
		who, ip := [...]string{"here", "there"}[i], [...]string{"10.97.0.1", "10.97.0.2"}[i]
		echoes(t, ns, who)
		x := service4(who, topicA, ip)
		x.port = 7007
		resolved(t, ns, x.records(4500))
	}
	n := network(t, Config{})
	for who, at := range map[string]string{"here": "tcp://10.97.0.1:7007", "there": "tcp://10.97.0.2:7007"} {
		s, _ := find(t, n, at)
		greeted(t, s, who)
	}
}

// A forged packet by IPv6 unicast from beyond a router is not believed, whatever source it claims;
// one of a machine on the link is.
func TestForgedByIPv6FromBeyondARouter(t *testing.T) {
	if !netns.Inside() {
		here, router, far := netns.New(t, "here"), netns.New(t, "router"), netns.New(t, "far")
		netns.Link(t, here, "fd92::1/64", router, "fd92::fe/64")
		netns.Link(t, router, "fd93::fe/64", far, "fd93::2/64")
		router.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		here.IP(t, "-6", "route", "add", "fd93::/64", "via", "fd92::fe")
		far.IP(t, "-6", "route", "add", "default", "via", "fd93::fe")
		far.Addr(t, "fd92::66/128", "veth0")
		rerun(t, here, router, far)
		return
	}
	router, far := namespaces()[0], namespaces()[1]
	w := watch(t)
	w.next("") // it listens
	tell := func(ns *netns.NS, from, name string) {
		ns.Do(t, func() {
			c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP(from), Port: port})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := ipv6.NewPacketConn(c).SetHopLimit(255); err != nil {
				t.Fatal(err)
			}
			x := service4(name, topicA, from)
			if _, err := c.WriteToUDPAddrPort(packet(x.records(120)...), netip.MustParseAddrPort("[fd92::1]:5353")); err != nil {
				t.Fatal(err)
			}
		})
	}
	tell(far, "fd93::2", "far")
	tell(far, "fd92::66", "claims-to-be-near")
	tell(router, "fd92::fe", "near") // after what was forged
	for _, s := range w.next("tcp://[fd92::fe]:80") {
		if strings.Contains(s, "fd9") {
			t.Errorf("found %s", s)
		}
	}
}
