package gateway

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// source is where connections come from: 127.0.0.n.
type source struct {
	*quic.Transport
	g *Gateway
}

// from returns 127.0.0.n.
func (g *Gateway) from(t testing.TB, n byte) source {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, n)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: conn}
	t.Cleanup(func() {
		tr.Close()
		conn.Close()
	})
	return source{tr, g}
}

// dial makes a connection with a protocol.
func (s source) dial(ctx context.Context, protocol string) (*quic.Conn, error) {
	addr, err := net.ResolveUDPAddr("udp", strings.TrimPrefix(s.g.URL, "https://"))
	if err != nil {
		return nil, err
	}
	return s.Transport.Dial(ctx, addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}},
		&quic.Config{
			EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
			HandshakeIdleTimeout: Patience, MaxIdleTimeout: Patience, KeepAlivePeriod: 10 * time.Second,
		})
}

// raw is dial that must succeed, without a HELLO.
func (s source) raw(t testing.TB) rawWire {
	t.Helper()
	conn, err := s.dial(Context(t), wtproto.ALPN)
	if err != nil {
		t.Fatal(err)
	}
	return rawWire{t, conn}
}

// visits waits until the gateway counts n connections without a session: the next one comes after
// them.
func (g *Gateway) visits(t testing.TB, n int) {
	t.Helper()
	Eventually(t, "the connections that were made are counted", func() bool { return g.Stats().Visits == n })
}

// session is raw that says HELLO. The error is how the gateway ended it.
func (s source) session(t testing.TB) (rawWire, error) {
	t.Helper()
	w := s.raw(t)
	str := w.open()
	m := wtproto.Hello{Version: 1, Credit: 64 << 10}
	rand.Read(m.Secret[:])
	if _, err := str.Write(m.Append(nil)); err != nil {
		return w, err
	}
	typ, _, err := wtproto.NewReader(str).Next()
	if err == nil && typ != wtproto.TypeWelcome {
		t.Fatalf("the first frame is %v", typ)
	}
	return w, err
}

// wantCode checks how a connection ended.
func wantCode(t testing.TB, what string, err error, want wtproto.Code) {
	t.Helper()
	e, ok := errors.AsType[*quic.ApplicationError](err)
	if !ok || wtproto.Code(e.ErrorCode) != want || e.ErrorMessage == "" {
		t.Errorf("%s: %v, want %v and a reason", what, err, want)
	}
}

// requests opens n HTTP/3 connections that ask for the info document and stay.
func (s source) requests(t testing.TB, n int) []*quic.Conn {
	t.Helper()
	var all []*quic.Conn
	for range n {
		conn, err := s.dial(Context(t), http3.NextProtoH3)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http3.Transport{}
		r, _ := http.NewRequestWithContext(Context(t), http.MethodGet, s.g.URL+wtproto.InfoPath, nil)
		if _, err := tr.NewClientConn(conn).RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	return all
}

// refusals counts what an Observer is told.
type refusals struct {
	mu sync.Mutex
	n  map[server.LimitName]int // guarded by mu
}

func (r *refusals) observer() *server.Observer {
	return &server.Observer{Refused: func(l server.LimitName, _ wtproto.Code) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.n == nil {
			r.n = make(map[server.LimitName]int)
		}
		r.n[l]++
	}}
}

func (r *refusals) of(l server.LimitName) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[l]
}

// Connections over the limit of their address once counted in the limit of the gateway, and one of
// HTTP/3 without a session lives for 30 s: 20 of them kept everybody else out for 31 s.
func TestRequestsTakeNoSessions(t *testing.T) {
	seen := &refusals{}
	g := Start(t, server.Config{MaxSessions: 20, MaxSessionsPerPrincipal: 8, Observer: seen.observer()})
	flood := g.from(t, 2)
	conns := flood.requests(t, 40)
	for i := range 18 {
		if _, err := g.from(t, byte(10+i)).session(t); err != nil {
			t.Fatalf("session %d of another address: %v", i, err)
		}
	}
	if _, err := flood.session(t); err != nil {
		t.Errorf("a session of the address with all those requests: %v", err)
	}
	Eventually(t, "32 of 40 connections are closed", func() bool {
		closed := 0
		for _, c := range conns {
			if c.Context().Err() != nil {
				closed++
			}
		}
		return closed >= 32
	})
	if n := seen.of(server.LimitVisitsAddress); n < 32 {
		t.Errorf("%d refusals were told, want 32", n)
	}
}

// A connection that says nothing makes room for a newcomer, and is told why.
func TestVisitorsMakeRoom(t *testing.T) {
	seen := &refusals{}
	g := Start(t, server.Config{MaxSessions: 20, MaxSessionsPerPrincipal: 2, HelloTimeout: Patience, Observer: seen.observer()})
	s := g.from(t, 2)
	first := s.raw(t)
	g.visits(t, 1)
	second := s.raw(t)
	third := s.raw(t)
	if code, reason := first.closed(t); code != wtproto.CodeRateLimited || reason == "" {
		t.Errorf("the first of three was closed with %v %q, want RATE_LIMITED and a reason", code, reason)
	}
	for _, w := range []rawWire{second, third} {
		str := w.open()
		str.Write(hello())
		if typ, _, err := wtproto.NewReader(str).Next(); typ != wtproto.TypeWelcome {
			t.Errorf("the second and third: %v, want WELCOME", err)
		}
	}
	if n := seen.of(server.LimitVisitsAddress); n != 1 {
		t.Errorf("%d refusals were told, want 1", n)
	}
}

// Who is refused a session has to wait to be told, in a session, for seconds. That once took a
// place each.
func TestRefusalsTakeNoSessions(t *testing.T) {
	g := Start(t, server.Config{MaxSessions: 10, MaxSessionsPerPrincipal: 4})
	flood := g.from(t, 2)
	for range 4 {
		if _, err := flood.session(t); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		w := g.webTransportDial(t, 100, "") // all of 127.0.0.1
		w.open().Write(hello())
	}
	for i := range 4 {
		if _, err := g.from(t, byte(10+i)).session(t); i < 2 && err != nil {
			t.Errorf("session %d of another address: %v", i, err)
		}
	}
	_, err := flood.session(t)
	wantCode(t, "the fifth session of an address", err, wtproto.CodeRateLimited)
}

// A tenth of the places is kept for addresses that have none.
func TestLastTenthIsForNewAddresses(t *testing.T) {
	g := Start(t, server.Config{MaxSessions: 20, MaxSessionsPerPrincipal: -1})
	flood := g.from(t, 2)
	for i := range 18 {
		if _, err := flood.session(t); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	_, err := flood.session(t)
	wantCode(t, "one of the last tenth, for who has some", err, wtproto.CodeBusy)
	for i := range byte(2) {
		if _, err := g.from(t, 3+i).session(t); err != nil {
			t.Errorf("one of the last tenth, for who has none: %v", err)
		}
	}
	_, err = g.from(t, 5).session(t)
	wantCode(t, "one too many", err, wtproto.CodeBusy)
}

// quic-go refuses connections when 32 wait to be accepted. A burst, as after a restart, once lost
// some of itself to that: 258 of 2,000.
func TestBurstOfConnections(t *testing.T) {
	g := Start(t, server.Config{MaxSessionsPerPrincipal: -1, HandshakesPerAddress: -1})
	const n, sources = 1000, 16
	var all []source
	for range sources {
		all = append(all, g.from(t, 1))
	}
	var refused atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			conn, err := all[i%sources].dial(Context(t), wtproto.ALPN)
			if err == nil {
				conn.CloseWithError(0, "")
			} else if e, ok := errors.AsType[*quic.TransportError](err); ok && e.ErrorCode == quic.ConnectionRefused {
				refused.Add(1) // others took too long, on a busy machine
			}
		})
	}
	wg.Wait()
	if r := refused.Load(); r > 0 {
		t.Errorf("%d of %d connections were refused", r, n)
	}
}

// One address that makes connection after connection once turned on Retry for all; now it is
// refused itself.
func TestHandshakesOfAnAddress(t *testing.T) {
	seen := &refusals{}
	g := Start(t, server.Config{HandshakesPerAddress: 1, MaxSessionsPerPrincipal: -1, Observer: seen.observer()})
	flood := g.from(t, 2)
	refused := 0
	for range 60 {
		conn, err := flood.dial(Context(t), wtproto.ALPN)
		if err != nil {
			e, ok := errors.AsType[*quic.TransportError](err)
			if !ok || e.ErrorCode != quic.ConnectionRefused {
				t.Fatalf("a connection too many: %v, want CONNECTION_REFUSED", err)
			}
			refused++
			continue
		}
		conn.CloseWithError(0, "")
	}
	if n := seen.of(server.LimitHandshakes); refused == 0 || n < refused {
		t.Errorf("%d were refused and %d told, want some, and no less", refused, n)
	}
	c := g.Dial(t, client.Config{}) // of 127.0.0.1
	Join(t, c, wtproto.TopicFromName("handshakes"), client.JoinOptions{})
}

// All addresses together may have so many connections without a session; then the oldest goes.
func TestVisitsHaveALimit(t *testing.T) {
	seen := &refusals{}
	g := Start(t, server.Config{
		MaxSessions: 20, MaxSessionsPerPrincipal: -1, HandshakesPerAddress: 10_000, HelloTimeout: Patience, Observer: seen.observer(),
	})
	const places = 256
	s := g.from(t, 2)
	first := s.raw(t)
	g.visits(t, 1)
	for range places {
		s.raw(t)
	}
	if code, reason := first.closed(t); code != wtproto.CodeBusy || reason == "" {
		t.Errorf("the first of %d was closed with %v %q, want BUSY and a reason", places+1, code, reason)
	}
	if n := seen.of(server.LimitVisits); n != 1 {
		t.Errorf("%d refusals were told, want 1", n)
	}
}

// A client may have as many streams open as PROTOCOL says: one a circuit, and 32 more.
func TestStreamsOfAClient(t *testing.T) {
	g := Start(t, server.Config{})
	w, err := g.from(t, 2).session(t)
	if err != nil {
		t.Fatal(err)
	}
	n := 1 // the control stream
	for ; n < 1000; n++ {
		if _, err := w.conn.OpenStream(); err != nil {
			if _, ok := errors.AsType[*quic.StreamLimitReachedError](err); !ok {
				t.Fatal(err)
			}
			break
		}
	}
	if n != 288 {
		t.Errorf("%d streams, want 288", n)
	}
}

// FIN on the control stream is the end of a session, for which the gateway says NONE.
func TestControlStreamEnds(t *testing.T) {
	g := Start(t, server.Config{})
	for name, dial := range wireDials(g) {
		w := dial(t)
		s := w.open()
		s.Write(hello())
		next(t, wtproto.NewReader(s), wtproto.TypeWelcome)
		s.Close()
		if code, _ := w.closed(t); code != wtproto.CodeNone {
			t.Errorf("%s: the session ended with %v, want NONE", name, code)
		}
	}
}
