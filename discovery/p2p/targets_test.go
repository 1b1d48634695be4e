package p2p

import (
	"context"
	"crypto/ed25519"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// One hostile host of the DHT says that a third party is many hosts. The gateway opened 26,136
// connections to it in 13 s.
func TestThirdPartyIsSpared(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			c.Close()
		}
	})
	defer wg.Wait()
	defer ln.Close()
	where, err := manet.FromNetAddr(ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	h := listen(t, nil)
	const hosts, trusted, every = 1500, 512, 312500 * time.Microsecond // of an allowed target, see discovery
	start := time.Now()
	var dials sync.WaitGroup
	for i := range 16 {
		dials.Go(func() {
			for n := i; n < hosts; n += 16 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_ = h.connect(ctx, target{id: someID(t), addrs: []ma.Multiaddr{where}}, nil)
				cancel()
			}
		})
	}
	dials.Wait()
	most := trusted + int64(time.Since(start)/every) + 1
	if n := accepted.Load(); n > most || n < trusted/2 {
		t.Errorf("the third party got %d connections for %d hosts, want %d at most", n, hosts, most)
	}
}

func someID(t *testing.T) peer.ID {
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(p2pKey(t, k))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A record that names many ports of one IP address does not have us scan them.
func TestTwoAddressesOfOneIP(t *testing.T) {
	h := listen(t, nil)
	var many []ma.Multiaddr
	for port := range 6 {
		for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
			m, err := manet.FromNetAddr(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(10+port))))
			if err != nil {
				t.Fatal(err)
			}
			many = append(many, m)
		}
	}
	if good, _ := h.gater.dialable(someID(t), many); len(good) != 4 {
		t.Errorf("%v may be dialed, want two of each IP address", good)
	}
	if ranked := h.gater.rankDials(many); len(ranked) != 4 {
		t.Errorf("%v are dialed, want two of each IP address", ranked)
	}
}
