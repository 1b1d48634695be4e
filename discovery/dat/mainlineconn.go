package dat

import (
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
	packetsPerSecond = 500  // that are read, of strangers; more are dropped
	packetsAtOnce    = 1000
	packetsPerAnswer = 4                // that are read beside these
	answerWithin     = 10 * time.Second // after a question
	maxAsked         = 4096             // addresses that have not answered
)

// mainlinePayer is who pays for questions to nodes of the DHT, for [discovery.Policy.Spend].
type mainlinePayer struct{}

// packet is what a packet says, as far as its socket needs to know.
type packet struct {
	question bool
	number   string     // of the question, which the answer repeats
	seen     netip.Addr // where the sender of an answer sees us; invalid if it does not say that
}

// guardedConn is the socket of our node. The policy decides about every address to which it sends.
// A question counts as a failed dial until there is an answer with its number, so nobody can aim the
// node at a third party. It passes on only packets that are valid, because the library panics at
// some, and no errors but that it is closed, at which the library panics too.
type guardedConn struct {
	*net.UDPConn
	policy     *discovery.Policy
	read       func([]byte) (packet, bool)
	configured func(netip.AddrPort) bool // the operator named it
	intake     *rate.Limiter             // of packets that nobody was asked for
	outside    outside
	reading    sync.RWMutex // held for reading while ReadFrom runs

	mu    sync.Mutex
	asked map[netip.AddrPort]*askedNode // guarded by mu; at most maxAsked
}

// askedNode is an address that was asked and has not answered all.
type askedNode struct {
	source discovery.Source
	open   map[string]time.Time // when the questions were sent, by their numbers
	last   time.Time            // of these
	free   int                  // packets that do not count for intake
}

func newGuardedConn(c *net.UDPConn, policy *discovery.Policy, read func([]byte) (packet, bool), configured func(netip.AddrPort) bool) *guardedConn {
	return &guardedConn{
		UDPConn: c, policy: policy, read: read, configured: configured,
		intake: rate.NewLimiter(packetsPerSecond, packetsAtOnce), asked: make(map[netip.AddrPort]*askedNode),
	}
}

// ReadFrom reads the next packet that is valid.
func (c *guardedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.reading.RLock()
	defer c.reading.RUnlock()
	for {
		n, from, err := c.ReadFromUDPAddrPort(b[:min(len(b), maxPacket+1)])
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil:
			time.Sleep(10 * time.Millisecond) // a passing error of the system
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if n > maxPacket || from.Port() == 0 || !c.expects(from) && !c.intake.Allow() {
			continue
		}
		p, ok := c.read(b[:n])
		if !ok {
			continue
		}
		if !p.question && c.answered(from, p.number) {
			c.outside.note(from.Addr(), p.seen)
		}
		return n, net.UDPAddrFromAddrPort(from), nil
	}
}

// end closes the socket, and waits until nobody waits for packets any more.
func (c *guardedConn) end() {
	c.Close()
	c.reading.Lock()
	defer c.reading.Unlock()
}

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
	if p, ok := c.read(b); ok && p.question {
		if err := c.ask(source, at, p.number); err != nil {
			return 0, err
		}
	}
	return c.WriteToUDPAddrPort(b, at)
}

// ask counts a question.
func (c *guardedConn) ask(source discovery.Source, at netip.AddrPort, number string) error {
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
		a = &askedNode{source: source, open: make(map[string]time.Time)}
		c.asked[at] = a
	}
	for number, since := range a.open {
		if now.Sub(since) > answerWithin {
			delete(a.open, number)
		}
	}
	a.open[number] = now
	a.last = now
	a.free += packetsPerAnswer
	return nil
}

// expects reports whether a packet may be an answer, and so counts for nobody else. A flood of
// strangers must not drown the answers that our questions get.
func (c *guardedConn) expects(from netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asked[from]
	if a == nil || a.free == 0 {
		return false
	}
	a.free--
	return true
}

// answered takes in the answer to the question with a number, and reports whether somebody at that
// address was asked it.
func (c *guardedConn) answered(from netip.AddrPort, number string) bool {
	c.mu.Lock()
	var since time.Time
	a := c.asked[from]
	if a != nil {
		since = a.open[number]
		if delete(a.open, number); len(a.open) == 0 {
			delete(c.asked, from)
		}
	}
	c.mu.Unlock()
	if a == nil || time.Since(since) > answerWithin {
		return false
	}
	c.policy.Refund(mainlinePayer{}, a.source, from)
	return true
}

// sweepLocked forgets addresses that will not answer.
func (c *guardedConn) sweepLocked(now time.Time) {
	for at, a := range c.asked {
		if now.Sub(a.last) > answerWithin {
			delete(c.asked, at)
		}
	}
}
