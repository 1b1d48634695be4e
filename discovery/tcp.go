package discovery

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// tcpStream is a raw TCP connection as a [Stream]. A Reset is a TCP RST, which carries no code.
//
// The kernel tells of a reset or a loss once, to whichever system call comes first, and every
// later read looks like a regular end. So each system call notes what it was told before the next
// one may draw a conclusion: what Read returns at the end is what the kernel said, and is guessed
// from nothing.
type tcpStream struct {
	conn     *net.TCPConn
	remote   netip.AddrPort
	calls    calls
	watch    watch       // copied by OnLost
	ended    func()      // called once conn is closed
	useful   func()      // called when the peer has sent something; may be called again
	received atomic.Bool // it was
	end      sync.Once   // of conn

	sawEOF  atomic.Bool // Read has returned io.EOF
	sentEOF atomic.Bool // CloseWrite was called
}

func newTCPStream(conn *net.TCPConn) (*tcpStream, error) {
	s := &tcpStream{conn: conn, watch: newWatch(), ended: func() {}, useful: func() {}}
	return s, s.calls.init(conn)
}

// TCPStream returns a TCP connection that somebody has opened to this program as a [Stream], which
// owns it from now on. If there is an error the connection is closed.
func TCPStream(conn *net.TCPConn) (Stream, error) {
	s, err := newTCPStream(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *tcpStream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := s.calls.read(b)
	if n > 0 && !s.received.Load() && !s.received.Swap(true) {
		s.useful()
	}
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, tcpError(err)
	case s.sawEOF.Load():
		return n, err
	}
	if fault := s.calls.kernelError(); fault != nil {
		return n, tcpError(fault)
	}
	s.sawEOF.Store(true)
	return n, err
}

func (s *tcpStream) Write(b []byte) (int, error) {
	n, err := s.calls.write(b)
	if err == nil || s.sentEOF.Load() { // a Write after CloseWrite fails like one after a reset
		return n, err
	}
	return n, tcpError(s.calls.cause(err))
}

func (s *tcpStream) CloseWrite() error {
	if s.sentEOF.Swap(true) {
		return nil
	}
	if err := s.conn.CloseWrite(); err != nil {
		return tcpError(s.calls.cause(err))
	}
	return nil
}

func (s *tcpStream) Reset(wtproto.Code) {
	s.end.Do(func() {
		_ = s.conn.SetLinger(0) // Close then sends RST; it fails where the connection is gone
		_ = s.conn.Close()
		s.ended()
	})
}

func (s *tcpStream) Close() error {
	if !s.sawEOF.Load() || !s.sentEOF.Load() {
		s.Reset(wtproto.CodeNone)
		return nil
	}
	var err error
	s.end.Do(func() {
		err = s.conn.Close()
		s.ended()
	})
	return err
}

// Remote makes the stream a [Located].
func (s *tcpStream) Remote() netip.AddrPort { return s.remote }

func (s *tcpStream) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// faults keeps the first error by which the kernel ended a connection.
type faults struct {
	// Read-locked during each system call until what it said is noted. Whoever locks it knows all
	// that was said so far.
	mu    sync.RWMutex
	first atomic.Pointer[error]
}

// note keeps err, from a system call, if it is the first one that ended the connection. The caller
// holds mu for reading. EPIPE only repeats what was known before: the connection has ended, or the
// peer had sent its end before it reset.
func (f *faults) note(err error) {
	if err != nil && err != syscall.EPIPE {
		f.first.CompareAndSwap(nil, &err)
	}
}

// kernelError returns the error by which the kernel ended the connection, nil if it has not or
// nobody was told yet.
func (f *faults) kernelError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.first.Load(); err != nil {
		return *err
	}
	return nil
}

// cause returns why a call failed with err, which may only say that the connection has ended.
func (c *calls) cause(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN) {
		c.ask()
		if fault := c.kernelError(); fault != nil {
			return fault
		}
	}
	return err
}

// tcpError gives err, from a connection that was open, the code that [Stream] promises. What the
// caller did itself and deadlines stay as they are.
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
