package dat

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A peer of discovery-swarm at two addresses has one circuit, and its other address is refused. When
// the circuit had ended, that address was not dialed again, though the peer was there.
func TestRefusedAddressIsDialedAgain(t *testing.T) {
	t.Parallel()
	peerID := strings.Repeat("\x00", 32) // less than the gateway's: of two circuits the newer one is dropped
	type place struct {
		net.Listener
		met chan net.Conn // after the handshake
	}
	var places []*place
	var at []netip.AddrPort
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := &place{l, make(chan net.Conn, 100)}
		places, at = append(places, p), append(at, l.Addr().(*net.TCPAddr).AddrPort())
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.SetDeadline(time.Now().Add(gateway.Patience))
				_, _ = c.Write([]byte("\x20" + peerID))
				p.met <- c
			}
		})
		t.Cleanup(func() {
			l.Close()
			wg.Wait()
			for len(p.met) > 0 {
				(<-p.met).Close()
			}
		})
	}
	w := ways{dht: forgeNodes(t, "127.0.0.1", 1, func(int) []netip.AddrPort { return at })}
	c := start(t, w, dat.Config{})
	top := gateway.Join(t, c, wtproto.TopicFromName("twice"), client.JoinOptions{LookUpOnly: true, Networks: []string{"discovery-swarm"}})
	conn := gateway.Accept(t, top)
	both := []net.Conn{<-places[0].met, <-places[1].met}
	for _, c := range both {
		defer c.Close()
		first(t, c, 33) // the gateway's part of the handshake
	}
	// The one that is dropped has nothing to read.
	fmt.Fprint(conn, "hello")
	kept := 0
	if n, _ := both[0].Read(make([]byte, 5)); n == 0 {
		kept = 1
		first(t, both[1], 5)
	}
	places[kept].Close()
	both[kept].Close()
	conn.Close()
	var again net.Conn
	select {
	case again = <-places[1-kept].met:
	case <-time.After(gateway.Patience):
		t.Fatal("the other address is not dialed again")
	}
	defer again.Close()
	first(t, again, 33)
	next := gateway.Accept(t, top)
	fmt.Fprint(next, "once more")
	if got := string(first(t, again, 9)); got != "once more" {
		t.Errorf("the peer read %q", got)
	}
}
