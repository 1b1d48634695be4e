package client

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// farSockets is the gateway's side of WebSockets, as a server of HTTP.
type farSockets struct {
	t        testing.TB
	sessions chan *farSession
	mean     atomic.Bool // grants nothing, and closes nothing that has ended

	mu   sync.Mutex
	live map[string]*farSession // guarded by mu; by key
}

// newWSGatewayOn returns a gateway that speaks WebSocket only, on ln.
func newWSGatewayOn(t testing.TB, ln net.Listener) *fake {
	t.Helper()
	g := &fake{t: t, addr: ln.Addr().String(), cert: ecCertificate(t, elliptic.P256(), nil)}
	g.listenWS(ln)
	return g
}

// listenWS serves WebSockets on ln.
func (g *fake) listenWS(ln net.Listener) {
	g.sockets = &farSockets{t: g.t, sessions: make(chan *farSession, 16), live: make(map[string]*farSession)}
	srv := &http.Server{
		Handler:  g.sockets,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_, pipes := ln.(*pipes)
		srv.Serve(tls.NewListener(ln, &tls.Config{
			Certificates:           []tls.Certificate{g.cert},
			SessionTicketsDisabled: pipes, // both sides would write, and neither read
		}))
	}()
	g.t.Cleanup(func() {
		srv.Close()
		<-served
		g.sockets.close()
	})
}

func (g *farSockets) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.live {
		s.control.ws.CloseNow()
	}
}

func (g *farSockets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != wtproto.Path {
		http.NotFound(w, r)
		return
	}
	var pings atomic.Int64
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{wtproto.ALPN},
		OnPingReceived: func(context.Context, []byte) bool {
			pings.Add(1)
			return true
		},
	})
	if err != nil {
		return
	}
	ws.SetReadLimit(-1)
	typ, first, err := ws.Read(context.Background())
	if err != nil || typ != websocket.MessageText {
		g.t.Errorf("gateway: first message: %v, %q, %v", typ, first, err)
		return
	}
	word, key, _ := strings.Cut(string(first), " ")
	s := newFarSocket(ws)
	g.mu.Lock()
	session := g.live[key]
	switch {
	case word == "session" && session == nil && len(key) == 32 && strings.Trim(key, "0123456789abcdef") == "":
		session = &farSession{control: s, pings: &pings, remote: r.RemoteAddr, streams: make(chan *farSocket, 1000)}
		g.live[key] = session
		session.streams <- s
		g.mu.Unlock()
		g.sessions <- session
	case word == "stream" && session != nil:
		g.mu.Unlock()
		s.grants, s.mean = !g.mean.Load(), g.mean.Load()
		session.streams <- s
	default:
		g.mu.Unlock()
		g.t.Errorf("gateway: first message %q", first)
		return
	}
	s.serve()
}

// farSession is a farLink over WebSockets.
type farSession struct {
	control *farSocket
	remote  string
	pings   *atomic.Int64 // that came on control
	streams chan *farSocket
}

func (l *farSession) AcceptStream(ctx context.Context) (farStream, error) {
	select {
	case s := <-l.streams:
		return s, nil
	case <-l.Context().Done():
		return nil, context.Cause(l.Context())
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *farSession) OpenStreamSync(context.Context) (farStream, error) {
	return nil, errors.New("gateways open no WebSocket")
}

func (l *farSession) CloseWithError(code quic.ApplicationErrorCode, reason string) error {
	return l.control.ws.Close(websocket.StatusCode(statusCode+code), reason)
}

func (l *farSession) Context() context.Context { return l.control.gone }
func (l *farSession) RemoteAddr() net.Addr     { return addr{"tcp", l.remote} }

// farWindow is how many bytes a client may send that nobody has read.
const farWindow = 1 << 20

// closedStream is a farSocket whose Read says how the client has closed it.
type closedStream struct{ *farSocket }

func (s closedStream) Read([]byte) (int, error) {
	<-s.gone.Done()
	if e, ok := context.Cause(s.gone).(*quic.ApplicationError); ok {
		return 0, &quic.StreamError{ErrorCode: quic.StreamErrorCode(e.ErrorCode), Remote: true}
	}
	return 0, context.Cause(s.gone)
}

// farSocket is a farStream: a WebSocket.
type farSocket struct {
	ws      *websocket.Conn
	gone    context.Context // ends with the WebSocket; the cause is how
	lose    context.CancelCauseFunc
	stopped context.Context // ends with the sending direction; the cause is how
	stop    context.CancelCauseFunc
	grants  bool // constant; as it is read
	mean    bool // constant; it is not closed after the end of both directions

	mu       sync.Mutex
	cond     sync.Cond
	in       bytes.Buffer // guarded by mu
	read     uint64       // guarded by mu; offset
	granted  uint64       // guarded by mu; offset
	end      error        // guarded by mu; after in
	signals  []string     // guarded by mu; all that came
	deadline time.Time    // guarded by mu; for Read
}

func newFarSocket(ws *websocket.Conn) *farSocket {
	s := &farSocket{ws: ws, granted: firstWindow}
	s.cond.L = &s.mu
	s.gone, s.lose = context.WithCancelCause(context.Background())
	s.stopped, s.stop = context.WithCancelCause(context.Background())
	return s
}

// serve takes what comes until the WebSocket ends.
func (s *farSocket) serve() {
	defer s.ws.CloseNow()
	for {
		typ, b, err := s.ws.Read(context.Background())
		if err != nil {
			if e, ok := errors.AsType[websocket.CloseError](err); ok && e.Code >= statusCode {
				err = &quic.ApplicationError{Remote: true, ErrorCode: quic.ApplicationErrorCode(e.Code - statusCode), ErrorMessage: e.Reason}
			}
			s.lose(err)
			s.stop(err)
			s.finish(err)
			return
		}
		if typ == websocket.MessageBinary {
			s.mu.Lock()
			s.in.Write(b)
			s.cond.Broadcast()
			s.mu.Unlock()
			continue
		}
		s.mu.Lock()
		s.signals = append(s.signals, string(b))
		s.mu.Unlock()
		word, number, _ := strings.Cut(string(b), " ")
		var code quic.StreamErrorCode
		fmt.Sscan(number, &code)
		switch word {
		case "fin":
			s.finish(io.EOF)
		case "reset":
			s.finish(&quic.StreamError{ErrorCode: code, Remote: true})
		case "stop":
			s.stop(&quic.StreamError{ErrorCode: code, Remote: true})
		}
		s.leave()
	}
}

// leave closes the WebSocket after the end of both directions.
func (s *farSocket) leave() {
	if s.ended() && s.stopped.Err() != nil && !s.mean {
		go s.ws.Close(websocket.StatusNormalClosure, "")
	}
}

func (s *farSocket) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end != nil
}

func (s *farSocket) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		s.end = err
	}
	s.cond.Broadcast()
}

func (s *farSocket) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.in.Len() > 0:
			n, _ := s.in.Read(p)
			s.read += uint64(n)
			if s.grants && s.granted-s.read < farWindow/2 {
				s.granted = s.read + farWindow
				s.signal("window %d", s.granted)
			}
			return n, nil
		case s.end != nil:
			return 0, s.end
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		s.cond.Wait()
	}
}

func (s *farSocket) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if s.stopped.Err() != nil {
			return n, context.Cause(s.stopped)
		}
		k := min(len(p), wtproto.MaxBinary)
		if err := s.ws.Write(context.Background(), websocket.MessageBinary, p[:k]); err != nil {
			return n, err
		}
		n, p = n+k, p[k:]
	}
	return n, nil
}

// signal sends a text message.
func (s *farSocket) signal(format string, args ...any) {
	s.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

func (s *farSocket) Close() error {
	s.signal("fin")
	s.stop(quic.ErrStreamClosed)
	s.leave()
	return nil
}

func (s *farSocket) CancelWrite(code quic.StreamErrorCode) {
	if s.stopped.Err() == nil {
		s.signal("reset %d", code)
		s.stop(net.ErrClosed)
		s.leave()
	}
}

func (s *farSocket) CancelRead(code quic.StreamErrorCode) {
	if !s.ended() {
		s.signal("stop %d", code)
		s.finish(net.ErrClosed)
		s.leave()
	}
}

func (s *farSocket) Context() context.Context { return s.stopped }

func (s *farSocket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

func (s *farSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	time.AfterFunc(time.Until(t), s.cond.Broadcast)
	return nil
}

func (s *farSocket) SetWriteDeadline(time.Time) error { return nil }
