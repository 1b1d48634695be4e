package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeWindow is how many bytes may be unread in each direction of a fakeStream.
const fakeWindow = 64 << 10

var errLocal = errors.New("fake: this side has ended it")

// half is one direction of a stream: what one side writes and the other reads.
type half struct {
	mu              sync.Mutex
	changed         *sync.Cond
	unread          []byte
	taken           int // bytes that were read
	fin             bool
	readErr         error // the reader's, once one of the two has reset or the connection is lost
	writeErr        error // the writer's, then
	readBy, writeBy time.Time
	ctx             context.Context // ends with the writer's side
	cancel          context.CancelCauseFunc
}

func newHalf() *half {
	h := &half{}
	h.changed = sync.NewCond(&h.mu)
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	return h
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readErr != nil:
			return 0, h.readErr
		case len(h.unread) > 0:
			n := copy(b, h.unread)
			h.unread = h.unread[n:]
			h.taken += n
			h.changed.Broadcast()
			return n, nil
		case h.fin:
			return 0, io.EOF
		case passed(h.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		h.changed.Wait()
	}
}

func (h *half) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n < len(b) {
		switch room := min(fakeWindow-len(h.unread), len(b)-n); {
		case h.writeErr != nil:
			return n, h.writeErr
		case h.fin:
			return n, errLocal
		case passed(h.writeBy):
			return n, os.ErrDeadlineExceeded
		case room > 0:
			h.unread = append(h.unread, b[n:n+room]...)
			n += room
			h.changed.Broadcast()
		default:
			h.changed.Wait()
		}
	}
	return n, nil
}

// set changes h and wakes who waits for it.
func (h *half) set(change func()) {
	h.mu.Lock()
	change()
	h.mu.Unlock()
	h.changed.Broadcast()
}

// end makes both sides fail, unless they have already or all has been read.
func (h *half) end(readErr, writeErr error) {
	h.set(func() {
		if h.readErr == nil && !(h.fin && len(h.unread) == 0) {
			h.readErr, h.writeErr = readErr, writeErr
			h.unread = nil
		}
	})
	h.cancel(writeErr)
}

// fakeStream is one side of a stream in memory. Its errors are those of a link and of a peer
// alike.
type fakeStream struct{ in, out *half }

// newStream returns both sides of a stream.
func newStream() (a, b *fakeStream) {
	x, y := newHalf(), newHalf()
	return &fakeStream{x, y}, &fakeStream{y, x}
}

func (s *fakeStream) Read(b []byte) (int, error)  { return s.in.read(b) }
func (s *fakeStream) Write(b []byte) (int, error) { return s.out.write(b) }

func (s *fakeStream) CloseWrite() error {
	s.out.set(func() { s.out.fin = true })
	s.out.cancel(errLocal)
	return nil
}

func (s *fakeStream) Context() context.Context { return s.out.ctx }
func (s *fakeStream) convert(err error) error  { return err }
func (s *fakeStream) secure()                  {}

func (s *fakeStream) CancelRead(code wtproto.Code) {
	s.in.end(errLocal, &wtproto.Error{Code: code, Remote: true})
}

func (s *fakeStream) CancelWrite(code wtproto.Code) {
	s.out.end(&wtproto.Error{Code: code, Remote: true}, errLocal)
}

// lose ends s as the loss of the connection with a peer does.
func (s *fakeStream) lose() { s.fail(&wtproto.Error{Code: wtproto.CodePeerGone}) }

// fail makes both sides of s fail with err.
func (s *fakeStream) fail(gone error) {
	s.in.end(gone, gone)
	s.out.end(gone, gone)
}

func (s *fakeStream) SetReadDeadline(t time.Time) error {
	s.in.set(func() { s.in.readBy = t })
	s.in.wakeAt(t)
	return nil
}

func (s *fakeStream) SetWriteDeadline(t time.Time) error {
	s.out.set(func() { s.out.writeBy = t })
	s.out.wakeAt(t)
	return nil
}

// wakeAt wakes the goroutines that wait for h at t; set has done so if t is over. Timers for now
// are best avoided in bubbles: with the race detector, two of them at the same moment break it (Go
// 1.26).
func (h *half) wakeAt(t time.Time) {
	if d := time.Until(t); d > 0 {
		time.AfterFunc(d, h.changed.Broadcast)
	}
}

// unread returns how many bytes wait to be read from s.
func (s *fakeStream) unread() int {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return len(s.in.unread)
}

// taken returns how many of the bytes written to s the other side has read.
func (s *fakeStream) taken() int {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.taken
}

// failure returns the error of a Read from s after the other side's reset or the loss of the
// connection.
func (s *fakeStream) failure() error {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.readErr
}

// stopped returns the error that the other side's STOP_SENDING, or the loss of the connection,
// makes of a Write to s.
func (s *fakeStream) stopped() error {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.writeErr
}

// fakePeerStream is a fakeStream as networks hand it out.
type fakePeerStream struct{ *fakeStream }

var _ discovery.Stream = fakePeerStream{}

func (s fakePeerStream) Reset(code wtproto.Code) { reset(s.fakeStream, code) }

func (s fakePeerStream) Close() error {
	for _, h := range []*half{s.in, s.out} {
		h.mu.Lock()
		ended := h.fin
		h.mu.Unlock()
		if !ended {
			h.end(errClosed, errClosed)
		}
	}
	return nil
}

var errClosed = &wtproto.Error{Code: wtproto.CodeNone, Remote: true, Reason: "fake: closed early"}

// fakeLink is a client's connection in memory.
type fakeLink struct {
	from       net.IP
	fromOrigin string
	loses      bool
	closeTakes time.Duration
	fromClient chan *fakeStream // opened by the client; the gateway's sides
	toClient   chan *fakeStream // opened by the gateway; the client's sides
	ended      chan struct{}    // closed when the connection ends

	mu         sync.Mutex
	credit     int            // streams that the gateway may open still; negative means any number
	streams    []*fakeStream  // all of them, one side each
	closedWith *wtproto.Error // what the gateway closed the connection with, nil if it was lost
	over       bool
}

var _ link = (*fakeLink)(nil)

func newFakeLink() *fakeLink {
	return &fakeLink{
		from:       net.IPv4(192, 0, 2, 1),
		fromClient: make(chan *fakeStream, 4096),
		toClient:   make(chan *fakeStream, 4096),
		ended:      make(chan struct{}),
		credit:     -1,
	}
}

var errLinkLost = clientGone("fake: the connection is lost", nil)

func (l *fakeLink) accept(ctx context.Context) (stream, error) {
	select {
	case s := <-l.fromClient:
		return s, nil
	case <-l.ended:
		return nil, errLinkLost
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *fakeLink) open() (stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return nil, errLinkLost
	case l.credit == 0:
		return nil, errNoCredit
	}
	l.credit--
	near, far := newStream()
	l.streams = append(l.streams, near)
	l.toClient <- far
	return near, nil
}

func (l *fakeLink) close(code wtproto.Code, reason string) {
	if l.closeTakes > 0 {
		<-time.After(l.closeTakes)
	}
	l.end(&wtproto.Error{Code: code, Remote: true, Reason: reason})
}

// end ends the connection. err is nil if it is lost.
func (l *fakeLink) end(err *wtproto.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over, l.closedWith = true, err
	close(l.ended)
	for _, s := range l.streams {
		s.fail(errLinkLost)
	}
}

func (l *fakeLink) done() <-chan struct{} { return l.ended }
func (l *fakeLink) remoteAddr() net.Addr  { return &net.UDPAddr{IP: l.from, Port: 9} }
func (l *fakeLink) transport() string     { return "fake" }
func (l *fakeLink) losesCodes() bool      { return l.loses }
func (l *fakeLink) page() page            { return page{origin: l.fromOrigin} }

// dial opens a stream as the client.
func (l *fakeLink) dial() *fakeStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	near, far := newStream()
	l.streams = append(l.streams, near)
	if l.over {
		far.fail(errLinkLost)
	} else {
		l.fromClient <- near
	}
	return far
}

// grant lets the gateway open n more streams, or any number if n is negative.
func (l *fakeLink) grant(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.credit = n
}
