package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/static"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// near is an end of a circuit.
type near interface {
	io.ReadWriter
	CloseWrite() error
	Reset(wtproto.Code)
}

// circuit is one of which a test has both ends.
type circuit struct {
	near near
	far  near
	lose func() // has the client's connection end
}

// kinds are the streams that a circuit reads of a client. Each opens one with peer.
var kinds = map[string]func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit{
	"QUIC, opened by the gateway": func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit {
		c, _ := byClient(t, s, peer, client.TransportQUIC)
		return c
	},
	"QUIC, asked for": func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit {
		c, top := byClient(t, s, peer, client.TransportQUIC)
		return openBeside(t, c, top, peer)
	},
	"WebSocket, offered": func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit {
		c, _ := byClient(t, s, peer, client.TransportWebSocket)
		return c
	},
	"WebSocket, asked for": func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit {
		c, top := byClient(t, s, peer, client.TransportWebSocket)
		return openBeside(t, c, top, peer)
	},
	"WebTransport, opened by the gateway": func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit {
		p := openPage(t, s)
		stream, _ := p.accept()
		return circuit{stream, accept(t, peer), p.lose}
	},
	"WebTransport, asked for": func(t *testing.T, s *servertest.Server, peer *servertest.Peer) circuit {
		p := openPage(t, s)
		_, who := p.accept()
		accept(t, peer)
		return circuit{p.connect(who), accept(t, peer), p.lose}
	},
}

var restless = wtproto.TopicFromName("restless")

// byClient returns the first circuit of a client of a transport.
func byClient(t *testing.T, s *servertest.Server, peer *servertest.Peer, transport string) (circuit, *client.Topic) {
	t.Helper()
	conn, top, lose := firstConn(t, s, transport)
	return circuit{conn, accept(t, peer), lose}, top
}

// firstConn returns a client's end of its first circuit, and what has its connection end.
func firstConn(t *testing.T, s *servertest.Server, transport string) (conn *client.Conn, top *client.Topic, lose func()) {
	t.Helper()
	c, err := client.Dial(t.Context(), s.URL, client.Config{Transports: []string{transport}, NoReconnect: true, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if top, err = c.Join(t.Context(), restless, client.JoinOptions{}); err != nil {
		t.Fatal(err)
	}
	if conn, err = top.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn, top, func() { c.Close() }
}

// openBeside opens a further circuit beside c.
func openBeside(t *testing.T, c circuit, top *client.Topic, peer *servertest.Peer) circuit {
	t.Helper()
	beside, err := top.Open(t.Context(), c.near.(*client.Conn).Peer())
	if err != nil {
		t.Fatal(err)
	}
	return circuit{beside, accept(t, peer), c.lose}
}

// accept returns the next circuit that a peer has.
func accept(t *testing.T, peer *servertest.Peer) *servertest.Conn {
	t.Helper()
	c, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*servertest.Conn)
}

// page is a session over WebTransport.
type page struct {
	t       *testing.T
	conn    *quic.Conn
	session *webtransport.Session
}

// pageStream is a circuit of a page.
type pageStream struct{ *webtransport.Stream }

func (s pageStream) CloseWrite() error { return s.Stream.Close() }

func (s pageStream) Reset(code wtproto.Code) {
	s.CancelWrite(webtransport.StreamErrorCode(code))
	s.CancelRead(webtransport.StreamErrorCode(code))
}

// openPage opens a session, and joins.
func openPage(t *testing.T, s *servertest.Server) *page {
	t.Helper()
	p := &page{t: t}
	tr := &webtransport.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		QUICConfig:      &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, HandshakeIdleTimeout: time.Minute},
		DialAddr: func(ctx context.Context, addr string, t *tls.Config, q *quic.Config) (conn *quic.Conn, err error) {
			p.conn, err = quic.DialAddrEarly(ctx, addr, t, q)
			return p.conn, err
		},
	}
	u, err := wtproto.ParseGatewayURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, p.session, err = tr.Dial(t.Context(), "https://"+u.Address()+wtproto.Path, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.lose()
		tr.Close()
	})
	control, err := p.session.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	hello := wtproto.Hello{Version: wtproto.Version, Credit: 1 << 40}
	rand.Read(hello.Secret[:])
	join := wtproto.Join{Topic: restless, Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp}
	if _, err := control.Write(join.Append(hello.Append(nil))); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, control)
	return p
}

// accept returns a stream that the gateway has opened.
func (p *page) accept() (near, wtproto.Peer) {
	p.t.Helper()
	s, err := p.session.AcceptStream(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return pageStream{s}, p.peer(s)
}

// connect opens a further circuit with peer.
func (p *page) connect(peer wtproto.Peer) near {
	p.t.Helper()
	s, err := p.session.OpenStream()
	if err == nil {
		_, err = s.Write(wtproto.Connect{Topic: restless, Network: peer.Network, ID: peer.ID}.Append(nil))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.peer(s)
	return pageStream{s}
}

// peer reads PEER.
func (p *page) peer(s *webtransport.Stream) wtproto.Peer {
	p.t.Helper()
	typ, payload, err := wtproto.NewReader(s).Next()
	if err != nil || typ != wtproto.TypePeer {
		p.t.Fatalf("the first frame is %v, %v, want PEER", typ, err)
	}
	peer, err := wtproto.ParsePeer(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	return peer
}

// lose ends the connection.
func (p *page) lose() { p.conn.CloseWithError(0x100, "") }

// endings are how a circuit ends. The other end learns the code, or CodePeerReset over TCP, which
// carries none.
var endings = map[string]struct {
	end  func(c circuit)
	both bool // FIN: each end for itself
	near bool // it is the peer that ends it
	code wtproto.Code
}{
	"FIN":                 {end: func(c circuit) { c.near.CloseWrite() }, both: true},
	"the client resets":   {end: func(c circuit) { c.near.Reset(wtproto.CodeApplication) }, code: wtproto.CodeApplication},
	"the peer resets":     {end: func(c circuit) { c.far.Reset(wtproto.CodeApplication) }, near: true, code: wtproto.CodeApplication},
	"the session is lost": {end: func(c circuit) { c.lose() }, code: wtproto.CodePeerGone},
}

// A circuit may come to rest at any moment, for example when bytes come, or an end. Neither is
// lost, and an end keeps its code.
func TestRestAtAnyMoment(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := servertest.NewServer(server.Config{PingAfter: time.Hour, Idle: 2 * time.Hour})
			defer s.Close()
			peer := s.Listen(restless)
			testRest(t, s, true, func(t *testing.T) circuit { return open(t, s, peer) })
		})
	}
}

// A circuit with a service is told by the kernel when it may go on.
func TestRestWithService(t *testing.T) {
	s, open := withService(t)
	testRest(t, s, false, open)
}

// withService returns a gateway with a service, and what opens a circuit with it.
func withService(t *testing.T) (s *servertest.Server, open func(*testing.T) circuit) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	service := static.Peer{Topic: restless, Address: l.Addr().String()}
	network, err := static.New(static.Config{Peers: []static.Peer{service}, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	s = servertest.NewServer(server.Config{PingAfter: time.Hour, Idle: 2 * time.Hour, Networks: []discovery.Network{network}})
	t.Cleanup(s.Close)
	return s, func(t *testing.T) circuit {
		conn, _, lose := firstConn(t, s, client.TransportQUIC)
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { far.Close() })
		return circuit{conn, tcpEnd{far.(*net.TCPConn)}, lose}
	}
}

// tcpEnd is a service's end of a circuit.
type tcpEnd struct{ *net.TCPConn }

func (e tcpEnd) Reset(wtproto.Code) {
	e.SetLinger(0)
	e.Close()
}

// testRest has circuits end in each way, while all come to rest all the time. coded says that both
// ends learn codes.
func testRest(t *testing.T, s *servertest.Server, coded bool, open func(*testing.T) circuit) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.RestAll()
			}
			for range mathrand.IntN(50) {
				runtime.Gosched()
			}
		}
	})
	for name, e := range endings {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			passThrough(t, c.near, c.far)
			passThrough(t, c.far, c.near)
			e.end(c)
			code := e.code
			if !coded && code != wtproto.CodeNone {
				code = wtproto.CodePeerReset
			}
			switch {
			case e.both:
				wantEnd(t, c.far, code)
				c.far.CloseWrite()
				wantEnd(t, c.near, code)
			case e.near:
				wantEnd(t, c.near, code)
			default:
				wantEnd(t, c.far, code)
			}
		})
	}
}

// passThrough has bytes pass from a to b: one by one, of which each waits for the one before, and
// many at once.
func passThrough(t *testing.T, a io.Writer, b io.Reader) {
	t.Helper()
	for i := range 30 {
		if _, err := a.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		var got [1]byte
		if _, err := io.ReadFull(b, got[:]); err != nil || got[0] != byte(i) {
			t.Fatalf("byte %d: got %d, %v", i, got[0], err)
		}
	}
	data := make([]byte, 30_000)
	rand.Read(data)
	written := make(chan error, 1)
	go func() {
		for part := range slices.Chunk(data, 777) {
			if _, err := a.Write(part); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("many bytes: %v", err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// wantEnd fails unless the next that r returns is the end: io.EOF for CodeNone, else a reset.
func wantEnd(t *testing.T, r io.Reader, code wtproto.Code) {
	t.Helper()
	n, err := r.Read(make([]byte, 1))
	got := wtproto.CodeNone
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		got = e.Code
	} else if e, ok := errors.AsType[*webtransport.StreamError](err); ok {
		got = wtproto.Code(e.ErrorCode)
	} else if errors.Is(err, syscall.ECONNRESET) {
		got = wtproto.CodePeerReset
	} else if err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
		return
	}
	if n > 0 || got != code {
		t.Errorf("Read = %d, %v, want the end with %v", n, err, code)
	}
}
