package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// maxUnsent is how much a socket holds that was written and not sent.
	maxUnsent = 32 << 10
	// socketPatience is how long a socket may send nothing while something waits.
	socketPatience = 25 * time.Second
	// resetWithin is how long a stream that was reset may take to send what is being sent.
	resetWithin = 5 * time.Second
	// idleRate is how many messages a second may come that say nothing, and idleBurst at once.
	idleRate, idleBurst = 10, 100
)

// socket is a stream over a WebSocket. The goroutine of its request reads it, a second one writes
// it. What comes waits in the inbox, which a client fills within its window; what is written waits
// in unsent. So neither goroutine waits for the stream's user, but for that of a control stream,
// which has no window.
type socket struct {
	// constant after it was accepted
	all  *webSockets
	ws   *websocket.Conn
	conn *steadyConn
	from net.Addr
	page page

	visit   *visit         // before its first message
	link    *webSocketLink // set by the first message
	control bool           // set by the first message
	idle    *rate.Limiter  // messages that say nothing

	ctx    context.Context // ends with the sending direction
	cancel context.CancelCauseFunc

	readable, writable, sendable, room wake
	wg                                 sync.WaitGroup // the writer, the session, and a ping

	mu      sync.Mutex
	in      inbox     // guarded by mu
	flow    inflow    // guarded by mu
	inEnd   error     // guarded by mu; io.EOF after fin, else what Read returns at once
	readBy  time.Time // guarded by mu
	inOver  bool      // guarded by mu; the client has ended its direction
	waiting bool      // guarded by mu; the reading goroutine waits for room

	unsent  []byte    // guarded by mu
	outEnd  error     // guarded by mu; what Write returns
	fin     bool      // guarded by mu; nothing follows unsent
	outDone bool      // guarded by mu; the client knows of the end of the sending direction
	writeBy time.Time // guarded by mu

	signals []wtproto.Signal // guarded by mu; to be sent before unsent
	window  int64            // guarded by mu; to be told, unless it is 0
	pong    []byte           // guarded by mu; the answer to a Ping; nil for none
	pingDue bool             // guarded by mu; a Ping is to be sent
	asked   time.Time        // guarded by mu; when the last Ping was sent; zero before the first
	closing *farewell        // guarded by mu; the WebSocket is to be closed
	dead    bool             // guarded by mu; the WebSocket has ended
	lost    bool             // guarded by mu; before its directions had
	pinger  *time.Timer      // guarded by mu
}

// farewell is how a WebSocket is closed.
type farewell struct {
	status websocket.StatusCode
	reason string
	within time.Duration // for the client to take note
}

// statusOf returns the status by which a WebSocket is closed for a code.
func statusOf(code wtproto.Code) websocket.StatusCode {
	if code >= 1000 {
		code = wtproto.CodeInternal
	}
	return websocket.StatusCode(4000 + code)
}

// maxCloseReason is how many bytes the reason of a close has at most.
const maxCloseReason = 123

// errEnded is the error of a direction that this side has ended.
var errEnded = errors.New("server: the direction has ended")

// Read reads what the client has sent.
func (s *socket) Read(b []byte) (int, error) {
	for {
		s.mu.Lock()
		by := s.readBy
		switch {
		case s.inEnd != nil && s.inEnd != io.EOF:
			err := s.inEnd
			s.mu.Unlock()
			return 0, err
		case isPast(by):
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case s.in.n > 0:
			n := s.in.read(b)
			if s.control {
				s.room.up()
			} else if offset, grant := s.flow.take(n, time.Now(), !s.all.server.router.memory.isFull.Load()); grant && s.inEnd == nil {
				s.window = offset
				s.sendable.up()
			}
			s.mu.Unlock()
			return n, nil
		case s.inEnd == io.EOF:
			s.mu.Unlock()
			return 0, io.EOF
		}
		s.mu.Unlock()
		s.readable.wait(by)
	}
}

// Write returns when b is on its way: sent, or one of the last maxUnsent bytes that wait.
func (s *socket) Write(b []byte) (n int, err error) {
	for {
		s.mu.Lock()
		by := s.writeBy
		switch {
		case s.outEnd != nil:
			err = s.outEnd
		case s.fin:
			err = errEnded
		case isPast(by):
			err = os.ErrDeadlineExceeded
		default:
			if s.unsent == nil {
				s.unsent = unsentPool.Get().(*[maxUnsent]byte)[:0]
			}
			k := min(len(b)-n, maxUnsent-len(s.unsent))
			s.unsent = append(s.unsent, b[n:n+k]...)
			n += k
			s.sendable.up()
		}
		s.mu.Unlock()
		if err != nil || n == len(b) {
			return n, err
		}
		s.writable.wait(by)
	}
}

var unsentPool = sync.Pool{New: func() any { return new([maxUnsent]byte) }}

// CloseWrite sends fin after what was written.
func (s *socket) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outEnd == nil && !s.fin {
		s.fin = true
		s.sendable.up()
		s.cancel(nil)
	}
	return s.outEnd
}

// secure does nothing: on a WebSocket, PEER is an answer only, and a reset is one too.
func (s *socket) secure() {}

// CancelWrite drops what was not sent, and sends reset.
func (s *socket) CancelWrite(code wtproto.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outEnd != nil || s.outDone {
		return
	}
	s.endOutLocked(errEnded)
	s.signalLocked(wtproto.Signal{Word: wtproto.SignalReset, Number: uint64(code)})
}

// CancelRead drops what has come and was not read, and sends stop.
func (s *socket) CancelRead(code wtproto.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inEnd == nil {
		s.signalLocked(wtproto.Signal{Word: wtproto.SignalStop, Number: uint64(code)})
	}
	if s.inEnd == nil || s.inEnd == io.EOF {
		s.endInLocked(errEnded)
	}
}

// SetReadDeadline is that of a net.Conn.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	s.readBy = t
	s.mu.Unlock()
	s.readable.up()
	return nil
}

// SetWriteDeadline is that of a net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	s.writeBy = t
	s.mu.Unlock()
	s.writable.up()
	return nil
}

// Context ends when the sending direction has ended.
func (s *socket) Context() context.Context { return s.ctx }

// convert returns err: what ends a direction is what its users get.
func (s *socket) convert(err error) error { return err }

// unread returns how many bytes have come that nobody has read.
func (s *socket) unread() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.in.n)
}

// isLost reports whether the WebSocket has ended before its directions had.
func (s *socket) isLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// signalLocked queues a signal. There are at most two of a stream.
func (s *socket) signalLocked(sig wtproto.Signal) {
	s.signals = append(s.signals, sig)
	s.sendable.up()
}

// endInLocked ends the receiving direction: cause is what Read returns.
func (s *socket) endInLocked(cause error) {
	s.inEnd, s.window = cause, 0
	s.in.drop()
	s.readable.up()
	s.room.up()
	s.sendable.up()
	s.hurryLocked()
}

// endOutLocked ends the sending direction: cause is what Write returns.
func (s *socket) endOutLocked(cause error) {
	s.outEnd, s.outDone, s.fin = cause, true, false
	s.freeUnsentLocked()
	s.cancel(cause)
	s.writable.up()
	s.sendable.up()
	s.hurryLocked()
}

// hurryLocked gives what is being sent little time, once both directions have ended.
func (s *socket) hurryLocked() {
	if s.inEnd != nil && s.outDone {
		s.conn.hurry(resetWithin)
	}
}

func (s *socket) freeUnsentLocked() {
	if s.unsent != nil {
		unsentPool.Put((*[maxUnsent]byte)(s.unsent[:maxUnsent]))
		s.unsent = nil
	}
}

// close closes the WebSocket, after what was written to a control stream. The first call counts.
// It does not wait for the end.
func (s *socket) close(status websocket.StatusCode, reason string, within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(status, reason, within)
}

func (s *socket) closeLocked(status websocket.StatusCode, reason string, within time.Duration) {
	if s.closing == nil {
		s.closing = &farewell{status, clip(reason, maxCloseReason), within}
		s.conn.hurry(within)
		s.sendable.up()
		s.room.up()
	}
}

// fail closes the WebSocket for a fault of the client: both directions are reset with its code.
func (s *socket) fail(e *wtproto.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(e)
}

func (s *socket) failLocked(e *wtproto.Error) {
	s.closeLocked(statusOf(e.Code), e.Reason, resetWithin)
	s.endLocked(e)
}

// endLocked ends what has not ended of both directions.
func (s *socket) endLocked(cause error) {
	if s.inEnd == nil {
		s.endInLocked(cause)
	}
	if s.outEnd == nil && !s.outDone {
		s.endOutLocked(cause)
	}
}

// end notes the end of the WebSocket, which says why.
func (s *socket) end(err error) {
	cause := endOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.lost = codeOf(cause) == wtproto.CodePeerGone && (s.inEnd == nil || s.outEnd == nil && !s.outDone)
	s.endLocked(cause)
	s.freeUnsentLocked()
	s.sendable.up()
	if s.pinger != nil && s.pinger.Stop() {
		s.wg.Done()
	}
}

// endOf returns what the end of a WebSocket is to its stream: a reset if the client has closed it
// with a code, else a loss. It does not wrap err, which may be io.EOF: to the stream's user that
// would be an end by fin.
func endOf(err error) error {
	cause := errors.New(err.Error())
	var e websocket.CloseError
	if errors.As(err, &e) && e.Code >= 4000 {
		return &wtproto.Error{Code: remoteCode(wtproto.Code(e.Code - 4000)), Remote: true, Reason: e.Reason, Err: cause}
	}
	return clientGone("", cause)
}

// remoteCode returns what a client's code is to the other end of a circuit.
func remoteCode(code wtproto.Code) wtproto.Code {
	if code == wtproto.CodeNone {
		return wtproto.CodePeerReset
	}
	return code
}

// wake wakes one goroutine that waits for something to change. Make it with newWake.
type wake struct {
	ch    chan struct{} // takes one
	timer *time.Timer   // of the one that waits
}

func newWake() wake { return wake{ch: make(chan struct{}, 1)} }

// up wakes the one that waits, or the next one that does.
func (w *wake) up() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// wait waits for up, until by unless that is zero.
func (w *wake) wait(by time.Time) {
	if by.IsZero() {
		<-w.ch
		return
	}
	if w.timer == nil {
		w.timer = time.NewTimer(time.Until(by))
	} else {
		w.timer.Reset(time.Until(by))
	}
	select {
	case <-w.ch:
		w.timer.Stop()
	case <-w.timer.C:
	}
}

func isPast(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
