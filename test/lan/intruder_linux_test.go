//go:build !race

package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"github.com/swarmgate/swarmgate/wtproto"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// announcement is a response of multicast DNS: name, a service of a topic, is at a port of addr.
func announcement(name, topic, addr string, port uint16) []byte {
	const typ = "_swarmgate._tcp.local."
	full, host := name+"."+typ, name+".local."
	header := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 120}
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	m.Answer = []dns.RR{
		&dns.PTR{Hdr: header(typ, dns.TypePTR), Ptr: full},
		&dns.SRV{Hdr: header(full, dns.TypeSRV), Port: port, Target: host},
		&dns.TXT{Hdr: header(full, dns.TypeTXT), Txt: []string{"topic=" + wtproto.TopicFromName(topic).String()}},
	}
	if ip := net.ParseIP(addr); ip.To4() != nil {
		m.Answer = append(m.Answer, &dns.A{Hdr: header(host, dns.TypeA), A: ip})
	} else {
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(host, dns.TypeAAAA), AAAA: ip})
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// say sends b from an address and port of ns with a hop limit of 255.
func say(t *testing.T, ns *netns.NS, from, to string, b []byte) {
	t.Helper()
	ns.Do(t, func() {
		config := net.ListenConfig{Control: reuse}
		c, err := config.ListenPacket(t.Context(), "udp4", from)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := ipv4.NewPacketConn(c)
		dst, _ := net.ResolveUDPAddr("udp4", to)
		if dst.IP.IsMulticast() {
			ifi, _ := net.InterfaceByName("veth0")
			err = p.SetMulticastInterface(ifi)
		}
		for _, step := range []func() error{
			func() error { return err }, func() error { return p.SetTTL(255) }, func() error { return p.SetMulticastTTL(255) },
			func() error { _, err := c.WriteTo(b, dst); return err },
		} {
			if err := step(); err != nil {
				t.Fatalf("%s to %s: %v", from, to, err)
			}
		}
	})
}

// guard accepts connections at a port of all addresses of ns, and counts them.
func guard(t *testing.T, ns *netns.NS, port string) (visits *atomic.Int64) {
	t.Helper()
	var ln net.Listener
	ns.Do(t, func() {
		var err error
		if ln, err = net.Listen("tcp", ":"+port); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { ln.Close() })
	visits = new(atomic.Int64)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			c.Close()
		}
	}()
	return visits
}

const mdnsGroup = "224.0.0.251:5353"

// A machine of the LAN cannot have a gateway connect to another machine, to the gateway's own, or
// to one of another interface, and on an interface that is not the LAN nothing is heard, asked or
// dialed.
func TestLANIntruders(t *testing.T) {
	t.Parallel()
	here, near, other := netns.New(t, "gateway"), netns.New(t, "near"), netns.New(t, "other")
	netns.Link(t, here, "10.78.0.1/24", near, "10.78.0.2/24")
	netns.Link(t, here, "172.17.0.1/16", other, "172.17.0.2/16") // as that of docker
	near.Addr(t, "10.78.0.3/24", "veth0")                        // another machine
	wire := capture(t, other)
	var visits []*atomic.Int64
	for _, ns := range []*netns.NS{here, near, other} {
		visits = append(visits, guard(t, ns, "7009"))
	}
	g := machine.StartOnLAN(t, here, "--lan-interface", "veth0", "--log-level", "warn")
	top := g.Join("lan")[0]
	honest := func(port uint16) { // until it is heard: the gateway may not listen yet
		t.Helper()
		echoOn(t, near, fmt.Sprint(port))
		b := announcement(fmt.Sprint("honest", port), "lan", "10.78.0.2", port)
		before := top.Status()
		gateway.Eventually(t, "an honest service", func() bool {
			say(t, near, "10.78.0.2:5353", mdnsGroup, b)
			now := top.Status()
			return now.Connected > before.Connected
		})
		machine.Meet(t, top, "honest", fmt.Sprint(":", port))
	}
	honest(7007)
	for i, at := range []string{
		"127.0.0.1", "127.9.9.9", "10.78.0.1", "10.78.0.3", "172.17.0.1", "172.17.0.2", "0.0.0.0", "224.0.0.251", "10.78.0.255",
		"169.254.169.254", "8.8.8.8", "::1", "::ffff:127.0.0.1",
	} {
		b := announcement(fmt.Sprint("forged", i), "lan", at, 7009)
		say(t, near, "10.78.0.2:5353", mdnsGroup, b)
		say(t, near, "10.78.0.2:5353", "10.78.0.1:5353", b)
	}
	say(t, near, "10.78.0.2:5354", mdnsGroup, announcement("port", "lan", "10.78.0.2", 7009)) // from another port
	for _, to := range []string{mdnsGroup, "172.17.0.1:5353", "10.78.0.1:5353"} {
		if to == "10.78.0.1:5353" {
			other.IP(t, "route", "add", "10.78.0.0/24", "via", "172.17.0.1")
		}
		say(t, other, "172.17.0.2:5353", to, announcement("elsewhere", "lan", "172.17.0.2", 7009))
	}
	honest(7008) // heard and dialed after the others
	for i, name := range []string{"the gateway's machine", "the LAN", "another interface"} {
		if n := visits[i].Load(); n > 0 {
			t.Errorf("%d connections to port 7009 of %s", n, name)
		}
	}
	for _, p := range wire() {
		t.Errorf("on the interface that is not the LAN: %s", p)
	}
}

// capture returns a function that returns what came to ns on veth0 until then: questions of
// multicast DNS and what TCP says.
func capture(t *testing.T, ns *netns.NS) (read func() []string) {
	t.Helper()
	fd := -1
	ns.Do(t, func() {
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, all); err != nil {
			t.Fatal(err)
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	})
	t.Cleanup(func() { unix.Close(fd) })
	return func() (found []string) {
		b := make([]byte, 9000)
		for {
			n, from, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if err != nil {
				return found
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if s := describe(b[:n]); s != "" {
				found = append(found, s)
			}
		}
	}
}

// describe says what an IP packet is, if it is a question of multicast DNS or of TCP.
func describe(b []byte) string {
	var protocol byte
	var rest []byte
	switch {
	case len(b) > 40 && b[0]>>4 == 4:
		protocol, rest = b[9], b[int(b[0]&15)*4:]
	case len(b) > 48 && b[0]>>4 == 6:
		protocol, rest = b[6], b[40:]
	default:
		return ""
	}
	switch {
	case protocol == unix.IPPROTO_TCP:
		return fmt.Sprintf("TCP to port %d", binary.BigEndian.Uint16(rest[2:]))
	case protocol == unix.IPPROTO_UDP && len(rest) > 12 && binary.BigEndian.Uint16(rest[2:]) == 5353:
		m := new(dns.Msg)
		if err := m.Unpack(rest[8:]); err != nil || !m.Response {
			return fmt.Sprintf("multicast DNS: %v", m)
		}
	}
	return ""
}

// reuse has a socket share its port, as programs that speak multicast DNS do.
func reuse(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	return errors.Join(err, failed)
}
