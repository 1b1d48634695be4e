package dat

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Addresses of a machine that plays the Internet. They look public.
const (
	gatewayAt = "45.83.1.1"
	hostileAt = "45.83.1.2"
	victimAt  = "45.83.1.3" // most forged peers are there
	otherAt   = "45.83.1.4"
	lastAt    = "45.83.1.9" // where the last packet of a capture goes
)

var forbidden = []string{"127.0.0.1", "10.9.8.7", "100.64.0.9", "169.254.169.254", gatewayAt}

// Nodes of the mainline DHT whose answers have 1,000 forged peers in all have the gateway dial no
// address that is forbidden, no port of a service, and no machine more often than the ledger
// allows.
func TestForgedAnswers(t *testing.T) {
	if !netns.Inside() {
		t.Parallel()
		n := netns.New(t, "forged")
		for _, a := range append([]string{hostileAt, victimAt, otherAt, lastAt}, forbidden[1:]...) {
			n.Addr(t, a+"/32", "lo")
		}
		n.Rerun(t)
		return
	}
	const nodes, each, ours = 10, 100, 3282
	asked := make(chan int, 1<<10) // which nodes were asked for peers
	at := forgeNodes(t, hostileAt, nodes, func(node int) (peers []netip.AddrPort) {
		for n := range each {
			to, port := victimAt, 2000+each*node+n
			switch {
			case n%10 == 0:
				to = otherAt
			case n%10 == 1:
				if to = forbidden[n/10%len(forbidden)]; to == gatewayAt {
					port = ours
				}
			case n%10 == 2:
				port = []int{1, 22, 25, 53, 1023}[n/10%5]
			}
			peers = append(peers, netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port)))
		}
		asked <- node
		return peers
	})
	seen := capture(t)
	began := time.Now()
	limited := make(chan struct{})
	once := sync.OnceFunc(func() { close(limited) })
	g := startGateway(t, ways{dht: at}, dat.Config{
		Policy: newPolicy(t, discovery.PolicyConfig{}), Listen: fmt.Sprint(gatewayAt, ":", ours),
	}, server.Config{Observer: &server.Observer{Refused: func(l server.LimitName, _ wtproto.Code) {
		if l == server.LimitDialsTarget {
			once()
		}
	}}})
	c := g.Dial(t, client.Config{})
	gateway.Join(t, c, wtproto.TopicFromName("forged"), client.JoinOptions{LookUpOnly: true, Networks: []string{"dat"}})
	for missing := nodes; missing > 0; missing-- {
		<-asked
	}
	<-limited
	g.Close()
	dialed := make(map[netip.Addr]int)
	for at, n := range seen() {
		if at.Port() < 1024 {
			t.Errorf("%v was dialed", at)
		}
		dialed[at.Addr()] += n
	}
	most := 32 + int(time.Since(began)/(5*time.Second)) + 1 // docs/OPERATING.md, Limits
	for _, a := range []string{victimAt, otherAt} {
		if n := dialed[netip.MustParseAddr(a)]; n == 0 || n > most {
			t.Errorf("%s was dialed %d times, want some, and %d times at most", a, n, most)
		}
		delete(dialed, netip.MustParseAddr(a))
	}
	if len(dialed) > 0 {
		t.Errorf("these were dialed: %v", dialed)
	}
}

// capture counts the connections that programs of the namespace begin, by destination, from now
// until the function that it returns is called.
func capture(t *testing.T) func() map[netip.AddrPort]int {
	t.Helper()
	const protocols = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the order of the network
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocols)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		t.Fatal(err)
	}
	counts := make(map[netip.AddrPort]int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fd)
		b := make([]byte, 128)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Errorf("capture: %v", err)
				return
			}
			link, ok := from.(*unix.SockaddrLinklayer)
			if !ok || link.Pkttype != unix.PACKET_OUTGOING || n < 20 || b[0]>>4 != 4 { // lo has each packet twice
				continue
			}
			to := netip.AddrFrom4([4]byte(b[16:20]))
			if to == netip.MustParseAddr(lastAt) {
				return
			}
			const syn, ack = 0x02, 0x10
			if h := int(b[0]&0xf) * 4; b[9] == unix.IPPROTO_TCP && n >= h+14 && b[h+13]&(syn|ack) == syn {
				counts[netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[h+2:]))]++
			}
		}
	}()
	return func() map[netip.AddrPort]int {
		c, err := net.Dial("udp", net.JoinHostPort(lastAt, "9"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("last")); err != nil {
			t.Fatal(err)
		}
		<-done
		return counts
	}
}
