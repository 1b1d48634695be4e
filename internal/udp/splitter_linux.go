package udp

import (
	"net"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	maxTrains = 4        // read at once
	trainSize = 64 << 10 // more than the longest datagram, in bytes
	oobSize   = 256      // segment size, ECN and packet info of IPv4 and IPv6 take 144 bytes
)

// splitter reads what the kernel put together, takes it apart, and keeps what its caller has no
// room for.
type splitter struct {
	packets batchReader // constant

	mu      sync.Mutex
	buffers []ipv4.Message   // guarded by mu; nil before the first read and after one that failed
	trains  [maxTrains]train // guarded by mu; what buffers hold
	waiting []train          // guarded by mu; those of trains that have packets, in order of arrival
}

// train is what the kernel delivers as one message: packets of one flow, equally long except that
// the last may be shorter. They have the same control messages, because the kernel keeps packets
// apart that differ in them.
type train struct {
	data  []byte // the packets not yet handed out
	size  int    // of a packet, at least 1
	oob   []byte
	addr  net.Addr
	flags int
}

// ReadBatch is [Conn.ReadBatch].
func (s *splitter) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	s.mu.Lock() // a second reader waits here, and then meets the deadline or the closed socket that ended the first one's wait
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		if err := s.receiveLocked(flags); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(ms) && len(s.waiting) > 0 {
		t := &s.waiting[0]
		t.cut(&ms[n])
		n++
		if len(t.data) == 0 {
			s.waiting = s.waiting[1:]
		}
	}
	return n, nil
}

// receiveLocked waits for trains.
func (s *splitter) receiveLocked(flags int) error {
	if s.buffers == nil {
		s.buffers = newBuffers()
	}
	n, err := s.packets.ReadBatch(s.buffers, flags)
	if err != nil {
		// It may have been the last read. quic-go keeps a transport, with its socket, until its
		// closed connections are forgotten.
		s.buffers, s.trains, s.waiting = nil, [maxTrains]train{}, nil
		return err
	}
	for i := range n {
		m := &s.buffers[i]
		t := train{data: m.Buffers[0][:m.N], addr: m.Addr, flags: m.Flags}
		t.size, t.oob = cutSegmentSize(m.OOB[:m.NN])
		if t.size == 0 {
			t.size = len(t.data)
		}
		s.trains[i] = t
	}
	s.waiting = s.trains[:n]
	return nil
}

// cut moves the first packet of t to m. An empty datagram is a train too, of one packet. As with
// recvmsg(2) what m has no room for is lost, and m's flags say so.
func (t *train) cut(m *ipv4.Message) {
	packet := t.data[:min(t.size, len(t.data))]
	t.data = t.data[len(packet):]
	m.Addr, m.Flags, m.N, m.NN = t.addr, t.flags, 0, 0
	for _, b := range m.Buffers {
		m.N += copy(b, packet[m.N:])
	}
	if m.N < len(packet) {
		m.Flags |= unix.MSG_TRUNC
	}
	if len(m.OOB) < len(t.oob) {
		m.Flags |= unix.MSG_CTRUNC // half a control message is worse than none
		return
	}
	m.NN = copy(m.OOB, t.oob)
}

// newBuffers returns room for the trains of one read. The pages that no train reaches are never
// touched.
func newBuffers() []ipv4.Message {
	data, oob := make([]byte, maxTrains*trainSize), make([]byte, maxTrains*oobSize)
	ms := make([]ipv4.Message, maxTrains)
	for i := range ms {
		ms[i].Buffers = [][]byte{data[i*trainSize:][:trainSize]}
		ms[i].OOB = oob[i*oobSize:][:oobSize]
	}
	return ms
}
