package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// TCPDialer opens raw TCP circuits for a network, through the policy, and ends them with the
// network. All networks of plain TCP services use it. Any number of goroutines may use it.
type TCPDialer struct {
	policy *Policy
	src    Source
	life   context.Context // ends with Close
	end    context.CancelFunc
	lookUp func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dials  sync.WaitGroup // grows while mu is held and life goes on

	mu   sync.Mutex
	open map[*tcpStream]struct{} // guarded by mu
}

// NewTCPDialer returns a dialer for addresses learned from src.
func NewTCPDialer(policy *Policy, src Source) *TCPDialer {
	d := &TCPDialer{policy: policy, src: src, lookUp: net.DefaultResolver.LookupNetIP, open: make(map[*tcpStream]struct{})}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Done returns a channel that is closed by [TCPDialer.Close].
func (d *TCPDialer) Done() <-chan struct{} { return d.life.Done() }

// Dial connects to one of addrs ("host:port"): the first that answers. It resolves names, and
// tries at most eight addresses in the order of [Policy.Order], a further one whenever there was
// no answer within [Stagger]. It asks the policy about each address right before it tries that.
// The error holds an [*wtproto.Error]: CodeForbidden or CodeRateLimited if the policy refused all
// of them, CodeShutdown after [TCPDialer.Close], else CodePeerUnreachable with the reason of the
// first. The stream is a [Located].
func (d *TCPDialer) Dial(ctx context.Context, addrs ...string) (Stream, error) {
	d.mu.Lock()
	if d.life.Err() != nil {
		d.mu.Unlock()
		return nil, errShutdown
	}
	d.dials.Add(1)
	d.mu.Unlock()
	defer d.dials.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	s, err := d.dial(ctx, addrs)
	switch {
	case err == nil:
	case d.life.Err() != nil:
		return nil, errShutdown
	default:
		return nil, dialError(err)
	}
	stayed := time.AfterFunc(stays, s.useful)
	s.ended = func() {
		stayed.Stop()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.open, s)
	}
	d.mu.Lock()
	d.open[s] = struct{}{} // Close waits for this dial, so it sees s
	d.mu.Unlock()
	return s, nil
}

// dial returns a stream that is not among the open ones yet.
func (d *TCPDialer) dial(ctx context.Context, names []string) (*tcpStream, error) {
	addrs, err := d.places(ctx, names)
	if err != nil {
		return nil, err
	}
	tries := make([]try, len(addrs))
	winner, conn, errs := race(ctx, addrs,
		func(ctx context.Context, i int) (*net.TCPConn, error) { return d.try(ctx, addrs[i], &tries[i]) },
		func(i int, c *net.TCPConn) {
			tries[i].answered = true
			c.Close()
		})
	switch {
	case conn != nil:
	case len(errs) == 0:
		return nil, ctx.Err()
	default:
		return nil, firstFault(errs)
	}
	s, err := newTCPStream(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.remote = addrs[winner]
	s.useful = sync.OnceFunc(func() { d.refund(addrs, tries, winner) })
	return s, nil
}

// try is the result of the dial of one address.
type try struct {
	spent    bool // the dial counts as failed
	answered bool // though another one was faster
}

// try dials addr.
func (d *TCPDialer) try(ctx context.Context, addr netip.AddrPort, t *try) (*net.TCPConn, error) {
	if err := d.policy.checkNames(ctx, addr); err != nil {
		return nil, err
	}
	dialer := d.policy.Dialer(d.src)
	ask := dialer.ControlContext
	dialer.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
		err := ask(ctx, network, address, c)
		t.spent = err == nil
		return err
	}
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// refund notes that the dial of addrs has succeeded. Addresses that did not answer still count as
// failed dials, unless they are of the machine that answered. So a peer gains nothing by naming
// addresses of others beside its own.
func (d *TCPDialer) refund(addrs []netip.AddrPort, tries []try, winner int) {
	of := func(a netip.AddrPort) target { return targetOf(a.Addr(), d.src == SourceLAN) }
	home := of(addrs[winner])
	for i, t := range tries {
		if t.spent && (i == winner || t.answered || of(addrs[i]) == home) {
			d.policy.Refund(nil, d.src, addrs[i])
		}
	}
}

// places returns the addresses of names in the order in which to try them: those that the policy
// allows, at most maxTried. If it allows none, places returns one of them, so that the dial fails
// with the reason of the policy.
func (d *TCPDialer) places(ctx context.Context, names []string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	var failed error
	for _, name := range names {
		addrs, err := d.resolve(ctx, name)
		if err != nil {
			failed = err
		}
		all = append(all, addrs...)
	}
	var allowed, refused []netip.AddrPort
	for _, a := range d.policy.Order(all) {
		if d.policy.Check(d.src, a) != nil {
			refused = []netip.AddrPort{a}
		} else if len(allowed) < maxTried {
			allowed = append(allowed, a)
		}
	}
	switch {
	case len(allowed) > 0:
		return allowed, nil
	case len(refused) > 0:
		return refused, nil
	case failed != nil:
		return nil, failed
	}
	return nil, errNoAddress
}

// resolve returns the addresses of "host:port".
func (d *TCPDialer) resolve(ctx context.Context, name string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(name); err == nil {
		return []netip.AddrPort{a}, nil
	}
	host, service, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := d.lookUp(ctx, "ip", host)
	var addrs []netip.AddrPort
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip, uint16(port)))
	}
	return addrs, err
}

// firstFault returns the first of errs that is not the policy's. If there is none, it returns the
// last. There must be at least one.
func firstFault(errs []error) error {
	for _, err := range errs {
		if _, own := errors.AsType[*wtproto.Error](err); err != nil && !own {
			return err
		}
	}
	return errs[len(errs)-1]
}

// stays is how long a connection must last to count as a success if the peer sends nothing.
const stays = time.Second

// Close ends dials and circuits, and waits for both.
func (d *TCPDialer) Close() {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.dials.Wait()
	d.mu.Lock()
	open := d.open
	d.open = nil // no stream is added any more
	d.mu.Unlock()
	for s := range open {
		s.Reset(wtproto.CodeShutdown)
	}
}

var errShutdown = wtproto.Errorf(wtproto.CodeShutdown, "the network is closed")

var errNoAddress = errors.New("discovery: no address")

// dialError gives err, from a dial, a code and a reason without addresses.
func dialError(err error) error {
	if _, ok := errors.AsType[*wtproto.Error](err); ok {
		return fmt.Errorf("discovery: %w", err)
	}
	reason := "cannot connect: the gateway's log and /api/topics say why"
	_, dns := errors.AsType[*net.DNSError](err)
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errNoAddress):
		reason = "no address: the name has none, so check it"
	case dns:
		reason = "name not resolved: check it, and that the gateway's resolver knows it"
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "connection refused: check that the service runs, and listens on this port of an address that others reach"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		reason = "no route: check the address, and the gateway's network"
	case timeout != nil && timeout.Timeout():
		reason = "no answer in time: check that the machine is there, and that no firewall drops what is sent to this port"
	}
	return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: reason, Err: err}
}
