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

// TCPDialer opens raw TCP circuits for a network, through the policy, and ends them with the network: what networks of
// plain TCP services have in common. Any number of goroutines may use it.
type TCPDialer struct {
	policy *Policy
	src    Source
	life   context.Context // ends with Close
	end    context.CancelFunc
	dials  sync.WaitGroup // grows while mu is held and life goes on

	mu   sync.Mutex
	open map[*tcpStream]struct{} // guarded by mu
}

// NewTCPDialer returns a dialer for addresses learned from src.
func NewTCPDialer(policy *Policy, src Source) *TCPDialer {
	d := &TCPDialer{policy: policy, src: src, open: make(map[*tcpStream]struct{})}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Done returns a channel that is closed by [TCPDialer.Close].
func (d *TCPDialer) Done() <-chan struct{} { return d.life.Done() }

// Dial connects to the first of addrs ("host:port") that answers, one after the other, each with
// its share of the time that ctx leaves. Names are resolved now, and the policy is asked about
// what they resolve to. The error, that of the last try, holds an [*wtproto.Error]: CodeForbidden
// or CodeRateLimited if the policy refused, CodeShutdown after [TCPDialer.Close], else
// CodePeerUnreachable.
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
	conn, err := dialFirst(ctx, d.policy.Dialer(d.src), addrs)
	switch {
	case err == nil:
	case d.life.Err() != nil:
		return nil, errShutdown
	default:
		return nil, dialError(err)
	}
	s, err := newTCPStream(conn)
	if err != nil {
		conn.Close()
		return nil, dialError(err)
	}
	s.useful = sync.OnceFunc(func() { d.policy.Refund(d.src, addrPort(conn.RemoteAddr())) })
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

// stays is how long a connection must last to have been of use, if the peer sends nothing.
const stays = time.Second

// addrPort returns the address of one end of a TCP connection.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}

// Close ends dials and circuits, and waits for both.
func (d *TCPDialer) Close() {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.dials.Wait()
	d.mu.Lock()
	open := d.open
	d.open = nil // nothing is added any more
	d.mu.Unlock()
	for s := range open {
		s.Reset(wtproto.CodeShutdown)
	}
}

var errShutdown = wtproto.Errorf(wtproto.CodeShutdown, "the network is closed")

// dialFirst connects to the first of addrs that answers.
func dialFirst(ctx context.Context, d *net.Dialer, addrs []string) (*net.TCPConn, error) {
	err := errNoAddress
	for i, addr := range addrs {
		var conn net.Conn
		if conn, err = dialShare(ctx, d, addr, len(addrs)-i); err == nil {
			return conn.(*net.TCPConn), nil
		}
	}
	return nil, err
}

// dialShare dials addr, which is one of n that are left, within an n-th of the time.
func dialShare(ctx context.Context, d *net.Dialer, addr string, n int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && n > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
		defer cancel()
	}
	return d.DialContext(ctx, "tcp", addr)
}

var errNoAddress = errors.New("discovery: no address")

// dialError gives err, from a dial, a code and a reason without addresses.
func dialError(err error) error {
	if _, ok := errors.AsType[*wtproto.Error](err); ok {
		return fmt.Errorf("discovery: %w", err)
	}
	reason := "cannot connect"
	_, dns := errors.AsType[*net.DNSError](err)
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errNoAddress):
		reason = "no address"
	case dns:
		reason = "name not resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		reason = "no route"
	case timeout != nil && timeout.Timeout():
		reason = "no answer in time"
	}
	return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: reason, Err: err}
}
