package dat

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
)

// Bounds on packets of our node.
const (
	maxPacket        = 2048 // bytes
	packetsPerSecond = 500  // that are read; more are dropped
	packetsAtOnce    = 1000
	answerWithin     = 10 * time.Second // after a question
	maxAsked         = 4096             // addresses that have not answered
)

// mainlinePayer is who pays for questions to nodes of the DHT, for [discovery.Policy.Spend].
type mainlinePayer struct{}

// guardedConn is the socket of our node. The policy decides about every address to which it sends.
// A question counts as a failed dial until there is an answer, so nobody can aim the node at a third
// party. It passes on only packets that are valid, because the library panics at some, and no
// errors but that it is closed, at which the library panics too.
type guardedConn struct {
	*net.UDPConn
	policy     *discovery.Policy
	valid      func([]byte) bool
	configured func(netip.AddrPort) bool // the operator named it
	intake     *rate.Limiter
	ended      chan struct{} // closed when the reader has got the error
	end        sync.Once

	mu    sync.Mutex
	asked map[netip.AddrPort]*askedNode // guarded by mu
}

// askedNode is an address that was asked and has not answered.
type askedNode struct {
	source discovery.Source
	n      int // questions
	last   time.Time
}

func newGuardedConn(c *net.UDPConn, policy *discovery.Policy, valid func([]byte) bool, configured func(netip.AddrPort) bool) *guardedConn {
	return &guardedConn{
		UDPConn: c, policy: policy, valid: valid, configured: configured,
		intake: rate.NewLimiter(packetsPerSecond, packetsAtOnce), ended: make(chan struct{}),
		asked: make(map[netip.AddrPort]*askedNode),
	}
}

// ReadFrom reads the next packet that is valid.
func (c *guardedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b[:min(len(b), maxPacket+1)])
		switch {
		case errors.Is(err, net.ErrClosed):
			c.end.Do(func() { close(c.ended) })
			return 0, nil, err
		case err != nil:
			time.Sleep(10 * time.Millisecond) // a passing error of the system
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if n > maxPacket || from.Port() == 0 || !c.intake.Allow() || !c.valid(b[:n]) {
			continue
		}
		if !isQuestion(b[:n]) {
			c.answered(from)
		}
		return n, net.UDPAddrFromAddrPort(from), nil
	}
}

// isQuestion reports whether b, valid, is a question: the last field of the dictionary says that.
func isQuestion(b []byte) bool { return bytes.HasSuffix(b, []byte("1:y1:qe")) }

// errForbidden says that a packet was not sent.
var errForbidden = errors.New("dat: mainline: only IPv4 is spoken")

// WriteTo sends b if the policy agrees.
func (c *guardedConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errForbidden
	}
	at := udp.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if !at.Addr().Is4() {
		return 0, errForbidden
	}
	source := discovery.SourcePublic
	if c.configured(at) {
		source = discovery.SourceConfigured
	}
	if err := c.policy.Check(source, at); err != nil {
		return 0, err
	}
	if isQuestion(b) {
		if err := c.ask(source, at); err != nil {
			return 0, err
		}
	}
	return c.WriteToUDPAddrPort(b, at)
}

// ask counts a question.
func (c *guardedConn) ask(source discovery.Source, at netip.AddrPort) error {
	if err := c.policy.Spend(mainlinePayer{}, source, at); err != nil {
		return err
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asked[at]
	if a == nil || now.Sub(a.last) > answerWithin {
		if len(c.asked) >= maxAsked {
			c.sweepLocked(now)
		}
		if len(c.asked) >= maxAsked {
			return nil // its answer does not count
		}
		a = &askedNode{source: source}
		c.asked[at] = a
	}
	a.n++
	a.last = now
	return nil
}

// answered notes that somebody at an address has answered.
func (c *guardedConn) answered(from netip.AddrPort) {
	c.mu.Lock()
	a := c.asked[from]
	delete(c.asked, from)
	c.mu.Unlock()
	if a == nil || time.Since(a.last) > answerWithin {
		return
	}
	for range a.n {
		c.policy.Refund(mainlinePayer{}, a.source, from)
	}
}

// sweepLocked forgets addresses that will not answer.
func (c *guardedConn) sweepLocked(now time.Time) {
	for at, a := range c.asked {
		if now.Sub(a.last) > answerWithin {
			delete(c.asked, at)
		}
	}
}
