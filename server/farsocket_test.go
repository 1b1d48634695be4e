package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

// socketSite is a bubble's site for WebSockets, on pipes in memory.
type socketSite struct {
	g      *bubble
	conns  chan net.Conn
	client *http.Client
	server *http.Server
	slow   atomic.Int64 // nanoseconds before a client's end of a connection takes some bytes more
}

// slowConn is a client's end of a connection.
type slowConn struct {
	net.Conn
	pause *atomic.Int64 // before each Read
}

func (c slowConn) Read(b []byte) (int, error) {
	<-time.After(time.Duration(c.pause.Load()))
	return c.Conn.Read(b[:min(4<<10, len(b))])
}

// site opens the bubble's site.
func (g *bubble) site() *socketSite {
	s := &socketSite{g: g, conns: make(chan net.Conn)}
	s.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case s.conns <- far:
			return slowConn{near, &s.slow}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
	done := make(chan struct{})
	// A site's timeouts of requests must not end WebSockets.
	s.server = &http.Server{Handler: g.WebSocketHandler(), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	listener := pipeListener{s.conns, done, new(sync.Once)}
	served := make(chan struct{})
	go func() {
		s.server.Serve(listener)
		close(served)
	}()
	g.t.Cleanup(func() {
		s.server.Close()
		<-served
		s.client.CloseIdleConnections()
	})
	return s
}

// pipeListener accepts what comes from conns.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  *sync.Once
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// farSocket is a client's end of a WebSocket, which reads all that comes.
type farSocket struct {
	t    *testing.T
	conn *websocket.Conn

	pings atomic.Int64
	mute  atomic.Bool // it answers no Ping any more

	mu      sync.Mutex
	bytes   []byte   // guarded by mu
	signals []string // guarded by mu
	err     error    // guarded by mu; of the end
}

// dial opens a WebSocket whose messages are read.
func (s *socketSite) dial() *farSocket {
	s.g.t.Helper()
	f := s.open("")
	s.g.wg.Go(f.readAll)
	return f
}

// open opens a WebSocket that nobody reads, for a page of origin if it is not empty.
func (s *socketSite) open(origin string) *farSocket {
	s.g.t.Helper()
	f := &farSocket{t: s.g.t}
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	conn, _, err := websocket.Dial(s.g.t.Context(), "ws://gateway.example"+wtproto.Path, &websocket.DialOptions{
		HTTPClient: s.client, HTTPHeader: header, Subprotocols: []string{wtproto.ALPN},
		OnPingReceived: func(context.Context, []byte) bool {
			f.pings.Add(1)
			return !f.mute.Load()
		},
	})
	if err != nil {
		s.g.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	f.conn = conn
	s.g.t.Cleanup(func() { conn.CloseNow() })
	return f
}

func (f *farSocket) readAll() {
	for {
		typ, b, err := f.conn.Read(context.Background())
		f.mu.Lock()
		switch {
		case err != nil:
			f.err = err
		case typ == websocket.MessageText:
			f.signals = append(f.signals, string(b))
		default:
			f.bytes = append(f.bytes, b...)
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// text sends a signal.
func (f *farSocket) text(s string) {
	f.t.Helper()
	if err := f.conn.Write(context.Background(), websocket.MessageText, []byte(s)); err != nil {
		f.t.Fatalf("sending %q: %v", s, err)
	}
}

// Write sends a message of bytes.
func (f *farSocket) Write(b []byte) (int, error) {
	return len(b), f.conn.Write(context.Background(), websocket.MessageBinary, b)
}

// got returns what has come: all bytes, and the signals joined by commas.
func (f *farSocket) got() (bytes, signals string) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.bytes), strings.Join(f.signals, ", ")
}

// window returns how many bytes the client may send in all.
func (f *farSocket) window() int64 {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int64(initialSocketWindow)
	for _, s := range f.signals {
		if sig, err := wtproto.ParseSignal([]byte(s)); err == nil && sig.Word == wtproto.SignalWindow {
			n = int64(sig.Number)
		}
	}
	return n
}

// frame takes the next frame of what has come.
func (f *farSocket) frame() (wtproto.Type, []byte) {
	f.t.Helper()
	typ, payload, err := wtproto.NewReader(&farReader{f}).Next()
	if err != nil {
		f.t.Fatal(err)
	}
	return typ, payload
}

// closed returns the status by which the WebSocket was closed: -1 if it has ended without one, 0
// if it is open.
func (f *farSocket) closed() (status websocket.StatusCode, reason string) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		return 0, ""
	}
	var e websocket.CloseError
	if errors.As(f.err, &e) {
		return e.Code, e.Reason
	}
	return -1, f.err.Error()
}

// socketClient is a client that speaks WebSocket by hand.
type socketClient struct {
	*farSocket // the control stream
	site       *socketSite
	key        string
	secret     wtproto.Secret
	frames     *wtproto.Reader
}

// greet opens a session.
func (s *socketSite) greet() *socketClient {
	s.g.t.Helper()
	var secret wtproto.Secret
	rand.Read(secret[:])
	return s.greetAs(secret)
}

// greetAs opens a session with a secret.
func (s *socketSite) greetAs(secret wtproto.Secret) *socketClient {
	s.g.t.Helper()
	var raw [16]byte
	rand.Read(raw[:])
	c := &socketClient{farSocket: s.dial(), site: s, key: hex.EncodeToString(raw[:]), secret: secret}
	c.frames = wtproto.NewReader(&farReader{c.farSocket})
	c.text("session " + c.key)
	c.Write(wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: c.secret}.Append(nil))
	c.welcomed()
	return c
}

func (c *socketClient) welcomed() {
	c.t.Helper()
	if typ, _ := c.next(); typ != wtproto.TypeWelcome {
		c.t.Fatalf("got %v instead of WELCOME", typ)
	}
}

// next returns the next frame of the control stream.
func (c *socketClient) next() (wtproto.Type, []byte) {
	c.t.Helper()
	typ, payload, err := c.frames.Next()
	if err != nil {
		status, reason := c.closed()
		c.t.Fatalf("reading a frame: %v; closed with %d %q", err, status, reason)
	}
	return typ, payload
}

// until returns the payload of the next frame of that type.
func (c *socketClient) until(want wtproto.Type) []byte {
	c.t.Helper()
	for {
		if typ, payload := c.next(); typ == want {
			return payload
		}
	}
}

// farReader reads the bytes of a farSocket once.
type farReader struct{ f *farSocket }

func (r *farReader) Read(p []byte) (int, error) {
	synctest.Wait()
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if len(r.f.bytes) == 0 {
		return 0, io.ErrNoProgress
	}
	n := copy(p, r.f.bytes)
	r.f.bytes = r.f.bytes[n:]
	return n, nil
}

// join joins wowcool.
func (c *socketClient) join() {
	c.t.Helper()
	c.Write(wtproto.Join{Topic: wowcool, Flags: announceAndLookUp | wtproto.JoinStreams}.Append(nil))
	c.until(wtproto.TypeJoined)
}

// stream opens one more stream, which begins with that frame.
func (c *socketClient) stream(first message) *farSocket {
	c.t.Helper()
	f := c.site.dial()
	f.text("stream " + c.key)
	f.Write(first.Append(nil))
	return f
}

// accept takes the next offer.
func (c *socketClient) accept() (*farSocket, wtproto.Peer) {
	c.t.Helper()
	p, err := wtproto.ParsePeer(c.until(wtproto.TypePeer))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.stream(wtproto.Accept{Circuit: p.Circuit}), p
}
