package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// link is a connection with a gateway: QUIC (quic.go) or WebSockets (websocket.go). Any number of
// goroutines may use it. Errors of a link are errors of the session, as sessionError makes them.
type link interface {
	// open opens a stream, and waits until the gateway allows one more, the link has ended or ctx
	// does; then the error is ctx's cause.
	open(ctx context.Context) (stream, error)
	// tryOpen opens a stream without waiting. If the gateway allows no more now, the error is
	// errNoStream.
	tryOpen() (stream, error)
	// accept returns the next stream that the gateway opened.
	accept(ctx context.Context) (stream, error)
	// close ends the link, tells the gateway why, and gives back the socket. The first call counts.
	close(code wtproto.Code, reason string)
	// nobodyListens has a value if the gateway is silent and its machine says that its port is
	// closed. That may be a lie of somebody else.
	nobodyListens() <-chan struct{}
	// tooNarrow has a value if the path to the gateway has become too narrow for the packets of the
	// link, so that it is time to migrate.
	tooNarrow() <-chan struct{}
	// transport is TransportQUIC or TransportWebSocket.
	transport() string
	// rtt is how long an answer takes now.
	rtt() time.Duration
	// migrate tries another way to a gateway that gets or gives no answer, until ctx ends, and reports
	// whether the link goes on there. Only one is tried at a time.
	migrate(ctx context.Context) bool
}

// errNoStream is the error of a link on which the gateway allows no further stream now.
var errNoStream = errors.New("the gateway allows no further stream now")

// stream is one stream of a link. One goroutine may read and another one write, and any number may
// call the rest.
//
// Read and Write return io.EOF after the gateway's end (Read only), an os.ErrDeadlineExceeded after
// a deadline, net.ErrClosed after this side has ended the direction, a [*resetError] after the
// gateway has reset it, and why the link ended once it has.
type stream interface {
	Read(p []byte) (int, error)
	// Write returns once all of p is on its way. Less than a packet does not wait. A short p may
	// wait behind what the stream sends; then it is sent though a deadline passes, and before the
	// end.
	Write(p []byte) (int, error)
	// CloseWrite ends the sending direction. The error is that of a Write, if it was reset before.
	CloseWrite() error
	// secure has what was written reach the gateway though the stream may be reset later.
	secure()
	// reset ends both directions with code.
	reset(code wtproto.Code)
	// stop ends the receiving direction with code.
	stop(code wtproto.Code)
	// onReset has f called, on a goroutine of its own, once the gateway has reset the sending
	// direction while this side had not ended it. A gateway resets both directions.
	onReset(f func(code wtproto.Code))
	// holds waits until there is a byte to read, or none will come, and reports whether there is.
	// A Read meanwhile waits for it.
	holds() bool
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// resetError says that the gateway reset a stream with a code.
type resetError struct{ code wtproto.Code }

func (e *resetError) Error() string { return fmt.Sprintf("reset with %v", e.code) }

// circuit returns e as the error of a circuit.
func (e *resetError) circuit() error {
	return &wtproto.Error{Code: e.code, Remote: true, Reason: "the circuit was reset"}
}
