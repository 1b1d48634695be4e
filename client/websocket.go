package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxDials = 32                     // WebSockets that are opened at once
	signTime = 3 * time.Second        // for the gateway to answer after the loss of a stream
	askEvery = 150 * time.Millisecond // at most; a gateway takes ten such questions a second
)

// wsLink is a link over WebSockets: one for the control stream, and one for each other stream,
// which this side opens (docs/PROTOCOL.md, WebSocket).
type wsLink struct {
	// constant
	dialer  *wsDialer
	key     string // of the session
	limit   int64  // of held
	control *wsStream
	ctx     context.Context // ends with the link
	cancel  context.CancelFunc
	places  chan struct{} // holds one for each stream that has a WebSocket
	dials   chan struct{} // holds one for each that is being opened

	taken atomic.Bool    // the control stream is the caller's
	held  atomic.Int64   // bytes that came and were not read
	wg    sync.WaitGroup // of all streams; nobody is added once the link has ended

	mu      sync.Mutex
	streams map[*wsStream]struct{} // guarded by mu; that have a place, but control
	failed  error                  // guarded by mu; why the link has ended
	next    *inquiry               // guarded by mu; that nobody has begun to answer

	asking sync.Mutex // held while the gateway is asked
	asked  time.Time  // guarded by asking; when it was last
}

// dialWSLink returns a link with g, whose certificate is trusted as trust says.
func dialWSLink(ctx context.Context, cfg *Config, g *gateway, trust *tls.Config) (link, error) {
	d := newWSDialer(g.websocket, trust, cfg.dialTCP)
	key := make([]byte, 16)
	rand.Read(key)
	l := &wsLink{
		dialer:  d,
		key:     hex.EncodeToString(key),
		limit:   cfg.Budget * 3 / 2, // as over QUIC: credit is what limits the gateway
		places:  make(chan struct{}, maxStreams),
		dials:   make(chan struct{}, maxDials),
		streams: make(map[*wsStream]struct{}),
	}
	l.control = newWSControl(l, wtproto.SignalSession+" "+l.key)
	ws, err := d.dial(ctx, l.control.pinged)
	if err != nil {
		return nil, err
	}
	l.control.ws = ws
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(func() { l.fail(linkError(l.control.serve(ws))) })
	return l, nil
}

func (l *wsLink) nobodyListens() <-chan struct{} { return nil } // the end of the connection says it

func (l *wsLink) tooNarrow() <-chan struct{} { return nil } // TCP adapts

func (l *wsLink) transport() string { return TransportWebSocket }

func (l *wsLink) open(ctx context.Context) (stream, error) {
	select {
	case l.places <- struct{}{}:
		return l.start()
	case <-l.ctx.Done():
		return nil, l.err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *wsLink) tryOpen() (stream, error) {
	if !l.taken.Swap(true) {
		return l.control, l.err()
	}
	select {
	case l.places <- struct{}{}:
		return l.start()
	default:
		return nil, errNoStream
	}
}

// start returns a new stream, which has a place.
func (l *wsLink) start() (stream, error) {
	s := newWSStream(l, wtproto.SignalStream+" "+l.key)
	ctx, cancel := context.WithCancel(l.ctx)
	s.giveUp = cancel
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		cancel()
		return nil, l.failed
	}
	l.streams[s] = struct{}{}
	l.wg.Go(func() {
		s.run(ctx)
		cancel()
		l.mu.Lock()
		delete(l.streams, s)
		l.mu.Unlock()
		<-l.places
	})
	return s, nil
}

// accept returns why there is no such stream: gateways open none.
func (l *wsLink) accept(ctx context.Context) (stream, error) {
	select {
	case <-l.ctx.Done():
		return nil, l.err()
	case <-ctx.Done():
		return nil, sessionError(context.Cause(ctx))
	}
}

func (l *wsLink) close(code wtproto.Code, reason string) {
	l.fail(&wtproto.Error{Code: code, Reason: reason})
	l.control.ws.end(code, reason)
	l.wg.Wait()
}

func (l *wsLink) rtt() time.Duration { return l.dialer.rtt() }

// migrate does nothing: TCP connections have one path.
func (l *wsLink) migrate(context.Context) bool { return false }

func (l *wsLink) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fail ends the link and all its streams, except that the control stream's WebSocket is left open.
// The first error counts.
func (l *wsLink) fail(err error) {
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return
	}
	l.failed = err
	streams := slices.Collect(maps.Keys(l.streams))
	l.mu.Unlock()
	l.cancel()
	l.control.fail(err)
	for _, s := range streams {
		s.fail(err)
		s.kill()
	}
}

// lives asks the gateway whether there still is a session, after a stream was lost: it ends a
// session before its streams. All who ask at the same time have one answer.
func (l *wsLink) lives() bool {
	l.mu.Lock()
	q := l.next
	if q == nil {
		q = &inquiry{answered: make(chan struct{})}
		l.next = q
	}
	l.mu.Unlock()
	q.once.Do(func() { l.inquire(q) })
	<-q.answered
	return q.lives
}

// inquiry is a question whether there still is a session.
type inquiry struct {
	once     sync.Once
	answered chan struct{} // closed by inquire
	lives    bool          // before answered is closed
}

// inquire asks the gateway, in turn with others and not too often.
func (l *wsLink) inquire(q *inquiry) {
	defer close(q.answered)
	l.asking.Lock()
	defer l.asking.Unlock()
	pause := time.NewTimer(time.Until(l.asked.Add(askEvery)))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-l.ctx.Done():
	}
	l.asked = time.Now()
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	if l.err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), signTime) // an end of l.ctx in Ping would close the WebSocket
	defer cancel()
	err := l.control.ws.Ping(ctx)
	q.lives = l.err() == nil && (err == nil || ctx.Err() != nil)
}

// streamCode returns the code with which a stream ended whose WebSocket ended with err.
func streamCode(err error) wtproto.Code {
	if fault, ok := errors.AsType[*wtproto.Error](err); ok {
		return fault.Code
	}
	if e, ok := errors.AsType[websocket.CloseError](err); ok && e.Code >= statusCode {
		return wtproto.Code(e.Code - statusCode)
	}
	return wtproto.CodePeerGone
}

// linkError returns err, with which the WebSocket of a session ended, as an error of the link.
func linkError(err error) error {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[websocket.CloseError](err); ok && e.Code >= statusCode {
		return &wtproto.Error{Code: wtproto.Code(e.Code - statusCode), Remote: true, Reason: e.Reason}
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		err = cause // without the steps of the library
	}
	return wtproto.Errorf(wtproto.CodePeerGone, "the connection was lost: %v", err)
}
