//go:build !race

package lan

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// floodLAN sends forged announcements of services of a topic from ns, so many each second, until
// stop is called. Each is another service, and says that it is at the source of its packet, of
// which there are n.
func floodLAN(t *testing.T, ns *netns.NS, topic string, perSecond, n int) (stop func() (sent int)) {
	t.Helper()
	fd := -1
	ns.Do(t, func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW); err != nil {
			t.Fatal(err)
		}
		i, err := net.InterfaceByName("veth0")
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(i.Index)}); err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0); err != nil {
			t.Fatal(err)
		}
	})
	quit, done := make(chan struct{}), make(chan int)
	go func() {
		defer unix.Close(fd)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		sent, began := 0, time.Now()
		for {
			for until := int(time.Since(began).Seconds() * float64(perSecond)); sent < until; sent++ {
				k := sent % n
				from := netip.AddrFrom4([4]byte{10, 79, byte(1 + k/250), byte(1 + k%250)})
				_ = unix.Sendto(fd, udp4(from, announcement(fmt.Sprint("flood", sent), topic, from.String(), 7009)), 0,
					&unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 251}})
			}
			select {
			case <-quit:
				done <- sent
				return
			case <-tick.C:
			}
		}
	}()
	return func() int {
		close(quit)
		return <-done
	}
}

// udp4 returns b as a packet of multicast DNS from an address that need not be ours.
func udp4(from netip.Addr, b []byte) []byte {
	h := ipv4.Header{
		Version: 4, Len: ipv4.HeaderLen, TotalLen: ipv4.HeaderLen + 8 + len(b), TTL: 255, Protocol: unix.IPPROTO_UDP,
		Src: from.AsSlice(), Dst: net.IPv4(224, 0, 0, 251),
	}
	out, err := h.Marshal()
	if err != nil {
		panic(err)
	}
	for _, x := range []int{5353, 5353, 8 + len(b), 0} {
		out = binary.BigEndian.AppendUint16(out, uint16(x))
	}
	return append(out, b...)
}

// A neighbour that said 5,000 services of a topic a second delayed an honest one by up to 22 s,
// and a thousand made-up sources hid it for as long as they went on. Both are found, and what is
// remembered of a flood is bounded.
func TestLANFlood(t *testing.T) {
	t.Parallel()
	here, near := netns.New(t, "gateway"), netns.New(t, "near")
	netns.Link(t, here, "10.79.0.1/16", near, "10.79.0.2/16")
	g := machine.StartOnLAN(t, here, "--log-level", "error")
	avahi := netns.StartAvahi(t, near)
	echoOn(t, near, "7007")
	quiet := g.Peak(t)
	for _, c := range []struct {
		topic   string
		sources int
	}{{"amid one", 1}, {"amid a thousand", 1000}} {
		top := g.Join(c.topic)[0]
		used, began := g.CPU(t), time.Now()
		stop := floodLAN(t, near, c.topic, 5000, c.sources)
		gateway.Eventually(t, "the flood", func() bool {
			status := top.Status()
			return status.Known > 50
		})
		publish(t, avahi, near, c.topic, "7007", c.topic)
		announced := time.Now()
		for {
			if conn := gateway.Accept(t, top); strings.HasSuffix(conn.Peer().Address, "10.79.0.2:7007") && machine.Echoes(conn) {
				break
			}
		}
		met := time.Since(announced)
		sent, took := stop(), time.Since(began)
		status := top.Status()
		peak := g.Peak(t)
		t.Logf("%d packets from %d sources in %v: met after %v, %v of processors, %d MiB of memory at most, %d before",
			sent, c.sources, took, met, g.CPU(t)-used, peak>>20, quiet>>20)
		if status.Known > 1024 || peak > quiet+128<<20 {
			t.Errorf("%d peers are known, %d MiB of memory, %d before", status.Known, peak>>20, quiet>>20)
		}
	}
}
