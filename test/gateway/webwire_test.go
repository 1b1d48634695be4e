package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

// webWire is a session over WebSocket.
type webWire struct {
	t    testing.TB
	url  string
	http *http.Client
	key  string

	mu      sync.Mutex
	streams []*webStream // guarded by mu; the first is the control stream
}

func (g *Gateway) webSocketDial(t testing.TB) wire {
	var key [16]byte
	rand.Read(key[:])
	trust := &tls.Config{ // each stream is a handshake: without these two it takes ten times as long with -race
		InsecureSkipVerify: true,
		CurvePreferences:   []tls.CurveID{tls.CurveP256},
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	w := &webWire{
		t: t, url: g.URL + wtproto.Path, key: hex.EncodeToString(key[:]),
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: trust}},
	}
	t.Cleanup(w.bye)
	return w
}

func (w *webWire) open() io.ReadWriteCloser {
	conn, _, err := websocket.Dial(Context(w.t), w.url, &websocket.DialOptions{HTTPClient: w.http, Subprotocols: []string{wtproto.ALPN}})
	if err != nil {
		w.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	s := &webStream{conn: conn, ended: make(chan struct{}), window: webWindow}
	s.come.L = &s.mu
	w.mu.Lock()
	defer w.mu.Unlock()
	word := "stream "
	if len(w.streams) == 0 {
		word = "session "
		s.window = math.MaxUint64 // a control stream has none
	}
	go s.readAll()
	w.streams = append(w.streams, s)
	conn.Write(context.Background(), websocket.MessageText, []byte(word+w.key))
	return s
}

func (w *webWire) accept(context.Context) (io.ReadWriteCloser, error) {
	return nil, errors.New("a gateway opens no stream over WebSocket")
}

func (w *webWire) closed(t testing.TB) (wtproto.Code, string) {
	w.mu.Lock()
	control := w.streams[0]
	w.mu.Unlock()
	select {
	case <-control.ended:
	case <-Context(t).Done():
		t.Fatal("the gateway did not end the session")
	}
	var e websocket.CloseError
	if !errors.As(control.err, &e) || e.Code < 4000 {
		t.Fatalf("the session ended with %v", control.err)
	}
	return wtproto.Code(e.Code - 4000), e.Reason
}

func (w *webWire) bye() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.streams {
		s.conn.CloseNow()
		<-s.ended
	}
	w.http.CloseIdleConnections()
}

// webStream is a stream over a WebSocket, which is read all the time.
type webStream struct {
	conn  *websocket.Conn
	ended chan struct{} // closed after err is set

	mu     sync.Mutex
	come   sync.Cond    // something has changed
	buf    bytes.Buffer // guarded by mu
	fin    bool         // guarded by mu
	reset  *webReset    // guarded by mu; the gateway has reset its direction
	window uint64       // guarded by mu; how much may be sent in all
	sent   uint64       // guarded by mu
	isCut  bool         // guarded by mu; nothing more is sent
	err    error        // guarded by mu until ended is closed
}

const (
	webWindow  = 64 << 10 // the first window
	webMessage = 64 << 10 // the largest message of bytes
)

// webReset is a reset by the gateway.
type webReset struct{ code wtproto.Code }

func (e *webReset) Error() string { return fmt.Sprintf("reset with %v", e.code) }

// cut resets both directions, and ends a Write that waits.
func (s *webStream) cut(code wtproto.Code) {
	s.mu.Lock()
	s.isCut = true
	s.come.Broadcast()
	s.mu.Unlock()
	for _, word := range []string{"reset", "stop"} {
		s.conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, "%s %d", word, code))
	}
}

func (s *webStream) readAll() {
	defer close(s.ended)
	for {
		typ, b, err := s.conn.Read(context.Background())
		s.mu.Lock()
		switch {
		case err != nil:
			s.err = err
		case typ == websocket.MessageBinary:
			s.buf.Write(b)
		case string(b) == "fin":
			s.fin = true
		default:
			var code wtproto.Code
			if _, err := fmt.Sscanf(string(b), "reset %d", &code); err == nil && s.reset == nil {
				s.reset = &webReset{code}
			}
			var offset uint64
			if _, err := fmt.Sscanf(string(b), "window %d", &offset); err == nil {
				s.window = max(s.window, offset)
			}
		}
		s.come.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *webStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.buf.Len() == 0 && !s.fin && s.reset == nil && s.err == nil {
		s.come.Wait()
	}
	switch {
	case s.reset != nil:
		return 0, s.reset
	case s.buf.Len() > 0:
		return s.buf.Read(p)
	case s.fin:
		return 0, io.EOF
	}
	return 0, s.err
}

// Write sends what the window allows, and waits for more.
func (s *webStream) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		s.mu.Lock()
		for s.sent >= s.window && !s.isCut && s.err == nil {
			s.come.Wait()
		}
		if s.isCut || s.err != nil {
			defer s.mu.Unlock()
			return done, cmp.Or(s.err, io.ErrClosedPipe)
		}
		n := int(min(s.window-s.sent, webMessage, uint64(len(p)-done)))
		s.sent += uint64(n)
		s.mu.Unlock()
		if err := s.conn.Write(context.Background(), websocket.MessageBinary, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Close sends fin.
func (s *webStream) Close() error {
	return s.conn.Write(context.Background(), websocket.MessageText, []byte("fin"))
}
