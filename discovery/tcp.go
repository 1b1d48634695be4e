package discovery

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// tcpStream is a raw TCP connection as a [Stream]. A Reset is a TCP RST, which carries no code.
type tcpStream struct {
	conn  *net.TCPConn
	ended func()    // called once conn is closed
	end   sync.Once // of conn

	sawEOF   atomic.Bool // Read has returned io.EOF
	sentEOF  atomic.Bool // CloseWrite was called
	wasReset atomic.Bool // Write has found the connection reset
}

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
