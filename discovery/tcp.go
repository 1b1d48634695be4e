package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// tcpStream is a raw TCP connection as a [Stream].
type tcpStream struct {
	conn *net.TCPConn
	end  sync.Once // of conn

	sawEOF   atomic.Bool // Read has returned io.EOF
	sentEOF  atomic.Bool // CloseWrite was called
	wasReset atomic.Bool // Write has found the connection reset
}

// DialTCP connects to the first of addrs ("host:port", learned from src) that answers, one after the other, each with its
// share of the time that ctx leaves. Names are resolved now, and policy is asked about what they resolve to. The error
// of the last try holds an [*wtproto.Error]: CodeForbidden where the policy refused, else CodePeerUnreachable.
func DialTCP(ctx context.Context, policy *Policy, src Source, addrs ...string) (Stream, error) {
	err := error(&wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "no address"})
	for i, addr := range addrs {
		var conn net.Conn
		if conn, err = dialShare(ctx, policy.Dialer(src), addr, len(addrs)-i); err == nil {
			return NewTCPStream(conn.(*net.TCPConn)), nil
		}
	}
	return nil, dialError(err)
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

// dialError gives err, from a dial, a code and a reason without addresses.
func dialError(err error) error {
	if _, ok := errors.AsType[*wtproto.Error](err); ok {
		return fmt.Errorf("discovery: %w", err)
	}
	reason := "cannot connect"
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		reason = "name not resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		reason = "no route"
	case errors.As(err, &timeout) && timeout.Timeout():
		reason = "no answer in time"
	}
	return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: reason, Err: err}
}

// NewTCPStream returns conn as a [Stream], which then owns it. A Reset is a TCP RST, which carries no code.
func NewTCPStream(conn *net.TCPConn) Stream { return &tcpStream{conn: conn} }

func (s *tcpStream) Read(b []byte) (int, error) {
	n, err := s.conn.Read(b)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, tcpError(err)
	case s.sawEOF.Load():
		return n, err
	case s.wasReset.Load() || !s.sentEOF.Load() && !isConnected(s.conn):
		// The kernel tells of a reset once. A Write may have been told, and what is left for Read looks like an end.
		return n, tcpError(syscall.ECONNRESET)
	default:
		s.sawEOF.Store(true)
		return n, err
	}
}

func (s *tcpStream) Write(b []byte) (int, error) {
	n, err := s.conn.Write(b)
	if err == nil || s.sentEOF.Load() { // a Write after CloseWrite fails like one after a reset
		return n, err
	}
	err = tcpError(err)
	if errors.Is(err, errReset) {
		s.wasReset.Store(true)
	}
	return n, err
}

func (s *tcpStream) CloseWrite() error {
	if s.sentEOF.Swap(true) {
		return nil
	}
	return tcpError(s.conn.CloseWrite())
}

func (s *tcpStream) Reset(wtproto.Code) {
	s.end.Do(func() {
		_ = s.conn.SetLinger(0) // Close then sends RST; it fails where the connection is gone
		_ = s.conn.Close()
	})
}

func (s *tcpStream) Close() error {
	if !s.sawEOF.Load() || !s.sentEOF.Load() {
		s.Reset(wtproto.CodeNone)
		return nil
	}
	var err error
	s.end.Do(func() { err = s.conn.Close() })
	return err
}

func (s *tcpStream) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// errReset is what tcpError returns, by Is, where the peer reset.
var errReset = &wtproto.Error{Code: wtproto.CodePeerReset, Remote: true}

// tcpError gives err, from a connection that was open, the code that [Stream] promises. What the caller did itself and
// deadlines stay as they are.
func tcpError(err error) error {
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.ENOTCONN):
		return &wtproto.Error{Code: wtproto.CodePeerReset, Remote: true, Err: err}
	default:
		return &wtproto.Error{Code: wtproto.CodePeerGone, Err: err}
	}
}
