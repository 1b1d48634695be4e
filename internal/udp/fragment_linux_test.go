package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/internal/netns"
)

// A packet that is too large for the path arrives if it may be divided, and the ones before and
// after it, which may not, do not.
func TestWriteFragmented(t *testing.T) {
	near, router, far := netns.New(t, "near"), netns.New(t, "router"), netns.New(t, "far")
	netns.Link(t, near, "10.83.1.1/24", router, "10.83.1.2/24")
	devRouter, devFar := netns.Link(t, router, "10.83.2.1/24", far, "10.83.2.2/24")
	router.IP(t, "link", "set", devRouter, "mtu", "1280")
	far.IP(t, "link", "set", devFar, "mtu", "1280")
	router.Sysctl(t, "net/ipv4/ip_forward", "1")
	near.IP(t, "route", "add", "default", "via", "10.83.1.2")
	far.IP(t, "route", "add", "default", "via", "10.83.2.1")

	for _, network := range []string{"udp", "udp4"} { // a socket of both families, and one of IPv4
		var from, to *Conn
		var err error
		near.Do(t, func() { from, err = Listen(network, ":0") })
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		far.Do(t, func() { to, err = Listen("udp4", "10.83.2.2:0") })
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		raw, err := from.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { // as quic-go does
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		}); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		addr := to.LocalAddr().(*net.UDPAddr)
		packet := func(name string) string { return name + strings.Repeat(".", 1452-len(name)) }
		send := func(by func(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error), packet string) {
			if n, _, err := by([]byte(packet), nil, addr); n != len(packet) || err != nil {
				t.Errorf("%s: %.10q: %d bytes sent, %v", network, packet, n, err)
			}
		}
		to.SetReadDeadline(time.Now().Add(patience))
		got := make([]byte, 2000)
		arrives := func(want string) {
			n, _, err := to.ReadFrom(got)
			if err != nil || string(got[:n]) != want {
				t.Errorf("%s: got %.10q of %d bytes, %v, want %.10q", network, got[:n], n, err, want)
			}
		}
		send(from.WriteMsgUDP, packet("before"))
		send(from.WriteFragmented, packet("divided"))
		arrives(packet("divided"))
		send(from.WriteMsgUDP, packet("after"))
		send(from.WriteMsgUDP, "last")
		arrives("last")
	}
}

func TestFragments(t *testing.T) {
	for addr, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "2001:db8::1": false} {
		if got := Fragments(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Fragments(%s) = %v", addr, got)
		}
	}
}

func TestSegmentSize(t *testing.T) {
	segment := controlMessage(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, 1452))
	for name, c := range map[string]struct {
		oob  []byte
		want int
	}{
		"nothing":         {nil, 0},
		"another message": {ecn(1), 0},
		"alone":           {segment, 1452},
		"before another":  {slices.Concat(segment, ecn(1)), 1452},
		"behind another":  {slices.Concat(ecn(1), segment), 1452},
		"cut off":         {segment[:unix.SizeofCmsghdr+1], 0},
	} {
		if got := SegmentSize(c.oob); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
