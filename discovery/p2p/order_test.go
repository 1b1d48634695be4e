package p2p

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A host that was restarted often on another machine had so many addresses of loopback in the DHT
// that they filled the eight that are dialed, and it was not found any more.
func TestInOrder(t *testing.T) {
	s := newSurroundings()
	s.read = func() ([]net.Addr, error) {
		ip, n, err := net.ParseCIDR("10.1.0.2/16")
		return []net.Addr{&net.IPNet{IP: ip, Mask: n.Mask}}, err
	}
	var stale []string
	for i := range 20 {
		stale = append(stale, fmt.Sprintf("127.0.0.%d:%d", 1+i, 4000+i))
	}
	for _, tc := range []struct {
		name string
		in   []string
		want string
	}{
		{"stale ones before the real one", append(stale[:8:8], "45.83.1.1:4434"), "45.83.1.1:4434"},
		{"our subnet first", []string{"45.83.1.1:1", "10.2.0.1:1", "10.1.0.9:1"}, "10.1.0.9:1 45.83.1.1:1 10.2.0.1:1"},
		{"link-local after our subnet", []string{"45.83.1.1:1", "169.254.1.1:1", "10.1.0.9:1"}, "10.1.0.9:1 169.254.1.1:1 45.83.1.1:1"},
		{"loopback alone", stale[:2], "127.0.0.1:4000 127.0.0.2:4001"},
		{"on this machine", []string{stale[0], "10.1.0.2:1", "45.83.1.1:1"}, "10.1.0.2:1 45.83.1.1:1 127.0.0.1:4000"},
		{"two of one IP", []string{"45.83.1.1:1", "45.83.1.1:2", "45.83.1.1:3", "45.83.1.2:1"}, "45.83.1.1:1 45.83.1.1:2 45.83.1.2:1"},
		{"none", nil, ""},
	} {
		var in []ma.Multiaddr
		for _, a := range tc.in {
			host, port, _ := net.SplitHostPort(a)
			in = append(in, ma.StringCast("/ip4/"+host+"/tcp/"+port))
		}
		var got []string
		for _, m := range inOrder(in, s) {
			a, _ := plainTCP(m)
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
	g := newGater(private(t), newLAN(0))
	g.around = s
	ranked := g.rankDials([]ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1"), ma.StringCast("/ip4/45.83.1.1/tcp/1"), ma.StringCast("/ip4/10.1.0.2/tcp/1")})
	if len(ranked) != 3 || !isLoopback(ranked[2].Addr) {
		t.Errorf("ranked %v, want loopback last", ranked)
	}
	for i, d := range ranked { // all but two were dialed at once
		if want := time.Duration(i) * discovery.Stagger; d.Delay != want {
			t.Errorf("%v after %v, want %v", d.Addr, d.Delay, want)
		}
	}
}

// Each host that cannot be dialed has its reason, with the cure.
func TestWhyNot(t *testing.T) {
	refused := wtproto.Errorf(wtproto.CodeForbidden, "172.17.0.2:4434 is in 172.16.0.0/12, which is not public")
	for _, tc := range []struct {
		addrs   []string
		refused error
		code    wtproto.Code
		want    string
	}{
		{nil, nil, wtproto.CodePeerUnreachable, "no IP address"},
		{[]string{"/dns4/example.com/tcp/4434"}, refused, wtproto.CodePeerUnreachable, "names only"},
		{[]string{"/ip4/172.17.0.2/udp/1/quic-v1"}, refused, wtproto.CodePeerUnreachable, "no IP address with a TCP port"},
		{[]string{"/ip4/172.17.0.2/tcp/4434"}, refused, wtproto.CodeForbidden, "--p2p-announce"},
	} {
		var addrs []ma.Multiaddr
		for _, a := range tc.addrs {
			addrs = append(addrs, ma.StringCast(a))
		}
		err := whyNot(someID(t), addrs, tc.refused)
		e, ok := errors.AsType[*wtproto.Error](err)
		if !ok || e.Code != tc.code || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %v with %q", tc.addrs, err, tc.code, tc.want)
		}
	}
}
