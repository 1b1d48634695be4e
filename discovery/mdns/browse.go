package mdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/mcast"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Times of the browser.
const (
	settleAfter = 50 * time.Millisecond // after a packet: more may follow
	settleRest  = 5                     // or that many times as long as settling took, so that a flood does not take all the time
	settleMost  = time.Second           // but no longer
	lookEvery   = 2 * time.Second       // how often to read the interfaces
	countAfter  = time.Second           // answers to a question come within this time
)

// conn is a [mcast.Conn].
type conn interface {
	SetInterfaces(list []mcast.Interface) (joined int, err error)
	Run(ctx context.Context, handle func(mcast.Packet)) error
	Send(index int, family mcast.Family, b []byte) error
	Close() error
}

// listen opens the sockets of multicast DNS.
func listen() (conn, error) {
	c, err := mcast.Listen(mcast.Config{Group4: group4, Group6: group6, Port: port})
	if err != nil {
		return nil, noSocket(err)
	}
	return c, nil
}

// noSocket wraps err, with which sockets could not be opened, with advice for people.
func noSocket(err error) error {
	reason := "UDP port 5353 cannot be had: end the program that has it and does not share it, or use --no-lan"
	if errors.Is(err, errors.ErrUnsupported) {
		reason = "this system does not tell on which interface a packet came, so there is no LAN: use --no-lan, and the DHT or --static"
	}
	return &wtproto.Error{Code: wtproto.CodeInternal, Reason: reason, Err: err}
}

// browser receives packets of the LAN, and sends questions.
type browser struct {
	services []*service
	wake     chan struct{} // holds 1: there is something to settle
	intake   *allowances   // bytes

	mu       sync.Mutex
	resolver *resolver // guarded by mu
}

func newBrowser(services []*service, anyHost bool) *browser {
	return &browser{
		services: services, wake: make(chan struct{}, 1), resolver: newResolver(services, anyHost),
		intake: newAllowances(bytesPerSecond, bytesAtOnce, bytesOfAll),
	}
}

func (b *browser) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// receive takes in one packet. Answers come from the port of multicast DNS (RFC 6762, 6).
func (b *browser) receive(p mcast.Packet) {
	const flags, isResponse = 2, 0x80
	if len(p.Data) <= flags || p.Data[flags]&isResponse == 0 || p.Source.Port() != port {
		return
	}
	from, now := origin{p.Interface, p.Source.Addr()}, time.Now()
	b.mu.Lock()
	known := b.resolver.knows(from, now)
	b.mu.Unlock()
	if !b.intake.take(from, len(p.Data)+packetCost, known, now) {
		return
	}
	answers := parseAnswers(p.Data, b.services)
	if len(answers) == 0 {
		return
	}
	b.mu.Lock()
	matters := b.resolver.take(from, answers, now)
	b.mu.Unlock()
	if matters {
		b.wakeUp()
	}
}

// ask asks for instances again, unless it has just done so.
func (b *browser) ask() {
	b.mu.Lock()
	b.resolver.refresh(time.Now())
	b.mu.Unlock()
	b.wakeUp()
}

// setLinks sets the interfaces of the LAN. before are the former ones.
func (b *browser) setLinks(lan, before map[int]discovery.Interface) {
	var links []link
	for index, i := range lan {
		for _, family := range []mcast.Family{mcast.IPv4, mcast.IPv6} {
			if slices.ContainsFunc(i.Subnets, func(s netip.Prefix) bool { return mcast.FamilyOf(s.Addr()) == family }) {
				links = append(links, link{index, family})
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resolver.local = func(o origin) bool {
		return slices.ContainsFunc(lan[o.index].Subnets, func(s netip.Prefix) bool { return s.Contains(o.addr) })
	}
	b.resolver.setLinks(links, func(l link) bool { return anew(lan[l.index], before[l.index]) }, time.Now())
}

// anew reports whether an interface may be on another LAN than before: its subnets have changed,
// or it has a carrier again.
func anew(now, before discovery.Interface) bool {
	return !slices.Equal(now.Subnets, before.Subnets) || now.Flags&net.FlagRunning&^before.Flags != 0
}

// settle sends the questions that are due by c. It returns the known claims, whether it asked for
// instances, and when to settle again. evicted is how many records the cache had no room for since
// the start.
func (b *browser) settle(c conn) (claims []claim, asked bool, next time.Time, evicted uint64, err error) {
	b.mu.Lock()
	queries, claims, next := b.resolver.settle(time.Now())
	evicted = b.resolver.cache.evicted
	b.mu.Unlock()
	var errs []error
	for _, q := range queries {
		asked = asked || q.browses()
		for _, packet := range packQuery(q.questions, q.known) {
			errs = append(errs, c.Send(q.index, q.family, packet))
		}
	}
	return claims, asked, next, evicted, errors.Join(errs...)
}

// How many bytes of one origin are read, each second and at once, and for how many origins that is
// enough. The browser drops more bytes unread.
const (
	bytesPerSecond = 64 << 10
	bytesAtOnce    = 256 << 10
	bytesOfAll     = 16
	packetCost     = 100 // of a packet beside its bytes
)
