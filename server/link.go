package server

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/internal/urgency"
	"github.com/swarmgate/swarmgate/wtproto"
)

// link is one client's connection, raw QUIC or WebTransport.
type link interface {
	// accept returns the next stream that the client opened.
	accept(ctx context.Context) (stream, error)
	// open opens a stream. It never blocks: with no stream credit left, the error is errNoCredit.
	open() (stream, error)
	// close ends the connection and tells the client why. It may block for some seconds.
	close(code wtproto.Code, reason string)
	// done is closed when the connection has ended.
	done() <-chan struct{}
	remoteAddr() net.Addr
	transport() string
	// losesCodes says that the client may not learn the code of a reset from its stream.
	losesCodes() bool
	page() page
}

var errNoCredit = errors.New("server: the client's stream credit is used up")

// stream is one stream of a link. Its Read and Write return an [*wtproto.Error] with Remote if the
// client reset it (its code) or if the connection with it was lost (CodePeerGone).
type stream interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	CloseWrite() error
	// secure has what was written reach the client though the stream may be reset later, where the
	// transport can do that.
	secure()
	// CancelRead and CancelWrite end one direction each, with a code for the client.
	CancelRead(wtproto.Code)
	CancelWrite(wtproto.Code)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	// Context ends when the sending direction has ended. convert turns its cause into the error of
	// a Write.
	Context() context.Context
	convert(error) error
}

// quicLink is a raw QUIC connection.
type quicLink struct{ conn *quic.Conn }

func (l quicLink) accept(ctx context.Context) (stream, error) {
	s, err := l.conn.AcceptStream(ctx)
	if err != nil {
		return nil, lost(err)
	}
	return &quicStream{s, urgency.NewWriter(s, nil)}, nil
}

func (l quicLink) open() (stream, error) {
	s, err := l.conn.OpenStream()
	if err != nil {
		if _, ok := errors.AsType[*quic.StreamLimitReachedError](err); ok {
			return nil, errNoCredit
		}
		return nil, lost(err)
	}
	return &quicStream{s, urgency.NewWriter(s, nil)}, nil
}

func (l quicLink) close(code wtproto.Code, reason string) {
	l.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
}

func (l quicLink) done() <-chan struct{} { return l.conn.Context().Done() }
func (l quicLink) remoteAddr() net.Addr  { return l.conn.RemoteAddr() }
func (l quicLink) transport() string     { return "quic" }
func (l quicLink) losesCodes() bool      { return false }
func (l quicLink) page() page            { return page{} }

type quicStream struct {
	*quic.Stream
	writer *urgency.Writer
}

func (s *quicStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, s.convert(err)
}

func (s *quicStream) Write(b []byte) (int, error) {
	n, err := s.writer.Write(b)
	return n, s.convert(err)
}

// goFirst has what is written to s go before what all other streams of the link send.
func (s *quicStream) goFirst() { s.writer.First() }

func (s *quicStream) CloseWrite() error { return s.Stream.Close() }

func (s *quicStream) secure() { s.SetReliableBoundary() }

func (s *quicStream) CancelRead(code wtproto.Code) { s.Stream.CancelRead(quic.StreamErrorCode(code)) }

func (s *quicStream) CancelWrite(code wtproto.Code) { s.Stream.CancelWrite(quic.StreamErrorCode(code)) }

// reset ends both directions of s.
func reset(s stream, code wtproto.Code) {
	s.CancelRead(code)
	s.CancelWrite(code)
}

func (s *quicStream) convert(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		if !e.Remote {
			return err
		}
		if e.ErrorCode > 1<<32-1 {
			return remoteReset(wtproto.CodePeerReset, err)
		}
		return remoteReset(wtproto.Code(e.ErrorCode), err)
	}
	return lost(err)
}

// remoteReset is what a client's reset with code is to the other end of the circuit.
func remoteReset(code wtproto.Code, cause error) error {
	if code == wtproto.CodeNone {
		code = wtproto.CodePeerReset
	}
	return &wtproto.Error{Code: code, Remote: true, Err: cause}
}

// lost marks the end of a connection.
func lost(err error) error {
	if isConnectionError(err) {
		return clientGone("", err)
	}
	return err
}

// clientGone is the end of a client's session to the other end of a circuit.
func clientGone(reason string, cause error) error {
	return &wtproto.Error{Code: wtproto.CodePeerGone, Remote: true, Reason: reason, Err: cause}
}

func isConnectionError(err error) bool {
	_, app := errors.AsType[*quic.ApplicationError](err)
	_, transport := errors.AsType[*quic.TransportError](err)
	_, idle := errors.AsType[*quic.IdleTimeoutError](err)
	_, handshake := errors.AsType[*quic.HandshakeTimeoutError](err)
	_, reset := errors.AsType[*quic.StatelessResetError](err)
	_, version := errors.AsType[*quic.VersionNegotiationError](err)
	return app || transport || idle || handshake || reset || version
}
