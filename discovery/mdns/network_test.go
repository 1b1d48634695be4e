package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/discovery"
)

// A service was told of 17 s after its announcement, and was gone 68 s after its goodbye: the LAN
// was listened to for 4 s of each 25. Both are told within 2 s, a second join is told at once, and
// other topics are not told.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		web, other := service4("web", topicA, "10.0.0.1"), service4("other", topicB, "10.0.0.2")
		for _, at := range []time.Duration{10 * time.Second, 11 * time.Second} {
			lan.sayAt(at, 1, "10.0.0.1", web.records(120)...)
			lan.sayAt(at, 1, "10.0.0.2", other.records(120)...)
		}
		lan.sayAt(40*time.Second, 1, "10.0.0.1", web.records(0)...)
		start(t, n)
		late := make(chan []event)
		go func() {
			time.Sleep(20 * time.Second)
			late <- events(t, n, topicA, 10*time.Second)
		}()
		wantEvents(t, events(t, n, topicA, time.Minute), ev(10*time.Second, "tcp://10.0.0.1:80"), ev(40*time.Second, "gone tcp://10.0.0.1:80"))
		wantEvents(t, <-late, ev(0, "tcp://10.0.0.1:80"))
		if len(n.joins) != 0 {
			t.Errorf("%d topics are still joined", len(n.joins))
		}
	})
}

// Responders that answer the question and no more, or put the address into a second packet, were
// never found: records were forgotten from one packet to the next, and nobody asked for what is
// missing.
func TestMissingRecordsAreAskedFor(t *testing.T) {
	web := service4("web", topicA, "10.0.0.1")
	for name, script := range map[string]func(lan *scriptedLAN, records []dns.RR){
		"answers what is asked": func(lan *scriptedLAN, records []dns.RR) {
			lan.respond(responder{1, "10.0.0.1", records})
		},
		"announces in packets of one record": func(lan *scriptedLAN, records []dns.RR) {
			lan.respond(responder{1, "10.0.0.1", records[3:]}) // of the address it tells after the others
			for i, rr := range records {
				lan.sayAt(time.Second+time.Duration(i)*100*time.Millisecond, 1, "10.0.0.1", rr)
			}
		},
		"announces the address last": func(lan *scriptedLAN, records []dns.RR) {
			lan.sayAt(500*time.Millisecond, 1, "10.0.0.1", records[:3]...)
			lan.sayAt(time.Second, 1, "10.0.0.1", records[3:]...)
		},
		"writes names in another case": func(lan *scriptedLAN, _ []dns.RR) {
			records := rrs(
				"_SwarmGate._TCP.Local. 120 IN PTR WEB._swarmgate._tcp.local.",
				"Web._swarmgate._tcp.LOCAL. 120 IN SRV 0 0 80 Some-Host.local.",
				"weB._Swarmgate._tcp.local. 120 IN TXT "+fmt.Sprintf("%q", strings.ToUpper(web.text)),
				"some-host.LOCAL. 120 IN A 10.0.0.1")
			lan.respond(responder{1, "10.0.0.1", records})
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, lan := scripted(t, Config{})
				script(lan, web.records(120))
				start(t, n)
				wantEvents(t, events(t, n, topicA, time.Minute), ev(0, "tcp://10.0.0.1:80"))
			})
		})
	}
}

// Of 40 services of one machine 8 were found, and of 5 with a long TXT 3.
func TestManyServicesOfOneMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		var all []dns.RR
		for i := range 40 {
			x := service4(fmt.Sprint("s", i), topicA, "10.0.0.1")
			x.host, x.port = "machine", 1000+i
			records := x.records(120)
			records[2].(*dns.TXT).Txt = append([]string{strings.Repeat("x", 250), strings.Repeat("y", 250), strings.Repeat("z", 250)}, x.text)
			all = append(all, records...)
		}
		lan.respond(responder{1, "10.0.0.1", all})
		start(t, n)
		found := make(map[string]bool)
		for _, e := range events(t, n, topicA, 3*time.Second) {
			found[e.what] = true
		}
		if len(found) != 41 || !found["works"] || !found["tcp://10.0.0.1:1039"] {
			t.Errorf("%d services were found, want 40", len(found)-1)
		}
	})
}

// What is there is asked for again before its time is over and stays; what does not answer is gone
// when it is over.
func TestServiceLivesAsLongAsItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		lan.respond(responder{1, "10.0.0.1", service4("web", topicA, "10.0.0.1").records(120)})
		start(t, n)
		dead := make(chan time.Duration)
		go func() {
			time.Sleep(10 * time.Minute)
			lan.respond()
			dead <- time.Since(lan.begin)
		}()
		got := events(t, n, topicA, 15*time.Minute)
		died := <-dead
		last := got[len(got)-1]
		if last.what != "gone tcp://10.0.0.1:80" || last.at < died || last.at > died+2*time.Minute {
			t.Errorf("%v, want it gone within 2m of %v", last, died)
		}
		for _, e := range got[:len(got)-1] {
			if strings.HasPrefix(e.what, "gone") {
				t.Errorf("%v, while it answered", e)
			}
		}
	})
}

// A machine on eth0 that announced an address of the gateway's docker0, 172.17.0.2, got the
// gateway's clients connected to a container there. A service is where its packet came from, and
// on that interface.
func TestServiceIsWhereItsPacketCameFrom(t *testing.T) {
	for _, tc := range []struct {
		name    string
		anyHost bool
		src     string
		addrs   []string
		want    string
	}{
		{name: "itself", src: "10.0.0.1", addrs: []string{"10.0.0.1"}, want: "tcp://10.0.0.1:80"},
		{name: "itself among others", src: "10.0.0.1", addrs: []string{"10.0.0.9", "10.0.0.1", "fd00::1"}, want: "tcp://10.0.0.1:80"},
		{name: "a neighbour", src: "10.0.0.1", addrs: []string{"10.0.0.9"}, want: "FORBIDDEN: 10.0.0.1 says it is at 10.0.0.9, which is not its own address: allow proxies with --lan-any-host"},
		{name: "a neighbour, allowed", anyHost: true, src: "10.0.0.1", addrs: []string{"10.0.0.9"}, want: "tcp://10.0.0.9:80"},
		{name: "another interface", src: "10.0.0.1", addrs: []string{"10.0.1.1"}, want: "FORBIDDEN: 10.0.0.1 says it is at 10.0.1.1, which is not its own address: allow proxies with --lan-any-host"},
		{name: "another interface, proxies allowed", anyHost: true, src: "10.0.0.1", addrs: []string{"10.0.1.1"}, want: "FORBIDDEN: 10.0.1.1 is in no subnet of eth0: have the service announce an address of this LAN, or configure it with --static"},
		{name: "another network", src: "192.168.7.7", addrs: []string{"192.168.7.7"}, want: "FORBIDDEN: 192.168.7.7 is in no subnet of eth0: have the service announce an address of this LAN, or configure it with --static"},
		{name: "link-local", src: "fe80::1", addrs: []string{"fe80::1"}, want: "tcp://[fe80::1%eth0]:80"},
		{name: "speaks from link-local", src: "fe80::1", addrs: []string{"fd00::1"}, want: "tcp://[fe80::1%eth0]:80"},
		{name: "speaks from link-local of IPv4", src: "fe80::1", addrs: []string{"10.0.0.1"}},
		{name: "by IPv4 of IPv6", src: "10.0.0.1", addrs: []string{"fd00::1"}},
		{name: "loopback", anyHost: true, src: "10.0.0.1", addrs: []string{"127.0.0.1"}, want: "FORBIDDEN: 127.0.0.1 is in no subnet of eth0: have the service announce an address of this LAN, or configure it with --static"},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, lan := scripted(t, Config{AnyHost: tc.anyHost})
				lan.sayAt(time.Second, 1, tc.src, service4("web", topicA, tc.addrs...).records(120)...)
				start(t, n)
				var want []event
				if tc.want != "" {
					want = append(want, ev(time.Second, tc.want))
				}
				wantEvents(t, events(t, n, topicA, 20*time.Second), want...)
			})
		})
	}
}

// Nobody speaks for somebody else: not by a record of a name that another machine has, and not by
// taking it back, as long as the other machine answers.
func TestNobodySpeaksForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		victim := service4("victim", topicB, "10.0.0.9")
		victim.port = 6379
		liar := service4("liar", topicA)
		liar.host = "victim"
		stolen := service4("victim", topicA, "10.0.0.66")
		lan.sayAt(time.Second, 1, "10.0.0.9", victim.records(120)...)
		time.AfterFunc(8*time.Second, func() { lan.respond(responder{1, "10.0.0.9", victim.records(120)}) })
		lan.sayAt(2*time.Second, 1, "10.0.0.66", liar.records(120)...) // at the victim's host, which tells its address
		lan.sayAt(3*time.Second, 1, "10.0.0.9", victim.records(120)[3:]...)
		lan.sayAt(10*time.Second, 1, "10.0.0.66", victim.records(0)...)
		lan.sayAt(11*time.Second, 1, "10.0.0.66", stolen.records(120)...)
		start(t, n)
		other := make(chan []event)
		go func() { other <- events(t, n, topicA, time.Minute) }()
		wantEvents(t, events(t, n, topicB, time.Minute), ev(time.Second, "tcp://10.0.0.9:6379"))
		// It has the name's address now, for itself: both of its services are there.
		wantEvents(t, <-other, ev(11*time.Second, "tcp://10.0.0.66:80"), ev(11*time.Second, "tcp://10.0.0.66:80"))
	})
}

// One name on two interfaces is two peers, each with its own address and end.
func TestOneNameOnTwoInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		one, two := service4("web", topicA, "fe80::1"), service4("web", topicA, "fe80::1")
		lan.sayAt(time.Second, 1, "fe80::1", one.records(120)...)
		lan.sayAt(3*time.Second, 2, "fe80::1", two.records(120)...)
		lan.sayAt(20*time.Second, 1, "fe80::1", one.records(0)...)
		start(t, n)
		got := events(t, n, topicA, time.Minute)
		wantEvents(t, slices.Clone(got), ev(time.Second, "tcp://[fe80::1%eth0]:80"), ev(3*time.Second, "tcp://[fe80::1%eth1]:80"),
			ev(20*time.Second, "gone tcp://[fe80::1%eth0]:80"))
		got = slices.DeleteFunc(got, func(e event) bool { return e.id == "" })
		if len(got) == 3 && (got[0].id == got[1].id || got[0].id != got[2].id) {
			t.Error("the ids of the two are mixed up")
		}
	})
}

// What a machine says by IPv4 and by IPv6 is put together. Another topic or port of a name is
// another service.
func TestJoinMerges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		both := service4("web", topicA, "10.0.0.1", "fe80::1")
		moved, changed := both, service4("web", topicB, "10.0.0.1", "fe80::1")
		moved.port, changed.port = 81, 81
		lan.sayAt(time.Second, 1, "fe80::1", both.records(120)...)
		lan.sayAt(4*time.Second, 1, "10.0.0.1", both.records(120)...)
		lan.sayAt(8*time.Second, 1, "10.0.0.1", moved.records(120)...)
		lan.sayAt(8*time.Second, 1, "fe80::1", moved.records(120)...)
		lan.sayAt(12*time.Second, 1, "10.0.0.1", changed.records(120)...)
		lan.sayAt(12*time.Second, 1, "fe80::1", changed.records(120)...)
		start(t, n)
		other := make(chan []event)
		go func() { other <- events(t, n, topicB, 30*time.Second) }()
		got := events(t, n, topicA, 30*time.Second)
		wantEvents(t, got, ev(time.Second, "tcp://[fe80::1%eth0]:80"), ev(4*time.Second, "tcp://10.0.0.1:80"),
			ev(8*time.Second, "tcp://10.0.0.1:81"), ev(12*time.Second, "gone tcp://10.0.0.1:81"))
		wantEvents(t, <-other, ev(12*time.Second, "tcp://10.0.0.1:81"))
	})
}

// A neighbour that announces twenty thousand services keeps out neither those that were there nor
// those that come.
func TestFloodingNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		before, after := service4("before", topicA, "10.0.0.1"), service4("after", topicA, "10.0.0.2")
		lan.sayAt(time.Second, 1, "10.0.0.1", before.records(600)...)
		lan.sayAt(10*time.Second, 1, "10.0.0.2", after.records(600)...)
		for second := range 20 {
			var flood []dns.RR
			for i := range 1000 {
				flood = append(flood, service4(fmt.Sprintf("forged%d-%d", second, i), topicB, "10.0.0.66").records(600)...)
			}
			lan.sayAt(time.Duration(second)*time.Second, 1, "10.0.0.66", flood...)
		}
		start(t, n)
		forged := make(chan []event)
		go func() { forged <- events(t, n, topicB, time.Minute) }()
		wantEvents(t, events(t, n, topicA, time.Minute), ev(time.Second, "tcp://10.0.0.1:80"), ev(10*time.Second, "tcp://10.0.0.2:80"))
		<-forged
		if size := n.browser.resolver.cache.size; size > maxOwn+8 {
			t.Errorf("%d records are remembered, want at most %d of one machine", size, maxOwn)
		}
		if asked := len(lan.questions()); asked > 3000 {
			t.Errorf("%d questions for the sake of one machine", asked)
		}
	})
}

// Interfaces come, go and come back, and the LAN is asked anew.
func TestInterfacesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		all := lan.lan
		set := func(at time.Duration, list ...discovery.Interface) {
			time.AfterFunc(at, func() {
				lan.mu.Lock()
				defer lan.mu.Unlock()
				lan.lan = list
			})
		}
		lan.lan = all[:1]
		lan.respond(responder{2, "10.0.1.1", service4("web", topicA, "10.0.1.1").records(120)},
			responder{2, "10.9.9.9", service4("moved", topicA, "10.9.9.9").records(120)})
		set(10*time.Second, all...)
		set(20*time.Second, all[0])
		set(30*time.Second, all...)
		set(40*time.Second, all[0], iface(2, "eth1", "10.9.9.0/24"))
		start(t, n)
		got := events(t, n, topicA, 50*time.Second)
		got = slices.DeleteFunc(got, func(e event) bool { return strings.HasPrefix(e.what, "FORBIDDEN") || e.what == "gone " })
		var what []string
		for _, e := range got {
			what = append(what, e.what)
		}
		if want := []string{"works", "tcp://10.0.1.1:80", "gone tcp://10.0.1.1:80", "tcp://10.0.1.1:80", "tcp://10.9.9.9:80"}; !slices.Equal(what, want) {
			t.Fatalf("events %v, want %q", got, want)
		}
		for i, at := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 40 * time.Second} {
			if got[i].at < at || got[i].at > at+4*time.Second {
				t.Errorf("%v, want within 4s of %v", got[i], at)
			}
		}
	})
}

// Sockets that fail are news once, are opened again with a growing delay, and what was found stays
// for its time.
func TestJoinHearsOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		lan.sayAt(time.Second, 1, "10.0.0.1", service4("web", topicA, "10.0.0.1").records(600)...)
		time.AfterFunc(10*time.Second, func() {
			lan.mu.Lock()
			defer lan.mu.Unlock()
			lan.broken = errors.New("no socket")
			lan.fail <- lan.broken
		})
		time.AfterFunc(time.Minute, func() {
			lan.mu.Lock()
			defer lan.mu.Unlock()
			lan.broken = nil
		})
		start(t, n)
		got := events(t, n, topicA, 3*time.Minute)
		var what []string
		for _, e := range got {
			what = append(what, e.what)
		}
		if want := []string{"works", "tcp://10.0.0.1:80", "no socket", "works"}; !slices.Equal(what, want) {
			t.Errorf("events %v, want %q", got, want)
		}
		if again := got[len(got)-1].at; again < time.Minute || again > time.Minute+retryMax+2*time.Second {
			t.Errorf("works again after %v", again)
		}
	})
}

func TestNoInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{Interfaces: []string{"eth7"}})
		start(t, n)
		wantEvents(t, events(t, n, topicA, time.Minute), ev(0, "INTERNAL: no network interface is on the LAN: connect one that has multicast, or correct --lan-interface; containers need the host's network"))
		if asked := lan.questions(); len(asked) > 0 {
			t.Errorf("asked %q on interfaces that are not to be used", asked)
		}
		failing, _ := scripted(t, Config{})
		failing.lan = func() ([]discovery.Interface, error) { return nil, errors.New("cannot read") }
		start(t, failing)
		wantEvents(t, events(t, failing, topicA, time.Minute), ev(0, "INTERNAL: the network interfaces cannot be read: see that the gateway may: cannot read"))
	})
}

// Addresses that the policy refuses are not dialed, and the dial says why.
func TestRefusedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		lan.lan = []discovery.Interface{iface(1, "eth0", "169.254.0.0/16")}
		lan.sayAt(time.Second, 1, "169.254.169.254", service4("web", topicA, "169.254.169.254").records(120)...)
		start(t, n)
		wantEvents(t, events(t, n, topicA, time.Minute), ev(time.Second, "FORBIDDEN: 169.254.169.254:80 is a metadata service"))
	})
}

// seenHosts notes what a Hosts is told.
type seenHosts struct{ calls []event }

func (h *seenHosts) note(what string) {
	h.calls = append(h.calls, event{at: time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), what: what})
}

func (h *seenHosts) HostSeen(id string, addrs []netip.AddrPort) { h.note(fmt.Sprint(id, " ", addrs)) }
func (h *seenHosts) HostGone(id string)                         { h.note("gone " + id) }

// A host is told of at once, when its addresses change, every 25 s, and when it takes itself back.
// A host on two interfaces is one. A copy of our own was not told of, so nothing said why the two
// never met.
func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts seenHosts
		own := &Self{ID: "me", Port: 4001}
		n, lan := scripted(t, Config{Hosts: &hosts, Self: own})
		lan.sayAt(time.Second, 1, "10.0.0.7", hostThing("far", "you2", "8.8.8.8").records(600)...) // nowhere to dial
		lan.sayAt(2*time.Second, 1, "10.0.0.1", hostThing("x", "you", "10.0.0.1", "fd00::1").records(600)...)
		lan.sayAt(5*time.Second, 2, "10.0.1.1", hostThing("x", "you", "10.0.1.1").records(600)...)
		lan.sayAt(40*time.Second, 1, "10.0.0.1", hostThing("x", "you", "10.0.0.1", "fd00::1").records(0)...)
		lan.sayAt(45*time.Second, 2, "10.0.1.1", hostThing("x", "you", "10.0.1.1").records(0)...)
		lan.sayAt(50*time.Second, 1, "10.0.0.8", hostThing(own.instance(), "me", "10.0.0.8").records(600)...)
		lan.sayAt(51*time.Second, 1, "10.0.0.8", hostThing(own.instance(), "me", "10.0.0.8").records(0)...)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		three := "you [10.0.0.1:80 10.0.1.1:80 [fd00::1]:80]"
		wantEvents(t, hosts.calls, ev(2*time.Second, "you [10.0.0.1:80 [fd00::1]:80]"), ev(5*time.Second, three),
			ev(30*time.Second, three), ev(40*time.Second, "you [10.0.1.1:80]"), ev(45*time.Second, "gone you"),
			ev(50*time.Second, "me [10.0.0.8:80]"), ev(51*time.Second, "gone me"))
		n.Close()
	})
}

// Our own host is published anew if the interfaces are others, and tried again if that failed.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []event
		n, lan := scripted(t, Config{Self: &Self{ID: "me", Port: 4001}})
		note := func(format string, args ...any) {
			log = append(log, event{at: time.Since(lan.begin), what: fmt.Sprintf(format, args...)})
		}
		n.lan = func() ([]discovery.Interface, error) {
			return []discovery.Interface{iface(10001+int(time.Since(lan.begin)/(50*time.Second)), "eth", "10.0.0.0/24")}, nil
		}
		failing := true
		n.register = func(self *Self, ifaces []discovery.Interface) (func(), error) {
			if failing = !failing; failing {
				note("failed")
				return nil, errors.New("no socket")
			}
			on := ifaces[0].Index - 10000
			note("%s:%d on %d", self.ID, self.Port, on)
			return func() { note("withdrawn on %d", on) }, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 58*time.Second)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		wantEvents(t, log, ev(0, "me:4001 on 1"), ev(50*time.Second, "withdrawn on 1"), ev(50*time.Second, "failed"),
			ev(52*time.Second, "me:4001 on 2"), ev(58*time.Second, "withdrawn on 2"))
		n.Close()
	})
}

// The end of Run, or Close, is the end of all joins, and there is no second Run.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(*Network, context.CancelFunc){
			"Run":   func(_ *Network, cancel context.CancelFunc) { cancel() },
			"Close": func(n *Network, _ context.CancelFunc) { n.Close() },
		} {
			n, _ := scripted(t, Config{})
			ctx, cancel := context.WithCancel(context.Background())
			run, left := make(chan error, 1), make(chan struct{})
			go func() { run <- n.Run(ctx) }()
			go func() {
				defer close(left)
				for range n.Join(context.Background(), topicA, discovery.Native()) {
				}
			}()
			synctest.Wait()
			if err := n.Run(ctx); !errors.Is(err, errRan) {
				t.Errorf("%s: second Run = %v, want %v", name, err, errRan)
			}
			end(n, cancel)
			if err := <-run; err != nil {
				t.Errorf("%s: Run = %v", name, err)
			}
			<-left
			cancel()
			n.Close()
			if err := n.Run(context.Background()); !errors.Is(err, errRan) {
				t.Errorf("%s: Run after the end = %v, want %v", name, err, errRan)
			}
		}
	})
}

// Each question for all services is seen from outside, with how many there are, and each failure.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		n, lan := scripted(t, Config{Observer: &discovery.Observer{LookedUp: func(network string, found int, took time.Duration, err error) {
			seen = append(seen, fmt.Sprint(network, " ", found, " ", took.Round(time.Second), " ", err))
		}}})
		lan.lan = lan.lan[:1]
		lan.respond(responder{1, "10.0.0.1", service4("x", topicA, "10.0.0.1").records(120)},
			responder{1, "10.0.0.2", service4("y", topicB, "10.0.0.2").records(120)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx) }()
		time.Sleep(90 * time.Second)
		cancel()
		<-done
		n.Close()
		if want := "lan 2 1s <nil>"; len(seen) < 4 || len(seen) > 8 || slices.ContainsFunc(seen[1:], func(s string) bool { return s != want }) {
			t.Errorf("told %q, want %q each time", seen, want)
		}
	})
}
