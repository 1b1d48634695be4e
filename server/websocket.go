package server

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

// WebSocketHandler answers requests for sessions over WebSocket, and for their further streams
// (docs/PROTOCOL.md, 2.4). It is meant for [wtproto.Path] of a site that speaks HTTP/1.1, whose
// connections it takes over: the site's timeouts end with that. From the first call on the info
// document says that there is WebSocket. [Server.Close] ends what the handler has begun, and it
// answers 503 from then on.
func (s *Server) WebSocketHandler() http.Handler {
	s.byWebSocket.Store(true)
	return s.sockets
}

// webSockets are the WebSockets of all clients. Each has the goroutine of its request.
type webSockets struct {
	server *Server
	wg     sync.WaitGroup // of requests

	mu     sync.Mutex
	closed bool                      // guarded by mu; wg takes no more
	links  map[string]*webSocketLink // guarded by mu; by KEY
}

func newWebSockets(s *Server) *webSockets {
	return &webSockets{server: s, links: make(map[string]*webSocketLink)}
}

// ServeHTTP serves one WebSocket until it has ended.
func (w *webSockets) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if !w.enter() {
		http.Error(rw, "the gateway is closed", http.StatusServiceUnavailable)
		return
	}
	defer w.wg.Done()
	if !offers(r, wtproto.ALPN) {
		http.Error(rw, "this is a WebSocket endpoint with the subprotocol "+wtproto.ALPN, http.StatusBadRequest)
		return
	}
	s := &socket{
		all: w, conn: &steadyConn{patience: socketPatience}, from: clientAddr(r, w.server.cfg.TrustedProxies),
		readable: newWake(), writable: newWake(), sendable: newWake(), room: newWake(),
		idle: rate.NewLimiter(idleRate, idleBurst), flow: newInflow(time.Now()),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	defer s.cancel(nil)
	var err error
	s.ws, err = websocket.Accept(&steadyWriter{rw, s.conn}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{wtproto.ALPN},
		InsecureSkipVerify: true, // of the origin: the session refuses, with a code
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			s.pinged(payload)
			return false
		},
	})
	if err != nil {
		w.server.log.Debug("no WebSocket", "error", err)
		return
	}
	s.ws.SetReadLimit(-1) // the socket has its own
	s.page = page{r.Header.Get("Origin"), r.Host}
	s.visit = &visit{cut: func(r *refusal) { s.fail(r.Error) }}
	w.server.enter(s.visit, s.from)
	defer w.server.leave(s.visit)
	stop := context.AfterFunc(w.server.ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.link == nil { // else the session ends it
			s.failLocked(asError(context.Cause(w.server.ctx)))
		}
	})
	defer stop()
	s.run()
}

// enter counts a request, unless the server is closed.
func (w *webSockets) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.server.ctx.Err() != nil {
		return false
	}
	w.wg.Add(1)
	return true
}

// wait returns when all WebSockets have ended, and no more come. The server is closed.
func (w *webSockets) wait() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wg.Wait()
}

// offers reports whether a request for a WebSocket offers a subprotocol.
func offers(r *http.Request, protocol string) bool {
	list := strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	return slices.ContainsFunc(list, func(s string) bool { return strings.TrimSpace(s) == protocol })
}

// begin acts on the first message of s.
func (w *webSockets) begin(s *socket, sig wtproto.Signal) error {
	switch sig.Word {
	case wtproto.SignalSession:
		return w.session(s, sig.Key)
	case wtproto.SignalStream:
		w.mu.Lock()
		l := w.links[sig.Key]
		w.mu.Unlock()
		if l == nil {
			return wtproto.Errorf(wtproto.CodePeerGone, "there is no such session")
		}
		if err := l.add(s); err != nil {
			return err
		}
		w.server.leave(s.visit)
		return nil
	}
	return wtproto.Errorf(wtproto.CodeProtocol, "the first message has to be session or stream")
}

// session begins a session whose control stream is s.
func (w *webSockets) session(s *socket, key string) error {
	l := &webSocketLink{
		all: w, control: s, from: s.from, fromPage: s.page, most: w.server.cfg.circuits() + spareStreams,
		streams: make(map[*socket]struct{}), wake: newWake(),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	w.mu.Lock()
	taken := w.links[key] != nil
	if !taken {
		w.links[key] = l
	}
	w.mu.Unlock()
	if taken {
		return wtproto.Errorf(wtproto.CodeForbidden, "another session has this key")
	}
	l.add(s)
	s.wg.Go(func() {
		w.server.run(s.visit, l)
		w.mu.Lock()
		delete(w.links, key)
		w.mu.Unlock()
	})
	return nil
}

// webSocketLink is a session over WebSockets: the first is its control stream, the others are the
// streams that the client has opened.
type webSocketLink struct {
	// constant after the first message
	all      *webSockets
	control  *socket
	from     net.Addr
	fromPage page
	most     int // streams at once
	ctx      context.Context
	cancel   context.CancelFunc // when the control stream's WebSocket has ended

	wake wake // there is something in queue
	wg   sync.WaitGroup

	mu      sync.Mutex
	streams map[*socket]struct{} // guarded by mu; all whose WebSockets have not ended
	queue   []*socket            // guarded by mu; those that accept has not returned
	over    bool                 // guarded by mu; the session takes no more
}

// add makes s a stream of the session.
func (l *webSocketLink) add(s *socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return wtproto.Errorf(wtproto.CodePeerGone, "the session has ended")
	case len(l.streams) >= l.most:
		return wtproto.Errorf(wtproto.CodeCircuitLimit, "%d streams of a session are the most", l.most)
	}
	s.mu.Lock()
	s.link, s.control = l, s == l.control
	s.mu.Unlock()
	l.streams[s] = struct{}{}
	l.queue = append(l.queue, s)
	l.wg.Add(1)
	l.wake.up()
	return nil
}

// leave says that the WebSocket of s has ended.
func (l *webSocketLink) leave(s *socket) {
	l.mu.Lock()
	delete(l.streams, s)
	l.mu.Unlock()
	if s == l.control {
		l.cancel()
	}
	l.wg.Done()
}

// accept returns the control stream, and then the others.
func (l *webSocketLink) accept(ctx context.Context) (stream, error) {
	for {
		l.mu.Lock()
		var s *socket
		if len(l.queue) > 0 {
			s, l.queue = l.queue[0], l.queue[1:]
		}
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-l.wake.ch:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-l.ctx.Done():
			return nil, clientGone("", context.Cause(l.ctx))
		}
	}
}

// open has no stream to give: a client opens all of them.
func (l *webSocketLink) open() (stream, error) { return nil, errNoCredit }

// streamsWithin is how long the streams of a session that has ended have to take note of it.
const streamsWithin = closeWait / 5

// close closes the control stream first, so that the client learns of the end before that of its
// streams.
func (l *webSocketLink) close(code wtproto.Code, reason string) {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.control.close(statusOf(code), reason, closeWait)
	<-l.ctx.Done()
	l.mu.Lock()
	for s := range l.streams {
		s.close(statusOf(code), reason, streamsWithin)
	}
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *webSocketLink) done() <-chan struct{} { return l.ctx.Done() }
func (l *webSocketLink) remoteAddr() net.Addr  { return l.from }
func (l *webSocketLink) transport() string     { return "websocket" }
func (l *webSocketLink) losesCodes() bool      { return false }
func (l *webSocketLink) page() page            { return l.fromPage }
