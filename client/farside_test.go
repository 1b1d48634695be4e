package client

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// farLink is the gateway's end of a link. Errors are those of quic-go over each transport.
type farLink interface {
	AcceptStream(context.Context) (farStream, error)
	OpenStreamSync(context.Context) (farStream, error)
	CloseWithError(quic.ApplicationErrorCode, string) error
	Context() context.Context
	RemoteAddr() net.Addr
}

// farStream is the gateway's end of a stream.
type farStream interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Close() error
	CancelRead(quic.StreamErrorCode)
	CancelWrite(quic.StreamErrorCode)
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Context() context.Context
}

// quicFar is a farLink over QUIC.
type quicFar struct{ *quic.Conn }

func (l quicFar) AcceptStream(ctx context.Context) (farStream, error) {
	s, err := l.Conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (l quicFar) OpenStreamSync(ctx context.Context) (farStream, error) {
	s, err := l.Conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// overEach runs f with a gateway over each transport.
func overEach(t *testing.T, f func(t *testing.T, g *fake)) {
	for name, start := range map[string]func(testing.TB) *fake{
		TransportQUIC:      func(t testing.TB) *fake { return newGateway(t, nil) },
		TransportWebSocket: newWSGateway,
	} {
		t.Run(name, func(t *testing.T) { f(t, start(t)) })
	}
}

// newWSGateway returns a gateway that speaks WebSocket only.
func newWSGateway(t testing.TB) *fake {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newWSGatewayOn(t, ln)
}
