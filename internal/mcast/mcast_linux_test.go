package mcast

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/swarmgate/swarmgate/internal/netns"
)

var (
	group4 = netip.MustParseAddr("224.0.0.251")
	group6 = netip.MustParseAddr("ff02::fb")
)

// port is one that nothing else uses.
const port = 5399

func TestConfigMistakes(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no port":             {Group4: group4},
		"no family":           {Port: port},
		"is not an IPv4":      {Group4: group6, Port: port},
		"is not an IPv6":      {Group6: group4, Port: port},
		"::1 is not an IPv6":  {Group6: netip.IPv6Loopback(), Port: port},
		"127.0.0.1 is not an": {Group4: netip.MustParseAddr("127.0.0.1"), Port: port},
	} {
		if c, err := Listen(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Listen = %v, %v, want an error that says %q", c, err, name)
		}
	}
}

// envNames has the names of the namespaces of a test.
const envNames = "TEST_NAMES"

// sender sends from another machine.
type sender struct {
	hopLimit int
	from, to string // addresses; from "" for any
	dev      string // the interface to send out of, for groups
}

// send sends text from ns.
func (s sender) send(t *testing.T, ns *netns.NS, text string) {
	t.Helper()
	ns.Do(t, func() {
		to := netip.MustParseAddr(s.to)
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(s.from)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		dst := &net.UDPAddr{IP: to.AsSlice(), Port: port, Zone: s.dev}
		if to.Is4() {
			p := ipv4.NewPacketConn(c)
			dev, _ := net.InterfaceByName(s.dev)
			if dev != nil {
				err = p.SetMulticastInterface(dev)
			}
			if err == nil {
				err = p.SetMulticastTTL(s.hopLimit)
			}
			if err == nil {
				err = p.SetTTL(s.hopLimit)
			}
		} else {
			p := ipv6.NewPacketConn(c)
			if err = p.SetMulticastHopLimit(s.hopLimit); err == nil {
				err = p.SetHopLimit(s.hopLimit)
			}
		}
		if err == nil {
			_, err = c.WriteTo([]byte(text), dst)
		}
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
	})
}

// Forged packets by unicast from beyond a router were believed, on every interface. What is passed
// on comes from the link: to the group, or from a subnet of the interface with a hop limit that no
// router lets through.
func TestOnlyTheLinkIsHeard(t *testing.T) {
	if !netns.Inside() {
		here, near, router, far := netns.New(t, "here"), netns.New(t, "near"), netns.New(t, "router"), netns.New(t, "far")
		_, dev := netns.Link(t, here, "10.80.0.1/24", near, "10.80.0.2/24")
		near.AwaitLinkLocal(t, dev)
		netns.Link(t, here, "10.81.0.1/24", router, "10.81.0.254/24")
		netns.Link(t, router, "10.82.0.254/24", far, "10.82.0.2/24")
		for _, ns := range []*netns.NS{here, near, router, far} { // everything gets through that a kernel lets through
			for _, which := range []string{"all", "default", "veth0", "veth1"} {
				if which != "veth1" || ns == here || ns == router {
					ns.Sysctl(t, "net/ipv4/conf/"+which+"/rp_filter", "0")
				}
			}
		}
		router.Sysctl(t, "net/ipv4/ip_forward", "1")
		here.IP(t, "route", "add", "10.82.0.0/24", "via", "10.81.0.254")
		far.IP(t, "route", "add", "default", "via", "10.82.0.254")
		// Somebody beyond the router who claims to be on the link.
		far.Addr(t, "10.81.0.66/32", "veth0")
		here.Rerun(t, fmt.Sprintf("%s=%s,%s,%s", envNames, near.Name(), router.Name(), far.Name()))
		return
	}
	names := strings.Split(os.Getenv(envNames), ",")
	near, router, far := netns.Open(names[0]), netns.Open(names[1]), netns.Open(names[2])
	c, err := Listen(Config{Group4: group4, Group6: group6, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, func(p Packet) {
			heard <- fmt.Sprintf("%s: %v to %v on %d", p.Data, p.Source.Addr(), p.Destination, p.Interface)
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	index := make(map[string]int)
	lan := func(devs ...string) {
		var list []Interface
		for _, dev := range devs {
			i, err := net.InterfaceByName(dev)
			if err != nil {
				t.Fatal(err)
			}
			index[dev] = i.Index
			number := map[string]string{"veth0": "10.80.0.0/24", "veth1": "10.81.0.0/24"}[dev]
			list = append(list, Interface{i.Index, []netip.Prefix{netip.MustParsePrefix(number), netip.MustParsePrefix("fe80::/64")}})
		}
		if n, err := c.SetInterfaces(list); n != len(list) || err != nil {
			t.Errorf("SetInterfaces = %d, %v, want %d", n, err, len(list))
		}
	}
	// expect sends what is to be dropped and then what is to be heard, and expects the latter
	// alone.
	end := 0
	expect := func(dropped func(), ns *netns.NS, s sender, want string) {
		t.Helper()
		dropped()
		end++
		s.send(t, ns, fmt.Sprint("heard", end))
		for {
			select {
			case got := <-heard:
				if !strings.HasPrefix(got, fmt.Sprint("heard", end)) {
					t.Errorf("heard %q", got)
					continue
				}
				if got = strings.TrimPrefix(got, fmt.Sprint("heard", end, ": ")); want != "" && got != want {
					t.Errorf("heard %q, want %q", got, want)
				}
				return
			case <-time.After(time.Minute):
				t.Fatal("nothing is heard")
			}
		}
	}
	lan("veth0", "veth1")
	ofGroup := sender{1, "", "224.0.0.251", "veth0"}
	expect(func() {
		sender{255, "10.82.0.2", "10.81.0.1", ""}.send(t, far, "from beyond the router")
		sender{255, "10.81.0.66", "10.81.0.1", ""}.send(t, far, "from beyond the router, as a neighbour")
		sender{64, "10.81.0.254", "10.81.0.1", ""}.send(t, router, "from a neighbour with the hop limit of anybody")
	}, router, sender{255, "10.81.0.254", "10.81.0.1", ""}, "")
	expect(func() {}, near, ofGroup, fmt.Sprintf("10.80.0.2 to 224.0.0.251 on %d", index["veth0"]))
	expect(func() {}, near, sender{255, "10.80.0.2", "10.80.0.1", ""}, fmt.Sprintf("10.80.0.2 to 10.80.0.1 on %d", index["veth0"]))
	expect(func() {}, near, sender{255, "", "ff02::fb", "veth0"}, "")
	lan("veth0")
	expect(func() {
		ofGroup.send(t, router, "on an interface that is not on the LAN any more")
		sender{255, "10.81.0.254", "10.81.0.1", ""}.send(t, router, "there by unicast")
	}, near, ofGroup, "")
	lan("veth1")
	expect(func() { ofGroup.send(t, near, "on the other one") }, router, ofGroup, "")
}

// Sockets of several programs share the port, and each sends to the others.
func TestPortIsShared(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		dev, _ := netns.Link(t, here, "10.80.0.1/24", there, "10.80.0.2/24")
		here.AwaitLinkLocal(t, dev)
		here.Rerun(t)
		return
	}
	dev, err := net.InterfaceByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	on := []Interface{{dev.Index, []netip.Prefix{netip.MustParsePrefix("10.80.0.0/24"), netip.MustParsePrefix("fe80::/64")}}}
	heard := make(chan string, 100)
	var all []*Conn
	for i := range 3 {
		c, err := Listen(Config{Group4: group4, Group6: group6, Port: port, MaxPacket: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.SetInterfaces(on); n != 1 || err != nil {
			t.Fatalf("SetInterfaces = %d, %v", n, err)
		}
		all = append(all, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- c.Run(ctx, func(p Packet) { heard <- fmt.Sprint(i, " ", len(p.Data), " ", p.HopLimit) })
		}()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		}()
	}
	for _, family := range []Family{IPv4, IPv6} {
		for _, n := range []int{1001, 1000} { // the first one is too long
			if err := all[0].Send(dev.Index, family, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for range all {
			select {
			case s := <-heard:
				got = append(got, s)
			case <-time.After(time.Minute):
				t.Fatalf("IPv%d: heard by %q", family, got)
			}
		}
		slices.Sort(got)
		if want := []string{"0 1000 255", "1 1000 255", "2 1000 255"}; !slices.Equal(got, want) {
			t.Errorf("IPv%d: heard %q, want %q", family, got, want)
		}
	}
	if err := all[0].Send(dev.Index+1000, IPv4, nil); err == nil {
		t.Error("sent out of an interface that is not there")
	}
}

// A socket that is closed ends Run, with what happened.
func TestRunEnds(t *testing.T) {
	c, err := Listen(Config{Group4: group4, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- c.Run(context.Background(), func(Packet) {}) }()
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-done; err == nil {
		t.Error("Run = nil, though its context goes on")
	}
	if err := c.Send(1, IPv6, nil); err != errFamily {
		t.Errorf("Send = %v, want %v", err, errFamily)
	}
}
