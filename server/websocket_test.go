package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

// patient is a gateway whose sessions do not end because their clients say nothing.
var patient = Config{Idle: time.Hour, PingAfter: 30 * time.Minute}

// met is a client over WebSocket that has a circuit with a peer.
type met struct {
	*socketClient
	f       *farSocket // the circuit
	peer    *fakePeer
	end     *fakeStream // the peer's end
	circuit wtproto.CircuitID
}

// meet returns a client that has an open circuit with a peer.
func (g *bubble) meet() *met {
	g.t.Helper()
	m := &met{socketClient: g.site().greet(), peer: g.lan.peer("1")}
	m.join()
	g.lan.see(m.peer.sighting())
	m.again()
	return m
}

// again takes the next offer of a circuit with the peer.
func (m *met) again() {
	m.t.Helper()
	var p wtproto.Peer
	m.f, p = m.accept()
	m.circuit = p.Circuit
	m.end = m.peer.circuit()
	synctest.Wait()
}

// wantClosed fails unless the WebSocket was closed with status.
func (f *farSocket) wantClosed(status websocket.StatusCode) {
	f.t.Helper()
	if got, reason := f.closed(); got != status {
		f.t.Errorf("closed with %d %q, want %d", got, reason, status)
	}
}

// wantEnd fails unless the peer's end was reset with code.
func (m *met) wantEnd(code wtproto.Code) {
	m.t.Helper()
	synctest.Wait()
	m.end.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.Copy(io.Discard, m.end)
	if err == nil { // fin had come before
		_, err = io.WriteString(m.end, "x")
	}
	if got := codeOf(err); err == nil || got != code {
		m.t.Errorf("the peer's end: %v, want %v", err, code)
	}
}

// lives fails unless the session answers.
func (c *socketClient) lives() {
	c.t.Helper()
	ping := wtproto.Ping{Data: [8]byte{1, 2, 3}}
	c.Write(ping.Append(nil))
	if got, err := wtproto.ParsePong(c.until(wtproto.TypePong)); err != nil || got != wtproto.Pong(ping) {
		c.t.Errorf("PONG %v, %v", got, err)
	}
}

// A client over WebSocket has a circuit with a peer: bytes both ways, each direction ends by
// itself, and the gateway closes the WebSocket at the end.
func TestWebSocketCircuit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		m := g.meet()
		m.f.Write([]byte("hello"))
		b := make([]byte, 5)
		if _, err := io.ReadFull(m.end, b); err != nil || string(b) != "hello" {
			t.Fatalf("the peer got %q, %v", b, err)
		}
		io.WriteString(m.end, "welcome")
		if got, signals := m.f.got(); got != "welcome" || signals != "" {
			t.Fatalf("the client got %q, signals %q", got, signals)
		}
		m.f.text("fin")
		if n, err := m.end.Read(b); err != io.EOF {
			t.Fatalf("after fin the peer got %q, %v", b[:n], err)
		}
		m.f.wantClosed(0)
		io.WriteString(m.end, ", and bye")
		m.end.CloseWrite()
		if got, signals := m.f.got(); got != "welcome, and bye" || signals != "fin" {
			t.Fatalf("the client got %q, signals %q", got, signals)
		}
		m.f.wantClosed(1000)
		m.lives()
	})
}

// Two clients over WebSocket meet each other, and one asks for a further circuit, whose bytes come
// together with CONNECT.
func TestWebSocketConnect(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		site := g.site()
		a, b := site.greet(), site.greet()
		a.join()
		b.join()
		y, _ := b.accept() // the newcomer is asked first
		x, peer := a.accept()
		x.Write([]byte("first"))
		if got, _ := y.got(); got != "first" {
			t.Errorf("got %q", got)
		}
		fx := a.stream(wtproto.Connect{Topic: wowcool, Network: peer.Network, ID: peer.ID})
		fx.Write([]byte("early"))
		fx.text("fin")
		fy, _ := b.accept()
		if got, signals := fy.got(); got != "early" || signals != "fin" {
			t.Errorf("got %q, signals %q", got, signals)
		}
		fy.text("fin")
		fx.wantClosed(1000)
		fy.wantClosed(1000)
		x.wantClosed(0)
	})
}

// What does not begin as it has to is closed with a code, and nobody else feels it.
func TestWebSocketBegins(t *testing.T) {
	key := strings.Repeat("5a", 16)
	for name, test := range map[string]struct {
		send func(f *farSocket, taken string)
		want websocket.StatusCode
	}{
		"nothing":           {func(*farSocket, string) {}, 4011},
		"bytes":             {func(f *farSocket, _ string) { f.Write([]byte("hello")) }, 4002},
		"an unknown signal": {func(f *farSocket, _ string) { f.text("hello") }, 4002},
		"another signal":    {func(f *farSocket, _ string) { f.text("fin") }, 4002},
		"a bad key":         {func(f *farSocket, _ string) { f.text("session " + key[1:]) }, 4002},
		"not UTF-8":         {func(f *farSocket, _ string) { f.text("session \xff") }, 4002},
		"a long text":       {func(f *farSocket, _ string) { f.text("session " + strings.Repeat("0", 249)) }, 4003},
		"a key in use":      {func(f *farSocket, taken string) { f.text("session " + taken) }, 4006},
		"no such session":   {func(f *farSocket, _ string) { f.text("stream " + key) }, 4013},
		"no HELLO":          {func(f *farSocket, _ string) { f.text("session " + key) }, 4011},
		"no HELLO but JOIN": {func(f *farSocket, _ string) {
			f.text("session " + key)
			f.Write(wtproto.Join{}.Append(nil))
		}, 4002},
		"a session in pings alone": {func(f *farSocket, _ string) {
			for range 3 {
				f.conn.Ping(context.Background())
			}
		}, 4011},
		"endless pings": {func(f *farSocket, _ string) {
			for f.conn.Ping(f.t.Context()) == nil {
			}
		}, 4009},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, patient, func(t *testing.T, g *bubble) {
				m := g.meet()
				f := m.site.dial()
				test.send(f, m.key)
				synctest.Wait()
				if test.want == 4011 {
					pass(5*time.Second - 1)
					f.wantClosed(0)
					if n := g.visits.Len(); n != 1 {
						t.Errorf("%d connections without a session, want 1", n)
					}
					pass(1)
				}
				f.wantClosed(test.want)
				if n := g.visits.Len(); n != 0 {
					t.Errorf("%d connections without a session are left", n)
				}
				m.lives()
				m.f.wantClosed(0)
			})
		})
	}
}

// The control stream is the session: how either side ends it, the other learns.
func TestWebSocketSessionEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(g *bubble, m *met)
		want websocket.StatusCode
	}{
		"fin":                {func(_ *bubble, m *met) { m.text("fin") }, 4000},
		"reset":              {func(_ *bubble, m *met) { m.text("reset 5") }, 4000},
		"stop":               {func(_ *bubble, m *met) { m.text("stop 5"); m.Write(wtproto.Ping{}.Append(nil)) }, 4000},
		"a malformed text":   {func(_ *bubble, m *met) { m.text("stop") }, 4002},
		"a message too long": {func(_ *bubble, m *met) { m.Write(unknownFrames(4)) }, 4003},
		"a malformed frame":  {func(_ *bubble, m *met) { m.Write(wtproto.Welcome{}.Append(nil)) }, 4002},
		"an end in a frame":  {func(_ *bubble, m *met) { m.Write([]byte{3, 35, 1}); m.text("fin") }, 4002},
		"a newer session":    {func(_ *bubble, m *met) { m.site.greetAs(m.secret) }, 4021},
		"the gateway closes": {func(g *bubble, _ *met) { g.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed")) }, 4012},
		"the client's close": {func(_ *bubble, m *met) { m.conn.Close(4000, "done") }, 4000},
		"a lost connection":  {func(_ *bubble, m *met) { m.conn.CloseNow() }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, patient, func(t *testing.T, g *bubble) {
				m := g.meet()
				test.end(g, m)
				m.wantClosed(test.want)
				m.wantEnd(wtproto.CodePeerGone)
				if status, _ := m.f.closed(); status == 0 {
					t.Error("the circuit's WebSocket is open")
				}
				if !g.sockets.has(m.key) {
					return
				}
				t.Error("the session's key is still known")
			})
		})
	}
}

// unknownFrames returns n frames that are skipped, each as long as a frame may be.
func unknownFrames(n int) (b []byte) {
	for range n {
		b = append(b, 0x3f, 0x80, 0x00, 0x40, 0x00)
		b = append(b, make([]byte, wtproto.MaxPayload)...)
	}
	return b
}

func (w *webSockets) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[key] != nil
}

// A client that does not read its WebSockets cannot keep its session, nor the gateway.
func TestWebSocketSilentFarewell(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		site := g.site()
		c := site.silentSession()
		f := site.silent()
		f.text("stream " + c.key)
		synctest.Wait()
		began := time.Now()
		g.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
		g.sockets.wait()
		if took := time.Since(began); took > endWithin-time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

// silent opens a WebSocket and reads nothing: all that the gateway writes waits.
func (s *socketSite) silent() *farSocket {
	f := s.open("")
	f.err = io.ErrNoProgress
	return f
}

// silentSession opens a session, and reads nothing after WELCOME.
func (s *socketSite) silentSession() *socketClient {
	s.g.t.Helper()
	c := &socketClient{farSocket: s.silent(), site: s, key: strings.Repeat("ab", 16), secret: wtproto.Secret{0xee}}
	c.text("session " + c.key)
	c.Write(wtproto.Hello{Version: 1, Credit: 1 << 40, Secret: c.secret}.Append(nil))
	if _, b, err := c.conn.Read(s.g.t.Context()); err != nil || b[0] != byte(wtproto.TypeWelcome) {
		s.g.t.Fatalf("got %x, %v", b, err)
	}
	return c
}

// Each WebSocket gets a Ping every 25 s, so that proxies do not cut it, and is lost if nothing
// comes for as long. A client that answers keeps it for hours.
func TestWebSocketPings(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		m := g.meet()
		pass(20 * time.Minute)
		m.lives()
		m.f.wantClosed(0)
		if n := m.f.pings.Load(); n != 20*60/25 {
			t.Errorf("%d Pings in 20 minutes", n)
		}
		m.f.mute.Store(true) // its connection is dead
		pass(50*time.Second + time.Millisecond)
		m.wantEnd(wtproto.CodePeerGone)
		m.lives()
	})
}

// A client may have as many streams as circuits, and 32 more; what it opens beyond is refused.
func TestWebSocketStreamsAtOnce(t *testing.T) {
	cfg := patient
	cfg.MaxCircuits, cfg.FirstFrameTimeout = 4, time.Minute
	inBubble(t, cfg, func(t *testing.T, g *bubble) {
		m := g.meet()
		var fs []*farSocket
		for range 4 + spareStreams - 2 {
			f := m.site.dial()
			f.text("stream " + m.key)
			fs = append(fs, f)
		}
		synctest.Wait()
		f := m.site.dial()
		f.text("stream " + m.key)
		f.wantClosed(4008)
		for _, f := range fs {
			f.wantClosed(0)
		}
		m.lives()
		fs[0].conn.CloseNow()
		synctest.Wait()
		f = m.site.dial()
		f.text("stream " + m.key)
		f.wantClosed(0)
	})
}

// A page of another origin gets a session that ends with FORBIDDEN, as over WebTransport.
func TestWebSocketOrigin(t *testing.T) {
	cfg := patient
	cfg.Origins = []string{"https://app.example"}
	inBubble(t, cfg, func(t *testing.T, g *bubble) {
		site := g.site()
		for origin, want := range map[string]websocket.StatusCode{"": 0, "https://app.example": 0, "https://evil.example": 4006} {
			f := site.open(origin)
			g.wg.Go(f.readAll)
			f.text("session " + strings.Repeat("0c", 15) + fmt.Sprintf("%02x", len(origin)))
			f.Write(wtproto.Hello{Version: 1, Credit: 4096, Secret: wtproto.Secret{1, byte(len(origin))}}.Append(nil))
			f.wantClosed(want)
		}
	})
}

// What is no WebSocket of ours is refused by a status.
func TestWebSocketRefused(t *testing.T) {
	s, err := New(Config{TLS: &tls.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Info("a").WebSocket; got != "" {
		t.Errorf("the info document has WebSocket %q without a handler", got)
	}
	h := s.WebSocketHandler()
	if got := s.Info("a").WebSocket; got != "/swarm" {
		t.Errorf("the info document has WebSocket %q", got)
	}
	ask := func(change func(http.Header)) int {
		r := httptest.NewRequest(http.MethodGet, wtproto.Path, nil)
		for k, v := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "chat, swarmgate",
		} {
			r.Header.Set(k, v)
		}
		change(r.Header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for name, test := range map[string]struct {
		change func(http.Header)
		want   int
	}{
		"no subprotocol":      {func(h http.Header) { h.Del("Sec-WebSocket-Protocol") }, 400},
		"another subprotocol": {func(h http.Header) { h.Set("Sec-WebSocket-Protocol", "chat, swarmgate2") }, 400},
		"no upgrade":          {func(h http.Header) { h.Del("Upgrade") }, 426},
		"an old version":      {func(h http.Header) { h.Set("Sec-WebSocket-Version", "8") }, 400},
		"HTTP/2":              {func(h http.Header) { h.Del("Connection") }, 426},
	} {
		if got := ask(test.change); got != test.want {
			t.Errorf("%s: status %d, want %d", name, got, test.want)
		}
	}
	s.Close()
	if got := ask(func(http.Header) {}); got != 503 {
		t.Errorf("after the end: status %d, want 503", got)
	}
}

// A gateway that shuts down says GOAWAY. An offer made before can still be accepted, a circuit goes
// on, and when it has ended, or the gateway's patience has, the session ends with SHUTDOWN.
func TestWebSocketShutdown(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		m := g.meet()
		late := g.lan.peer("2")
		g.lan.see(late.sighting())
		synctest.Wait()
		ended := make(chan error, 1)
		g.wg.Go(func() { ended <- g.Shutdown(t.Context()) })
		synctest.Wait()
		f, _ := m.accept()
		m.until(wtproto.TypeGoaway)
		f.Write([]byte("late"))
		end := late.circuit()
		b := make([]byte, 4)
		if _, err := io.ReadFull(end, b); err != nil {
			t.Errorf("the peer of the offer got %q, %v", b, err)
		}
		pass(time.Minute)
		m.wantClosed(0)
		f.text("reset 0")
		m.f.text("reset 0")
		pass(time.Second)
		m.wantClosed(4012)
		if err := receive(t, ended, "end of Shutdown"); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	})
}

// Connections that say nothing take the places of connections without a session, as with QUIC: the
// oldest of the busiest address goes, and sessions are not among them.
func TestWebSocketVisits(t *testing.T) {
	cfg := patient
	cfg.MaxSessionsPerPrincipal = 3
	inBubble(t, cfg, func(t *testing.T, g *bubble) {
		m := g.meet()
		var fs []*farSocket
		for range 5 {
			fs = append(fs, m.site.dial())
			synctest.Wait()
		}
		for i, f := range fs {
			want := websocket.StatusCode(0)
			if i < 2 {
				want = 4009
			}
			f.wantClosed(want)
		}
		m.lives()
		m.f.wantClosed(0)
		fs[2].text("stream " + m.key) // now it is a stream, and not in the way
		synctest.Wait()
		if n := g.visits.Len(); n != 2 {
			t.Errorf("%d connections without a session, want 2", n)
		}
	})
}
