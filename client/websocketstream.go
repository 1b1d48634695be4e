package client

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	controlUnread = 64 << 10         // bytes of the control stream that may wait to be read
	openTimeout   = 10 * time.Second // for the WebSocket of a stream to come about
	closeTimeout  = 5 * time.Second  // for the gateway to close the WebSocket of a stream that has ended
)

// wsStream is a stream of a wsLink. It has a WebSocket of its own. One goroutine opens and reads
// it (serve), and another one writes it (writeLoop). Until it is open, the stream takes what is
// written.
type wsStream struct {
	link   *wsLink            // constant
	first  string             // constant; the message that the WebSocket begins with
	unread int                // constant; bytes that may wait to be read, 0 for as many as the link allows
	giveUp context.CancelFunc // constant; ends the dial
	ended  chan struct{}      // closed by serve; nothing comes any more

	mu       sync.Mutex
	readable sync.Cond // of mu; for Read, and for serve if too much waits
	writable sync.Cond // of mu; for Write and writeLoop
	ws       *wsConn   // guarded by mu; nil until it is open
	failed   error     // guarded by mu; why the link has ended

	in           fifo               // guarded by mu; came, and was not read
	inEnd        error              // guarded by mu; after in: io.EOF or a *resetError
	stopped      bool               // guarded by mu; this side reads no more
	out          sending            // guarded by mu
	answer       []byte             // guarded by mu; to a Ping; nil for none
	resetBy      func(wtproto.Code) // guarded by mu; of onReset
	readTimeout  timeout            // guarded by mu
	writeTimeout timeout            // guarded by mu
}

// timeout is a deadline.
type timeout struct {
	at    time.Time // zero for never
	timer *time.Timer
}

// set sets the deadline, and has f called then.
func (d *timeout) set(at time.Time, f func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = at; !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), f)
	}
}

func (d *timeout) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newWSStream(l *wsLink, first string) *wsStream {
	s := &wsStream{link: l, first: first, giveUp: func() {}, ended: make(chan struct{}), out: sending{window: firstWindow}}
	s.readable.L, s.writable.L = &s.mu, &s.mu
	return s
}

// newWSControl returns the control stream, for which the gateway grants no window.
func newWSControl(l *wsLink, first string) *wsStream {
	s := newWSStream(l, first)
	s.unread, s.out.window = controlUnread, math.MaxUint64
	return s
}

// changedLocked wakes everybody.
func (s *wsStream) changedLocked() {
	s.readable.Broadcast()
	s.writable.Broadcast()
}

func (s *wsStream) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changedLocked()
}

func (s *wsStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.stopped:
			return 0, net.ErrClosed
		case s.in.size == 0 && s.inEnd != nil:
			return 0, s.inEnd
		case s.failed != nil:
			return 0, s.failed
		case s.readTimeout.over():
			return 0, os.ErrDeadlineExceeded
		case s.in.size > 0 || len(p) == 0:
			n := s.in.read(p)
			s.link.held.Add(-int64(n))
			if s.unread > 0 {
				s.readable.Broadcast() // for serve
			}
			return n, nil
		}
		s.readable.Wait()
	}
}

func (s *wsStream) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.in.size == 0 && s.inEnd == nil && !s.stopped && s.failed == nil && !s.readTimeout.over() {
		s.readable.Wait()
	}
	return s.in.size > 0 && s.failed == nil
}

func (s *wsStream) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.out.end != nil:
			return n, s.out.end
		case s.failed != nil:
			return n, s.failed
		case s.writeTimeout.over():
			return n, os.ErrDeadlineExceeded
		}
		k := s.out.write(p[n:])
		if n += k; k > 0 {
			s.writable.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		s.writable.Wait()
	}
}

func (s *wsStream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.out.fin:
		return nil
	case s.out.end != nil:
		return s.out.end
	}
	s.out.fin, s.out.end = true, net.ErrClosed
	s.writable.Broadcast()
	return nil
}

func (s *wsStream) secure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.secured = s.out.bytes.size
}

func (s *wsStream) reset(code wtproto.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked(code)
	s.out.cancel(code)
	if s.ws == nil && s.out.bytes.size == 0 { // there is nothing that the gateway has to know
		s.out.over = true
		s.giveUp()
	}
	s.changedLocked()
}

func (s *wsStream) stop(code wtproto.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked(code)
	s.changedLocked()
}

func (s *wsStream) stopLocked(code wtproto.Code) {
	if !s.stopped && s.inEnd == nil {
		s.out.stop = wtproto.Signal{Word: wtproto.SignalStop, Number: uint64(code)}
	}
	s.stopped = true
	s.dropLocked()
}

// dropLocked forgets what nobody will read.
func (s *wsStream) dropLocked() { s.link.held.Add(-int64(s.in.clear())) }

func (s *wsStream) onReset(f func(code wtproto.Code)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetBy = f
	if e, ok := errors.AsType[*resetError](s.out.end); ok {
		go f(e.code)
	}
}

func (s *wsStream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	s.SetWriteDeadline(t)
	return nil
}

func (s *wsStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readTimeout.set(t, s.changed)
	s.readable.Broadcast()
	return nil
}

func (s *wsStream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeTimeout.set(t, s.changed)
	s.writable.Broadcast()
	return nil
}

// doneLocked reports whether both directions have ended.
func (s *wsStream) doneLocked() bool { return (s.stopped || s.inEnd != nil) && s.out.done() }

// stoppedLocked takes that the gateway takes no more bytes.
func (s *wsStream) stoppedLocked(err *resetError) {
	if s.out.stopped(err) && s.resetBy != nil {
		go s.resetBy(err.code)
	}
}

// lost ends both directions, as far as they have not ended, because the WebSocket has.
func (s *wsStream) lost(code wtproto.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := &resetError{code}
	if s.inEnd == nil {
		s.inEnd = err
	}
	if !s.out.over {
		s.stoppedLocked(err)
	}
	s.changedLocked()
}

// fail ends the stream because the link has ended with err.
func (s *wsStream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.dropLocked()
	s.changedLocked()
}

// kill ends the WebSocket without a word.
func (s *wsStream) kill() {
	s.giveUp()
	s.mu.Lock()
	ws := s.ws
	s.mu.Unlock()
	if ws != nil {
		ws.tcp.Close()
	}
}

// run opens the WebSocket of a stream and serves it until both have ended.
func (s *wsStream) run(ctx context.Context) {
	ws, err := s.dial(ctx)
	if err != nil {
		if s.link.err() == nil {
			s.lost(wtproto.CodeBusy) // which says nothing of the peer
		}
		return
	}
	s.mu.Lock()
	s.ws = ws
	s.mu.Unlock()
	if s.link.err() != nil {
		s.kill() // which may have come before there was a WebSocket
	}
	err = s.serve(ws)
	if err == errOverrun {
		s.link.fail(err) // as over QUIC
	}
	s.mu.Lock()
	done := s.doneLocked()
	s.mu.Unlock()
	switch {
	case done:
	case s.link.lives():
		s.lost(streamCode(err))
	default: // the link ends too, but may not know it yet
		<-s.link.ctx.Done()
		s.fail(s.link.err())
	}
}

// dial opens the WebSocket, in its turn.
func (s *wsStream) dial(ctx context.Context) (*wsConn, error) {
	select {
	case s.link.dials <- struct{}{}:
		defer func() { <-s.link.dials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return s.link.dialer.dial(ctx, s.pinged)
}

// serve speaks on the WebSocket until it ends, and returns why.
func (s *wsStream) serve(ws *wsConn) error {
	var writer sync.WaitGroup
	writer.Go(func() { s.writeLoop(ws) })
	err := s.readLoop(ws)
	if fault, ok := errors.AsType[*wtproto.Error](err); ok {
		ws.end(fault.Code, fault.Reason)
	}
	close(s.ended)
	s.changed()
	ws.tcp.Close()
	writer.Wait()
	ws.CloseNow() // gives back its buffers
	return err
}

// writeLoop writes what is to be said. After the end of both directions it closes the WebSocket,
// if the gateway does not.
func (s *wsStream) writeLoop(ws *wsConn) {
	ctx := context.Background() // kill ends a Write
	if ws.Write(ctx, websocket.MessageText, []byte(s.first)) != nil {
		return
	}
	for s.pending() {
		buf := chunks.Get().(*chunk)
		s.mu.Lock()
		answer := s.answer
		s.answer = nil
		typ, message := s.out.next(buf[:])
		s.writable.Broadcast() // there may be room for Write
		s.mu.Unlock()
		if answer != nil && ws.pong(answer) != nil || typ != 0 && ws.Write(ctx, typ, message) != nil {
			return
		}
		chunks.Put(buf)
	}
	s.mu.Lock()
	done := s.doneLocked()
	s.mu.Unlock()
	if !done {
		return
	}
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		ws.Close(websocket.StatusNormalClosure, "")
	case <-s.ended:
	}
}

// pending waits until there is something to be said, and returns false if there will be nothing.
func (s *wsStream) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := func() bool { return s.out.ready() || s.answer != nil }
	for !ready() && !s.doneLocked() && s.failed == nil && !closed(s.ended) {
		s.writable.Wait()
	}
	return ready() && s.failed == nil && !closed(s.ended)
}

// pinged takes a Ping, which writeLoop answers. Of several that come meanwhile only the last one is
// answered.
func (s *wsStream) pinged(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = append([]byte{}, payload...)
	s.writable.Broadcast()
}

// readLoop takes what comes. It returns why nothing more does.
func (s *wsStream) readLoop(ws *wsConn) error {
	for {
		typ, r, err := ws.Reader(context.Background()) // which kill ends
		switch {
		case err != nil:
			return err
		case typ == websocket.MessageText:
			err = s.takeSignal(r)
		default:
			err = s.takeBytes(r)
		}
		if err != nil {
			return err
		}
	}
}

var (
	errTooLarge = wtproto.Errorf(wtproto.CodeTooLarge, "the gateway sent a message that is too large")
	errOverrun  = wtproto.Errorf(wtproto.CodeProtocol, "the gateway sent more than its credit")
)

// takeBytes takes a binary message.
func (s *wsStream) takeBytes(r io.Reader) error {
	for total := 0; ; {
		n, err := r.Read(s.space())
		if total += n; total > wtproto.MaxBinary {
			return errTooLarge
		}
		if breach := s.arrived(n); breach != nil {
			return breach
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// space returns where to put bytes that come. It waits if too many are there.
func (s *wsStream) space() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.unread > 0 && s.in.size >= s.unread && s.failed == nil && !s.stopped {
		s.readable.Wait()
	}
	return s.in.space()
}

// arrived takes n bytes that came to where space said.
func (s *wsStream) arrived(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case n == 0 || s.stopped || s.failed != nil:
		s.in.fill(0)
		return nil
	case s.inEnd != nil:
		return wtproto.Errorf(wtproto.CodeProtocol, "the gateway sent more after the end of a stream")
	}
	s.in.fill(n)
	s.readable.Broadcast()
	if s.link.held.Add(int64(n)) > s.link.limit {
		return errOverrun
	}
	return nil
}

// takeSignal acts on a text message.
func (s *wsStream) takeSignal(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, wtproto.MaxSignal+1))
	if err != nil {
		return err
	}
	if len(text) > wtproto.MaxSignal {
		return errTooLarge
	}
	m, err := wtproto.ParseSignal(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Word {
	case wtproto.SignalSession, wtproto.SignalStream:
		return wtproto.Errorf(wtproto.CodeProtocol, "the gateway sent the signal %q, which is for clients", m.Word)
	case wtproto.SignalFin:
		if s.inEnd == nil {
			s.inEnd = io.EOF
		}
	case wtproto.SignalReset:
		if s.inEnd == nil {
			s.inEnd = &resetError{wtproto.Code(m.Number)}
		}
	case wtproto.SignalStop:
		if !s.out.over {
			s.stoppedLocked(&resetError{wtproto.Code(m.Number)})
		}
	case wtproto.SignalWindow:
		s.out.window = max(s.out.window, m.Number)
	}
	s.changedLocked()
	return nil
}
