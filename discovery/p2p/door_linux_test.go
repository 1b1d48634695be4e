package p2p

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/multiformats/go-multistream"

	"github.com/swarmgate/swarmgate/internal/netns"
)

// 600 connections on which nobody spoke kept 70 of 100 honest hosts out until they had timed out:
// libp2p refuses newcomers once it has 512 unfinished handshakes, and it waits for each for 15 s.
// Loopback is exempt from its limits, so this runs elsewhere.
func TestSilentConnectionsShutNobodyOut(t *testing.T) {
	const silentAddrs, each, honest = 20, 30, 20
	silentAddr := func(i int) string { return fmt.Sprintf("45.83.2.%d", i+1) }
	honestAddr := func(i int) string { return fmt.Sprintf("45.83.3.%d", i+1) }
	if !netns.Inside() {
		n := netns.New(t, "door")
		n.Addr(t, gatewayAddr+"/32", "lo")
		for i := range silentAddrs {
			n.Addr(t, silentAddr(i)+"/32", "lo")
		}
		for i := range honest {
			n.Addr(t, honestAddr(i)+"/32", "lo")
		}
		n.Rerun(t)
		return
	}
	h := listen(t, func(c *Config) { c.Listen, c.Mode = []string{"/ip4/" + gatewayAddr + "/tcp/0"}, Off })
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
		c, err := d.Dial("tcp", net.JoinHostPort(gatewayAddr, strconv.Itoa(h.Port())))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for i := range silentAddrs * each {
		dial(silentAddr(i % silentAddrs))
	}
	for i := range honest {
		small, _ := keys(t)
		id, err := peer.IDFromPrivateKey(p2pKey(t, small))
		if err != nil {
			t.Fatal(err)
		}
		security, err := noise.New(noise.ID, p2pKey(t, small), nil)
		if err != nil {
			t.Fatal(err)
		}
		c := dial(honestAddr(i))
		c.SetDeadline(time.Now().Add(patience))
		if err := multistream.SelectProtoOrFail(noise.ID, c); err != nil {
			t.Errorf("host %d (%s): %v", i, id, err)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := security.SecureOutbound(ctx, c, h.id); err != nil {
			t.Errorf("host %d (%s): %v", i, id, err)
		}
		cancel()
	}
}
