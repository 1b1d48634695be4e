package client

import (
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/swarmgate/swarmgate/internal/udp"
)

const (
	lateAck       = 100 * time.Millisecond // after a packet came, nothing that is sent is an acknowledgement alone
	probeEvery    = 300 * time.Millisecond // while what was sent is not answered
	probeQuiet    = time.Second            // after a packet came, once, for who only receives
	probeSize     = 64                     // bytes; a stateless reset answers no packet below 43
	longestHeader = 1 + 20                 // of packets after the handshake: flags and connection id
)

// probingSocket is the socket of one session, with a gateway that may be killed and start again.
// The new one answers a packet of the old session by a stateless reset, which must be shorter than
// the packet. But what QUIC sends while it has no answer may be too short for that, and comes at
// ever greater intervals. So while nothing comes, a probingSocket itself sends packets of the
// session that are long enough. Their contents are random: the gateway that knows the session
// drops them, as QUIC has to.
//
// If nothing has come for a second, it asks beside that whether anybody listens on the gateway's
// port at all.
//
// It has large packets leave as [largePackets] says.
type probingSocket struct {
	*udp.Conn
	refused chan struct{}                         // takes one; nobody listens, and nothing has come for long enough
	narrow  chan struct{}                         // takes one; large packets do not arrive
	stats   func() (lost uint64, _ time.Duration) // of the connection, for largePackets
	knocker knocker

	mu      sync.Mutex
	large   largePackets        // guarded by mu
	heard   time.Time           // guarded by mu; when a packet came last
	asked   time.Time           // guarded by mu; of the first packet since that wants an answer; zero without
	probed  bool                // guarded by mu; since then, because it was quiet
	header  [longestHeader]byte // guarded by mu; how the last packet began
	to      *net.UDPAddr        // guarded by mu; where it went; nil before the first
	timer   *time.Timer         // guarded by mu; nil before the first
	armed   bool                // guarded by mu; timer will call look
	sending bool                // guarded by mu; a probe waits for room in the socket
	stopped bool                // guarded by mu
}

// ReadBatch is [udp.Conn.ReadBatch].
func (s *probingSocket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := s.Conn.ReadBatch(ms, flags)
	if n > 0 {
		s.mu.Lock()
		s.heard, s.asked, s.probed = time.Now(), time.Time{}, false
		if !s.armed {
			s.armLocked(probeQuiet)
		}
		s.mu.Unlock()
	}
	return n, err
}

// WriteMsgUDP is [udp.Conn.WriteMsgUDP]. b may be several packets.
func (s *probingSocket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	if len(b) < longestHeader || b[0]&0x80 != 0 { // the header is long in the handshake, which has a timeout of its own
		return s.Conn.WriteMsgUDP(b, oob, to)
	}
	segment := udp.SegmentSize(oob)
	s.mu.Lock()
	s.to = to
	copy(s.header[:], b)
	now := time.Now()
	if s.asked.IsZero() && now.Sub(s.heard) >= lateAck {
		s.asked = now
		s.armLocked(probeEvery)
	}
	leaves := s.large.next(len(b), segment)
	if segment > 0 && s.large.count(len(b), now, s.stats) && !s.stopped {
		select {
		case s.narrow <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	switch leaves {
	case fragmented:
		return s.Conn.WriteFragmented(b, oob, to)
	case dropped:
		return len(b), len(oob), nil
	}
	n, oobn, err = s.Conn.WriteMsgUDP(b, oob, to)
	if segment > 0 && errors.Is(err, syscall.EIO) { // quic-go goes on without batches, for example over IPsec
		s.mu.Lock()
		s.large.noBatches()
		s.mu.Unlock()
	}
	return n, oobn, err
}

// armLocked has look run after d.
func (s *probingSocket) armLocked(d time.Duration) {
	if s.stopped {
		return
	}
	s.armed = true
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.look)
	} else {
		s.timer.Reset(d)
	}
}

// look sends a probe if nothing has come for long enough.
func (s *probingSocket) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	now := time.Now()
	quiet := now.Sub(s.heard)
	switch {
	case s.stopped || s.to == nil:
	case s.sending:
		s.armLocked(probeEvery)
	case !s.asked.IsZero() && now.Sub(s.asked) < idleTimeout:
		s.probeLocked()
		s.armLocked(probeEvery)
	case quiet < probeQuiet:
		s.armLocked(probeQuiet - quiet)
	case !s.probed:
		s.probed = true
		s.probeLocked()
	}
}

// probeLocked sends a probe, without the lock: if the socket is full, that takes until there is room
// or the socket is closed.
func (s *probingSocket) probeLocked() {
	packet := make([]byte, probeSize)
	_, _ = rand.Read(packet) // it never fails
	copy(packet, s.header[:])
	to := s.to
	if quiet := time.Since(s.heard); quiet >= probeQuiet && quiet < pingAfter+silentAfter {
		s.knocker.knock(packet, to, s.isRefused)
	}
	s.sending = true
	s.mu.Unlock()
	_, _, _ = s.Conn.WriteMsgUDP(packet, nil, to) // it may be lost, like any other
	s.mu.Lock()
	s.sending = false
}

// isRefused takes that nobody listens.
func (s *probingSocket) isRefused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || time.Since(s.heard) < probeQuiet {
		return
	}
	select {
	case s.refused <- struct{}{}:
	default:
	}
}

// stopProbing has s send only what QUIC sends.
func (s *probingSocket) stopProbing() {
	s.mu.Lock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.knocker.close()
}

// Close is [udp.Conn.Close].
func (s *probingSocket) Close() error {
	s.stopProbing()
	return s.Conn.Close()
}
