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
// The kernel reports a reset or a loss once, to the first system call that comes. Every later read
// looks like a regular end. So each system call records the kernel's answer before the next one
// may draw a conclusion: Read returns what the kernel reported, and never guesses.
type tcpStream struct {
	conn     *net.TCPConn
	remote   netip.AddrPort
	calls    calls
	watch    watch       // owned by what OnLost starts
	ended    func()      // called once conn is closed
	useful   func()      // called when the peer has sent bytes; may be called again
	received atomic.Bool // useful was called
	end      sync.Once   // of conn
	waiter   waiter      // of idle

	sawEOF  atomic.Bool // Read has returned io.EOF
	sentEOF atomic.Bool // CloseWrite was called
}

func newTCPStream(conn *net.TCPConn) (*tcpStream, error) {
	s := &tcpStream{conn: conn, watch: newWatch(), ended: func() {}, useful: func() {}}
	return s, s.calls.init(conn)
}

// TCPStream returns a TCP connection from somebody else as a [Stream], which owns the connection
// from now on. If it fails, it closes the connection.
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
		_ = s.conn.SetLinger(0) // Close then sends RST; it fails if the connection is gone
		_ = s.conn.Close()
		idle.closed(&s.waiter)
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
		idle.closed(&s.waiter)
		s.ended()
	})
	return err
}

// Remote makes the stream a [Located].
func (s *tcpStream) Remote() netip.AddrPort { return s.remote }

func (s *tcpStream) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// faults keeps the first error by which the kernel ended a connection.
type faults struct {
	// Each system call holds it for reading until its answer is recorded. So the holder of the
	// write lock knows all answers so far.
	mu    sync.RWMutex
	first atomic.Pointer[error]
}

// note keeps err, from a system call, if it is the first one that ended the connection. The caller
// holds mu for reading. EPIPE says nothing new: the connection has ended, or the peer had sent its
// end before it reset.
func (f *faults) note(err error) {
	if err != nil && err != syscall.EPIPE {
		f.first.CompareAndSwap(nil, &err)
	}
}

// kernelError returns the error with which the kernel ended the connection. It is nil if the
// kernel has not ended it, or no system call knows yet.
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

// tcpError gives err, an error of an open connection, the code that [Stream] promises. It does not
// change timeouts and errors that the caller caused itself.
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
