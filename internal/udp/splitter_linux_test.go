package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// controlMessage returns a control message as the kernel lays it out.
func controlMessage(level, typ int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgSpace(0):], data)
	return b
}

func segmentSize(size uint32) []byte {
	return controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, size))
}

func ecn(bits byte) []byte { return controlMessage(unix.IPPROTO_IP, unix.IP_TOS, []byte{bits}) }

func TestCutSegmentSize(t *testing.T) {
	tos, info := ecn(1), controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, []byte("abcdefghijkl"))
	for _, tc := range []struct {
		name string
		oob  []byte
		size int
		rest []byte
	}{
		{"none", nil, 0, nil},
		{"size alone", segmentSize(1200), 1200, nil},
		{"size first", slices.Concat(segmentSize(1200), tos, info), 1200, slices.Concat(tos, info)},
		{"size between", slices.Concat(tos, segmentSize(1), info), 1, slices.Concat(tos, info)},
		{"size last", slices.Concat(tos, info, segmentSize(65535)), 65535, slices.Concat(tos, info)},
		{"no size", slices.Concat(tos, info), 0, slices.Concat(tos, info)},
		{"cut header", tos[:unix.SizeofCmsghdr-1], 0, tos[:unix.SizeofCmsghdr-1]},
		{"cut data", slices.Concat(tos, segmentSize(9)[:unix.SizeofCmsghdr+2]), 0, slices.Concat(tos, segmentSize(9)[:unix.SizeofCmsghdr+2])},
	} {
		size, rest := cutSegmentSize(slices.Clone(tc.oob))
		if size != tc.size || !slices.Equal(rest, tc.rest) {
			t.Errorf("%s: cutSegmentSize = %d, %x; want %d, %x", tc.name, size, rest, tc.size, tc.rest)
		}
	}
}

// kernel hands out batches of messages as recvmmsg does.
type kernel struct {
	batches [][]ipv4.Message
	calls   int
}

var errEmpty = errors.New("nothing more")

func (k *kernel) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	k.calls++
	if len(k.batches) == 0 {
		return 0, errEmpty
	}
	batch := k.batches[0]
	k.batches = k.batches[1:]
	for i, m := range batch {
		ms[i].N = copy(ms[i].Buffers[0], m.Buffers[0])
		ms[i].NN = copy(ms[i].OOB, m.OOB)
		ms[i].Addr, ms[i].Flags = m.Addr, m.Flags
	}
	return len(batch), nil
}

func TestSplit(t *testing.T) {
	a, b := &net.UDPAddr{Port: 1}, &net.UDPAddr{Port: 2}
	message := func(from *net.UDPAddr, data string, oob ...[]byte) ipv4.Message {
		return ipv4.Message{Buffers: [][]byte{[]byte(data)}, OOB: slices.Concat(oob...), Addr: from}
	}
	type batch = []ipv4.Message
	for _, tc := range []struct {
		name    string
		batches []batch
		want    string // packets as port:data:ECN
	}{
		{"alone", []batch{{message(a, "abc", ecn(2))}}, "1:abc:2"},
		{"whole train", []batch{{message(a, "aabbcc", segmentSize(2), ecn(1))}}, "1:aa:1 1:bb:1 1:cc:1"},
		{"short last", []batch{{message(a, "aaabbbc", segmentSize(3), ecn(3))}}, "1:aaa:3 1:bbb:3 1:c:3"},
		{"one packet with a size", []batch{{message(a, "aa", segmentSize(3), ecn(0))}}, "1:aa:0"},
		{"empty datagrams", []batch{{message(a, "", ecn(0)), message(b, "b", ecn(1)), message(a, "", ecn(2))}}, "1::0 2:b:1 1::2"},
		{
			"many trains, two reads",
			[]batch{
				{message(a, "aabb", segmentSize(2), ecn(1)), message(b, "x", ecn(2)), message(a, "cc", ecn(0)), message(b, "yyz", segmentSize(2), ecn(3))},
				{message(b, "w", ecn(0))},
			},
			"1:aa:1 1:bb:1 2:x:2 1:cc:0 2:yy:3 2:z:3 2:w:0",
		},
	} {
		for _, room := range []int{1, 2, 3, 8} {
			t.Run(fmt.Sprintf("%s/room for %d", tc.name, room), func(t *testing.T) {
				k := &kernel{batches: slices.Clone(tc.batches)}
				s := &splitter{packets: k}
				var got []string
				for {
					ms := messages(room)
					n, err := s.ReadBatch(ms, 0)
					if err == errEmpty {
						break
					}
					if err != nil || n < 1 || n > room {
						t.Fatalf("ReadBatch = %d, %v", n, err)
					}
					for _, m := range ms[:n] {
						h, data, rest, err := unix.ParseOneSocketControlMessage(m.OOB[:m.NN])
						if err != nil || h.Type != unix.IP_TOS || len(rest) != 0 {
							t.Fatalf("control messages %x, want the ECN alone", m.OOB[:m.NN])
						}
						got = append(got, fmt.Sprintf("%d:%s:%d", m.Addr.(*net.UDPAddr).Port, m.Buffers[0][:m.N], data[0]))
					}
				}
				if got := strings.Join(got, " "); got != tc.want {
					t.Errorf("packets = %s, want %s", got, tc.want)
				}
				if want := len(tc.batches) + 1; k.calls != want {
					t.Errorf("the kernel was asked %d times, want %d: no sooner than there is nothing left", k.calls, want)
				}
			})
		}
	}
}

func TestSplitWithoutRoom(t *testing.T) {
	train := []ipv4.Message{{Buffers: [][]byte{[]byte("abcdefgh")}, OOB: slices.Concat(segmentSize(4), ecn(1))}}
	s := &splitter{packets: &kernel{batches: [][]ipv4.Message{train}}}
	if n, err := s.ReadBatch(nil, 0); n != 0 || err != nil {
		t.Errorf("ReadBatch of nothing = %d, %v; want 0, nil", n, err)
	}
	ms := []ipv4.Message{
		{Buffers: [][]byte{make([]byte, 3)}, OOB: make([]byte, unix.CmsgSpace(1)-1)},
		{Buffers: [][]byte{make([]byte, 1), make([]byte, 9)}, OOB: make([]byte, unix.CmsgSpace(1))},
	}
	if n, err := s.ReadBatch(ms, 0); n != 2 || err != nil {
		t.Fatalf("ReadBatch = %d, %v; want 2, nil", n, err)
	}
	if m := ms[0]; m.N != 3 || string(m.Buffers[0]) != "abc" || m.NN != 0 || m.Flags != unix.MSG_TRUNC|unix.MSG_CTRUNC {
		t.Errorf("short buffers: %q, %d bytes of control messages, flags %#x", m.Buffers[0][:m.N], m.NN, m.Flags)
	}
	if m := ms[1]; m.N != 4 || string(m.Buffers[0]) != "e" || string(m.Buffers[1][:3]) != "fgh" || m.NN != len(m.OOB) || m.Flags != 0 {
		t.Errorf("two buffers: %q, %d bytes of control messages, flags %#x", m.Buffers, m.NN, m.Flags)
	}
}

// A socket that is not read any more holds nothing: quic-go keeps it until the last closed
// connection is forgotten, three probe timeouts later, so that 100 clients that had closed once
// held 25 MiB on a busy machine.
func TestClosedSocketHoldsNothing(t *testing.T) {
	for name, end := range map[string]func(*Conn){
		"closed":   func(c *Conn) { c.Close() },
		"deadline": func(c *Conn) { c.SetReadDeadline(time.Unix(1, 0)) }, // how quic.Transport ends its reading
	} {
		c, err := Listen("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, ok := c.reader.(*splitter)
		if !ok {
			t.Fatal("the kernel has no GRO")
		}
		if _, err := c.WriteTo([]byte("x"), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, _, err := c.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		end(c)
		if _, _, err := c.ReadFrom(b); err == nil {
			t.Fatalf("%s: a read after the end", name)
		}
		if s.buffers != nil || s.waiting != nil || s.trains[0].data != nil {
			t.Errorf("%s: the buffers are still there", name)
		}
	}
}

func TestSplitAllocatesNothing(t *testing.T) {
	data := make([]byte, 40*1200)
	oob := slices.Concat(segmentSize(1200), ecn(1))
	batch := []ipv4.Message{{Buffers: [][]byte{data}, OOB: oob}, {Buffers: [][]byte{data}, OOB: oob}}
	k := &kernel{}
	s := &splitter{packets: k}
	ms, batches := messages(8), [][]ipv4.Message{batch}
	allocs := testing.AllocsPerRun(100, func() {
		k.batches = batches
		for range 10 {
			if n, err := s.ReadBatch(ms, 0); n != 8 || err != nil {
				t.Fatalf("ReadBatch = %d, %v; want 8, nil", n, err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("80 packets took %v allocations, want 0", allocs)
	}
}

// counter counts what comes from the kernel.
type counter struct {
	batchReader
	trains, packets atomic.Int64
}

func (c *counter) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := c.batchReader.ReadBatch(ms, flags)
	if err != nil {
		return n, err // n may be -1
	}
	for _, m := range ms[:n] {
		size, _ := cutSegmentSize(slices.Clone(m.OOB[:m.NN]))
		if size == 0 {
			size = max(1, m.N)
		}
		c.trains.Add(1)
		c.packets.Add(int64(max(1, (m.N+size-1)/size)))
	}
	return n, nil
}

// sendTrain sends data as packets of size bytes with one system call.
func sendTrain(t *testing.T, from, to *Conn, data []byte, size int, ecn byte) {
	t.Helper()
	oob := controlMessage(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
	if addrOf(from).IP.To4() != nil {
		oob = append(oob, controlMessage(unix.IPPROTO_IP, unix.IP_TOS, []byte{ecn})...)
	} else {
		oob = append(oob, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, binary.NativeEndian.AppendUint32(nil, uint32(ecn)))...)
	}
	if n, _, err := from.UDPConn.WriteMsgUDP(data, oob, addrOf(to)); n != len(data) || err != nil {
		t.Fatalf("send = %d, %v; want %d", n, err, len(data))
	}
}

// receivedECN returns the ECN bits of m, and fails where there is another control message.
func receivedECN(t *testing.T, m *ipv4.Message) byte {
	t.Helper()
	h, data, rest, err := unix.ParseOneSocketControlMessage(m.OOB[:m.NN])
	if err != nil || len(rest) != 0 {
		t.Fatalf("control messages %x: %v; want the ECN alone", m.OOB[:m.NN], err)
	}
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS:
		return data[0] & 3
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS:
		return byte(binary.NativeEndian.Uint32(data)) & 3
	}
	t.Fatalf("control message of level %d, type %d", h.Level, h.Type)
	return 0
}

// The kernel of this machine puts packets together, and what ReadBatch returns are the packets
// that were sent.
func TestKernelTrains(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			to, a, b := listen(t, "udp", addr), listen(t, "udp", addr), listen(t, "udp", addr)
			if !to.GRO() {
				t.Fatal("the kernel has no GRO")
			}
			count := &counter{batchReader: to.reader.(*splitter).packets}
			to.reader.(*splitter).packets = count
			raw, err := to.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			err = raw.Control(func(fd uintptr) {
				err4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
				err6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
				if err4 != nil && err6 != nil {
					t.Errorf("ECN: %v, %v", err4, err6)
				}
			})
			if err != nil {
				t.Fatal(err)
			}

			type packet struct {
				from *Conn
				size int
				fill byte
				ecn  byte
			}
			var want []packet
			var fill byte
			send := func(from *Conn, ecn byte, size int, sizes ...int) {
				var data []byte
				for _, n := range sizes {
					fill++
					want = append(want, packet{from, n, fill, ecn})
					data = append(data, slices.Repeat([]byte{fill}, n)...)
				}
				sendTrain(t, from, to, data, size, ecn)
			}
			send(a, 1, 1200, slices.Repeat([]int{1200}, 20)...)
			send(b, 2, 1350, append(slices.Repeat([]int{1350}, 10), 7)...) // a short last one
			send(a, 3, 1200, 1200)
			send(b, 0, 1, slices.Repeat([]int{1}, 60)...)
			send(a, 1, 1452, append(slices.Repeat([]int{1452}, 44), 1451)...) // nearly 64 KiB

			var got []packet
			for len(got) < len(want) {
				ms := messages(8)
				n, err := to.ReadBatch(ms, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range ms[:n] {
					p := packet{from: a, size: m.N, fill: m.Buffers[0][0], ecn: receivedECN(t, &m)}
					if m.Addr.String() == b.LocalAddr().String() {
						p.from = b
					} else if m.Addr.String() != a.LocalAddr().String() {
						t.Fatalf("packet from %v", m.Addr)
					}
					if i := slices.IndexFunc(m.Buffers[0][:m.N], func(c byte) bool { return c != p.fill }); i >= 0 {
						t.Fatalf("packet %d has a byte of another at %d", len(got), i)
					}
					got = append(got, p)
				}
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("packet %d: got %+v, want %+v", i, got[i], want[i])
				}
			}
			if trains, packets := count.trains.Load(), count.packets.Load(); trains != 5 || packets != int64(len(want)) {
				t.Errorf("the kernel delivered %d packets as %d messages, want %d as 5", packets, trains, len(want))
			}
		})
	}
}

// All that is read with the methods of Conn is single packets.
func TestReadersSplit(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			to, from := listen(t, "udp4", "127.0.0.1:0"), listen(t, "udp4", "127.0.0.1:0")
			sendTrain(t, from, to, []byte("aabbc"), 2, 0)
			for _, want := range []string{"aa", "bb", "c"} {
				got, sender, err := r.read(to)
				if err != nil || got != want || sender != from.LocalAddr().String() {
					t.Errorf("read = %q from %s, %v; want %q", got, sender, err, want)
				}
			}
		})
	}
}

// Where the kernel refuses GRO everything is as with the standard socket.
func TestWithoutGRO(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			to, from := withoutGRO(t, listen(t, "udp4", "127.0.0.1:0")), listen(t, "udp4", "127.0.0.1:0")
			sendTrain(t, from, to, []byte("aabbc"), 2, 0)
			for _, want := range []string{"aa", "bb", "c"} {
				if got, _, err := r.read(to); err != nil || got != want {
					t.Errorf("read = %q, %v; want %q", got, err, want)
				}
			}
			if to.GRO() {
				t.Error("GRO is on")
			}
		})
	}
}

// withoutGRO makes of c what it would be with an older kernel.
func withoutGRO(t testing.TB, c *Conn) *Conn {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno error
	if err := raw.Control(func(fd uintptr) {
		errno = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 0)
	}); err != nil || errno != nil {
		t.Fatal(err, errno)
	}
	return &Conn{UDPConn: c.UDPConn, reader: ipv4.NewPacketConn(c.UDPConn), send: c.UDPConn.WriteMsgUDP}
}
