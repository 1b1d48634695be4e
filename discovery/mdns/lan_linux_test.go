package mdns

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

// envLAN names the namespace in which the services of a test are, for the process that looks for
// them.
const envLAN = "TEST_LAN"

// A TCP service that avahi publishes is found, dialed and, once withdrawn, gone, on LANs of
// several kinds.
func TestAvahi(t *testing.T) {
	for _, lan := range []struct {
		name        string
		here, there string // addresses of the two ends of the cable
		withoutIPv6 bool
		want        string // the address that is found, or how it begins
	}{
		{name: "IPv4 and IPv6", here: "10.73.0.1/24", there: "10.73.0.2/24", want: "tcp://10.73.0.2:7007"},
		{name: "IPv4 alone", here: "10.73.0.1/24", there: "10.73.0.2/24", withoutIPv6: true, want: "tcp://10.73.0.2:7007"},
		// The answer carries the address without a zone.
		{name: "link-local alone", want: "tcp://[fe80:"},
	} {
		t.Run(strings.ReplaceAll(lan.name, " ", "_"), func(t *testing.T) {
			if netns.Inside() {
				testAvahi(t, lan.want)
				return
			}
			t.Parallel()
			here, there := netns.New(t, "here"), netns.New(t, "there")
			if lan.withoutIPv6 {
				for _, which := range []string{"all", "default"} {
					here.Sysctl(t, "net/ipv6/conf/"+which+"/disable_ipv6", "1")
				}
			}
			netns.Link(t, here, lan.here, there, lan.there)
			here.Rerun(t, envLAN+"="+there.Name())
		})
	}
}

// testAvahi runs in the namespace of the one who looks.
func testAvahi(t *testing.T, want string) {
	there := netns.Open(os.Getenv(envLAN))
	env := netns.Avahi(t, there)
	netns.Daemon(t, there.Command(t.Context(), "socat", "-d", "-d", "TCP6-LISTEN:7007,fork,ipv6-v6only=0", "EXEC:cat"), "listening on")
	publish := there.Command(t.Context(), "avahi-publish", "-s", "an echo. service", topicService.name, "7007", "topic="+topicA.String())
	publish.Env = env
	withdraw := netns.Daemon(t, publish, "Established under name")

	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	start(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var found discovery.Peer
	for s, err := range n.Join(ctx, topicA, discovery.Native()) {
		switch {
		case err != nil:
			t.Fatalf("Join yields %v", err)
		case s.Gone:
			if s.Peer.ID != found.ID {
				t.Errorf("gone: %+v, found: %+v", s.Peer, found)
			}
			cancel()
		case s.Peer.ID == "":
		case !strings.HasPrefix(s.Peer.Address, want): // the first answer may be one by IPv6 with a link-local address
			t.Logf("found %s, want %s", s.Peer.Address, want)
		default:
			if found.ID == "" {
				echo(t, s)
				withdraw()
			}
			found = s.Peer
		}
	}
	if found.ID == "" {
		t.Error("nothing was found")
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("the service is not gone")
	}
}

// echo dials s and expects everything back, and then the end.
func echo(t *testing.T, s discovery.Sighting) {
	t.Helper()
	stream, err := s.Dial(t.Context(), wtproto.EndpointID{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	sent := bytes.Repeat([]byte("swarmgate"), 200_000)
	go func() {
		_, _ = stream.Write(sent)
		_ = stream.CloseWrite()
	}()
	if got, err := io.ReadAll(stream); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, %v, want %d", len(got), err, len(sent))
	}
}

// hostFound is a Hosts that passes on the first sighting of a host other than its own.
type hostFound struct {
	own   string
	addrs chan []netip.AddrPort
}

func (h hostFound) HostSeen(id string, addrs []netip.AddrPort) {
	if id == h.own {
		return
	}
	select {
	case h.addrs <- addrs:
	default:
	}
}

func (h hostFound) HostGone(string) {}

// Two hosts on one LAN, each of which publishes itself, find and reach each other.
func TestTwoHosts(t *testing.T) {
	roles := map[string]*netns.NS{"one": nil, "two": nil}
	if !netns.Inside() {
		for role := range roles {
			roles[role] = netns.New(t, role)
		}
		netns.Link(t, roles["one"], "10.74.0.1/24", roles["two"], "10.74.0.2/24")
	}
	for role, ns := range roles {
		t.Run(role, func(t *testing.T) {
			if !netns.Inside() {
				t.Parallel()
				ns.Rerun(t)
				return
			}
			testHost(t, role)
		})
	}
}

// testHost is one of the hosts. It ends when both have reached each other.
func testHost(t *testing.T, id string) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	number, _ := strconv.Atoi(port)
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	found := hostFound{id, make(chan []netip.AddrPort, 1)}
	n, err := New(Config{
		Policy: policy, Hosts: found, Self: &Self{ID: id, Port: number},
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, n)

	var addrs []netip.AddrPort
	select {
	case addrs = <-found.addrs:
	case <-time.After(2 * time.Minute):
		t.Fatal("no other host was found")
	}
	dialer := discovery.NewTCPDialer(policy, discovery.SourceLAN)
	defer dialer.Close()
	s, err := dialer.Dial(t.Context(), addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write([]byte(id)); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := ln.(*net.TCPListener).SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatalf("the other host did not come: %v", err)
	}
	other, err := io.ReadAll(c)
	c.Close()
	if err != nil || len(other) == 0 || string(other) == id {
		t.Errorf("host %s met %q, %v", id, other, err)
	}
	if _, err := io.ReadAll(s); err != nil { // until the other has read everything
		t.Errorf("the other host ended with %v", err)
	}
}
