package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The example of docs/PROTOCOL.md.
func TestRecordKey(t *testing.T) {
	const want = "bafkreiclx3tek4fk4giubmhibd5xoglxa5w5jb5a5nkp5xpxl4up6mkb3i"
	if got := recordKey(wtproto.TopicFromName("wowcool").Digest()).String(); got != want {
		t.Errorf("recordKey = %s, want %s", got, want)
	}
}

// A host on the DHT that knows neither the other is enough for two to find each other.
func TestFoundThroughOthers(t *testing.T) {
	hosts := swarmOf(t, native, native, native, gateway, native)
	gm := join(t, hosts[3], presence(false, true, endpoint(1)), nil)
	join(t, hosts[4], presence(true, false, nativeEndpoint), echo)
	testEcho(t, dial(t, gm.await("the native peer", isPeer(hosts[4], nativeEndpoint)), endpoint(1)), 1000)
}

// One that has announced before is found by the first look-up; one that announces later finds who
// announced.
func TestFirstLookUp(t *testing.T) {
	slow := func(c *Config) { c.LookUpMin, c.LookUpEvery, c.LookUpRest = time.Hour, time.Hour, time.Hour }
	hosts := swarmOf(t, native, all(gateway, slow), all(native, slow))
	g, n := hosts[1], hosts[2]
	for _, h := range hosts {
		eventually(t, "the DHT is entered", func() bool { works, _, _ := h.table.status.get(); return works })
	}
	gm := join(t, g, presence(true, false, endpoint(1)), nil)
	eventually(t, "the gateway is announced", func() bool {
		for range hosts[0].table.find(t.Context(), testTopic.Digest()) {
			return true
		}
		return false
	})
	nm := join(t, n, discovery.Native(), echo)
	if s := gm.await("the newcomer", isPeer(n, nativeEndpoint)).sighting; !s.PeerFoundUs {
		t.Error("the gateway found the newcomer, for which it does not look")
	}
	nm.await("the gateway's client", isPeer(g, endpoint(1)))
	gm.leave()
	nm.await("its departure", isGone(g, endpoint(1)))
	eventually(t, "the newcomer is announced", func() bool {
		for p := range hosts[0].table.find(t.Context(), testTopic.Digest()) {
			if p.id == n.id {
				return true
			}
		}
		return false
	})
	gm = join(t, g, presence(false, true, endpoint(1)), nil)
	testEcho(t, dial(t, gm.await("the native peer", isPeer(n, nativeEndpoint)), endpoint(1)), 1000)
}

// A seed that does not answer is news, and so is that it does again.
func TestSeedComesUp(t *testing.T) {
	seedKey, _ := keys(t)
	id, err := peer.IDFromPrivateKey(p2pKey(t, seedKey))
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	seed := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port)
	h := listen(t, all(gateway, func(c *Config) { c.Seeds = []string{seed + "/p2p/" + id.String()} }))
	m := join(t, h, presence(true, true, endpoint(1)), nil)
	if err := free.Close(); err != nil { // until here the port was taken by something that is no seed
		t.Fatal(err)
	}
	i := m.await("that the seed does not answer", isError(wtproto.CodePeerUnreachable))
	if !strings.Contains(i.err.Error(), id.String()) || strings.Contains(i.err.Error(), "\n") {
		t.Errorf("error %q, want the seed's id, and one line", i.err)
	}
	eventually(t, "Err tells", func() bool { return h.Err() != nil })

	up := listen(t, all(key(seedKey), func(c *Config) { c.Listen = []string{seed} }))
	m.await("that it answers", isRecovery)
	eventually(t, "Err is nil", func() bool { return h.Err() == nil })
	um := join(t, up, discovery.Native(), echo)
	um.await("the gateway's client", isPeer(h, endpoint(1)))

	if err := up.Close(); err != nil {
		t.Fatal(err)
	}
	m.await("that it is gone", isError(wtproto.CodePeerUnreachable))

	// One that was restarted knows nothing any more, so it is told again.
	up = listen(t, all(key(seedKey), func(c *Config) { c.Listen = []string{seed} }))
	m.await("that it answers once more", isRecovery)
	other := listen(t, seeds(up))
	om := join(t, other, presence(false, true, nativeEndpoint), nil)
	om.await("the gateway's client", isPeer(h, endpoint(1)))
}

// A host without seeds is where others enter: that is nothing wrong with it, though a topic has
// nobody to be announced to.
func TestFirstOfItsDHT(t *testing.T) {
	h := listen(t, nil)
	m := join(t, h, discovery.Native(), nil)
	m.await("that nobody is there", isError(wtproto.CodePeerUnreachable))
	if err := h.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
	listen(t, seeds(h))
	m.await("that somebody is there", isRecovery)
}

// On the public DHT the same holds. Its filters keep loopback out, so a seed there changes
// nothing.
func TestPublicUnreachable(t *testing.T) {
	other := listen(t, nil)
	h := listen(t, all(seeds(other), func(c *Config) { c.Mode = Public }))
	m := join(t, h, discovery.Native(), nil)
	m.await("that it is not in the DHT", isError(wtproto.CodePeerUnreachable))
	if err := h.Err(); err == nil || !strings.Contains(err.Error(), "not in the DHT") {
		t.Errorf("Err = %v", err)
	}
}

func TestPublicAddrs(t *testing.T) {
	p, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	filter := publicAddrs(p)
	for _, tc := range []struct {
		addr string
		want bool
	}{
		{"/ip4/45.83.1.2/tcp/4001", true},
		{"/ip4/45.83.1.3/tcp/4001", true}, // ours
		{"/ip6/2a01:4f8::1/tcp/4001", true},
		{"/ip4/127.0.0.1/tcp/4001", false},
		{"/ip4/10.9.8.7/tcp/4001", false},
		{"/ip4/100.64.0.9/tcp/4001", false},
		{"/ip4/169.254.169.254/tcp/80", false},
		{"/ip6/fd00::9/tcp/4001", false},
		{"/ip4/45.83.1.2/udp/4001/quic-v1", false},
		{"/ip4/45.83.1.2/tcp/4001/ws", false},
		{"/dns4/example.com/tcp/4001", false},
		{"/ip4/45.83.1.2/tcp/4001/p2p/12D3KooWDwTirQce1RRKnasT5fPVFgzXCy6SiRgSwrwPGLC7zE91/p2p-circuit", false},
	} {
		m := ma.StringCast(tc.addr)
		if tc.addr == "/ip4/45.83.1.3/tcp/4001" {
			a, _ := plainTCP(m)
			p.AddOwn(a)
		}
		if got := len(filter([]ma.Multiaddr{m})) == 1; got != tc.want {
			t.Errorf("%s passes: %v, want %v", tc.addr, got, tc.want)
		}
	}
}

// A killed process is noticed at once: its circuits are lost, and it is believed to be there for
// no longer than a minute.
func TestKilled(t *testing.T) {
	g := listen(t, gateway)
	m := join(t, g, presence(true, true, endpoint(1)), nil)
	process, id := startChild(t, g)
	peer := m.await("the child", func(i item) bool { return i.sighting.Peer.ID == string(id) })
	c := dial(t, peer, endpoint(1))
	got := make([]byte, 5)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(got); err != nil || string(got[:n]) != "hello" {
		t.Fatalf("Read = %q, %v", got[:n], err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := c.Read(got)
	wantCode(t, "Read", err, wtproto.CodePeerGone, false)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("noticed after %v", d)
	}
	eventually(t, "Write fails", func() bool { _, err = c.Write(got); return err != nil })
	wantCode(t, "Write", err, wtproto.CodePeerGone, false)
	m.await("that it was lost", func(i item) bool {
		s := i.sighting
		return s.Peer.ID == string(id) && s.Holds > 0 && s.Holds <= time.Minute && !s.Gone
	})
}

// What the DHT is asked and told is seen from outside, with what came of it.
func TestObserver(t *testing.T) {
	var lookUps, found, announcements atomic.Int64
	watched := func(c *Config) {
		c.Observer = &discovery.Observer{
			LookedUp: func(network string, n int, took time.Duration, err error) {
				if network != networkDHT || took < 0 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("looked up %s: %d in %v, %v", network, n, took, err)
				}
				lookUps.Add(1)
				found.Add(int64(n))
			},
			Announced: func(network string, took time.Duration, err error) {
				if network != networkDHT || took < 0 {
					t.Errorf("announced %s in %v", network, took)
				}
				if err == nil {
					announcements.Add(1)
				}
			},
		}
	}
	hosts := swarmOf(t, native, all(gateway, watched), native)
	g := join(t, hosts[1], presence(true, true, endpoint(1)), nil)
	join(t, hosts[2], discovery.Native(), echo)
	g.await("the native peer", isPeer(hosts[2], nativeEndpoint))
	eventually(t, "look-ups and announcements are told", func() bool {
		return lookUps.Load() > 0 && found.Load() > 0 && announcements.Load() > 0
	})
}
