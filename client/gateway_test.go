package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	topicA = wtproto.TopicFromName("a")
	topicB = wtproto.TopicFromName("b")
)

// deadline returns a context for what is sure to happen, on a slow machine too.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// wait waits for a channel to be closed.
func wait(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-deadline(t).Done():
		t.Fatalf("%s did not happen", what)
	}
}

// poll waits until is returns true.
func poll(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx := deadline(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s did not come about", what)
		}
	}
}

// certificate returns a self-signed certificate for 127.0.0.1 and gateway.example, changed by edit.
func certificate(t testing.TB, key any, public any, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "gateway"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"gateway.example"},
	}
	if edit != nil {
		edit(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func ecCertificate(t testing.TB, curve elliptic.Curve, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key, &key.PublicKey, edit)
}

// fake is a gateway that says what the test tells it to.
type fake struct {
	t    testing.TB
	addr string
	cert tls.Certificate
	next atomic.Pointer[tls.Certificate] // instead of cert
	tr   *quic.Transport
	ln   *quic.Listener // nil if it speaks WebSocket only

	conns   chan farLink
	sockets *farSockets // nil if it speaks QUIC only
}

// newGateway listens on socket, or on loopback if that is nil.
func newGateway(t testing.TB, socket net.PacketConn) *fake {
	t.Helper()
	return newGatewayWith(t, socket, ecCertificate(t, elliptic.P256(), nil))
}

func newGatewayWith(t testing.TB, socket net.PacketConn, cert tls.Certificate) *fake {
	t.Helper()
	if socket == nil {
		var err error
		if socket, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	g := &fake{t: t, conns: make(chan farLink, 16), addr: socket.LocalAddr().String(), cert: cert, tr: &quic.Transport{Conn: socket}}
	var err error
	g.ln, err = g.tr.Listen(
		&tls.Config{
			NextProtos: []string{wtproto.ALPN},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				if next := g.next.Load(); next != nil {
					return next, nil
				}
				return &g.cert, nil
			},
		},
		&quic.Config{
			MaxIdleTimeout:                   5 * time.Minute,
			MaxIncomingStreams:               1000,
			InitialStreamReceiveWindow:       1 << 20,
			MaxStreamReceiveWindow:           1 << 20,
			InitialConnectionReceiveWindow:   1 << 30,
			MaxConnectionReceiveWindow:       1 << 30,
			EnableStreamResetPartialDelivery: true,
		})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

func (g *fake) close() {
	g.ln.Close()
	g.tr.Close()
	g.tr.Conn.Close()
}

// config is what a client needs to trust the gateway, for one session.
func (g *fake) config() Config {
	var transports []string
	if g.ln != nil {
		transports = append(transports, TransportQUIC)
	}
	if g.sockets != nil {
		transports = append(transports, TransportWebSocket)
	}
	return Config{
		CertHashes:  [][32]byte{sha256.Sum256(g.cert.Certificate[0])},
		Transports:  transports,
		NoReconnect: true,
	}
}

// live returns the session of a client.
func live(c *Client) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// goesAway reports whether the gateway of the session goes away.
func goesAway(c *Client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.going
}

// connection returns the next connection with a client.
func (g *fake) connection() farLink {
	g.t.Helper()
	ctx := deadline(g.t)
	if g.ln != nil {
		go func() {
			if conn, err := g.ln.Accept(ctx); err == nil {
				g.conns <- quicFar{conn} // for a later call, if this one has something else
			}
		}()
	}
	var sessions chan *farSession
	if g.sockets != nil {
		sessions = g.sockets.sessions
	}
	select {
	case c := <-g.conns:
		return c
	case c := <-sessions:
		return c
	case <-ctx.Done():
		g.t.Fatal("gateway: no connection")
		return nil
	}
}

// accept returns the next session, of which HELLO was read and nothing answered.
func (g *fake) accept() *remote {
	g.t.Helper()
	r := &remote{t: g.t, conn: g.connection()}
	var err error
	r.control, err = r.conn.AcceptStream(deadline(g.t))
	if err != nil {
		g.t.Fatalf("gateway: no control stream: %v", err)
	}
	r.frames = wtproto.NewReader(r.control)
	r.hello = expect(r, wtproto.TypeHello, wtproto.ParseHello)
	r.hello.Token = bytes.Clone(r.hello.Token)
	return r
}

// alone reports a session that nobody has accepted.
func (g *fake) alone() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := g.ln.Accept(ctx); err == nil {
		g.t.Error("gateway: there was another session")
	}
}

// dialed is what Dial returned.
type dialed struct {
	client *Client
	err    error
}

// dial dials the gateway meanwhile.
func (g *fake) dial(cfg Config) <-chan dialed {
	result := make(chan dialed, 1)
	go func() {
		c, err := Dial(context.Background(), g.addr, cfg)
		result <- dialed{c, err}
	}()
	return result
}

// session returns both ends of a session; edit changes the client's configuration.
func (g *fake) session(edit func(*Config)) (*Client, *remote) {
	g.t.Helper()
	cfg := g.config()
	if edit != nil {
		edit(&cfg)
	}
	result := g.dial(cfg)
	r := g.accept()
	r.send(welcome)
	d := <-result
	if d.err != nil {
		g.t.Fatal(d.err)
	}
	g.t.Cleanup(func() { d.client.Close() })
	return d.client, r
}

// session is a session with a gateway of its own on loopback.
func newSessionPair(t testing.TB, edit func(*Config)) (*Client, *remote) {
	t.Helper()
	return newGateway(t, nil).session(edit)
}

var welcome = wtproto.Welcome{Version: 1, Session: wtproto.SessionID{0xab}, MaxTopics: 64, MaxCircuits: 256, Agent: "fake"}

// remote is the gateway's end of a session.
type remote struct {
	t       testing.TB
	conn    farLink
	control farStream
	frames  *wtproto.Reader
	hello   wtproto.Hello
}

// send writes frames on the control stream.
func (r *remote) send(ms ...message) {
	r.t.Helper()
	var b []byte
	for _, m := range ms {
		b = m.Append(b)
	}
	r.write(b)
}

func (r *remote) write(b []byte) {
	r.t.Helper()
	if _, err := r.control.Write(b); err != nil {
		r.t.Errorf("gateway: control stream: %v", err)
	}
}

// next reads a frame of the control stream.
func (r *remote) next() (wtproto.Type, []byte) {
	r.t.Helper()
	r.control.SetReadDeadline(time.Now().Add(2 * time.Minute))
	typ, payload, err := r.frames.Next()
	if err != nil {
		r.t.Fatalf("gateway: control stream: %v", err)
	}
	return typ, payload
}

// expect reads a frame of a type. A PING before it is answered: on a slow machine there may be one.
func expect[M any](r *remote, want wtproto.Type, parse func([]byte) (M, error)) M {
	r.t.Helper()
	for {
		typ, payload := r.next()
		if typ == wtproto.TypePing && want != typ {
			r.send(wtproto.Pong{})
			continue
		}
		if typ != want {
			r.t.Fatalf("gateway: got %v, want %v", typ, want)
		}
		m, err := parse(payload)
		if err != nil {
			r.t.Fatal(err)
		}
		return m
	}
}

// joins answers a JOIN of topic, and returns it.
func (r *remote) joins(topic wtproto.Topic) wtproto.Join {
	r.t.Helper()
	m := expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	if m.Topic != topic {
		r.t.Fatalf("gateway: JOIN of %v, want %v", m.Topic, topic)
	}
	r.send(wtproto.Joined{Topic: topic})
	return m
}

// join joins a topic of c.
func (r *remote) join(c *Client, topic wtproto.Topic, opts JoinOptions) *Topic {
	r.t.Helper()
	type result struct {
		t   *Topic
		err error
	}
	done := make(chan result, 1)
	go func() {
		t, err := c.Join(deadline(r.t), topic, opts)
		done <- result{t, err}
	}()
	r.joins(topic)
	d := <-done
	if d.err != nil {
		r.t.Fatal(d.err)
	}
	return d.t
}

// open opens a stream that begins with first. Over WebSocket that is an offer, and first is PEER.
func (r *remote) open(first []byte) farStream {
	r.t.Helper()
	if _, ok := r.conn.(*farSession); ok {
		r.write(first)
		s, _ := r.accepted()
		return s
	}
	s, err := r.conn.OpenStreamSync(deadline(r.t))
	if err != nil {
		r.t.Fatalf("gateway: open: %v", err)
	}
	if _, err := s.Write(first); err != nil {
		r.t.Fatalf("gateway: first frame: %v", err)
	}
	return s
}

// peer is the PEER of a circuit on topicA.
func peer(id wtproto.CircuitID) wtproto.Peer {
	return wtproto.Peer{Circuit: id, Topic: topicA, Network: "dht", ID: []byte{0xc0, byte(id)}}
}

// circuit opens a circuit and returns its both ends.
func (r *remote) circuit(t *Topic, id wtproto.CircuitID) (*Conn, farStream) {
	r.t.Helper()
	s := r.open(peer(id).Append(nil))
	return accept(r.t, t), s
}

// accept returns the next circuit of a topic.
func accept(t testing.TB, topic *Topic) *Conn {
	t.Helper()
	c, err := topic.Accept(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// accepted returns the next stream that the client opened for an offer.
func (r *remote) accepted() (farStream, wtproto.CircuitID) {
	r.t.Helper()
	s, err := r.conn.AcceptStream(deadline(r.t))
	if err != nil {
		r.t.Fatalf("gateway: no stream: %v", err)
	}
	typ, payload, err := wtproto.NewReader(s).Next()
	if err != nil || typ != wtproto.TypeAccept {
		r.t.Fatalf("gateway: first frame = %v, %v, want ACCEPT", typ, err)
	}
	m, err := wtproto.ParseAccept(payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return s, m.Circuit
}

// sync waits until the client has read all that was sent on the control stream.
func (r *remote) sync() {
	r.t.Helper()
	var p wtproto.Ping
	rand.Read(p.Data[:])
	r.send(p)
	for {
		if m := expect(r, wtproto.TypePong, wtproto.ParsePong); m.Data == p.Data {
			return
		}
	}
}

// closed returns the error with which the client closed the session.
func (r *remote) closed() *quic.ApplicationError {
	r.t.Helper()
	wait(r.t, "the end of the session", r.conn.Context().Done())
	e, ok := context.Cause(r.conn.Context()).(*quic.ApplicationError)
	if !ok {
		r.t.Fatalf("gateway: session ended with %v", context.Cause(r.conn.Context()))
	}
	return e
}

// reset ends both directions of a stream.
func reset(s farStream, code wtproto.Code) {
	s.CancelRead(quic.StreamErrorCode(code))
	s.CancelWrite(quic.StreamErrorCode(code))
}

// streamEnd returns the code with which the client ended a direction of a stream, from the error of
// Read or Write.
func streamEnd(t testing.TB, err error) wtproto.Code {
	t.Helper()
	e, ok := err.(*quic.StreamError)
	if !ok || !e.Remote {
		t.Fatalf("gateway: stream ended with %v, want a reset by the client", err)
	}
	return wtproto.Code(e.ErrorCode)
}

// readReset waits until the client has reset what it sends on s, and returns the code.
func readReset(t testing.TB, s farStream) wtproto.Code {
	t.Helper()
	s.SetReadDeadline(time.Now().Add(time.Minute))
	var b [512]byte
	for {
		if _, err := s.Read(b[:]); err != nil {
			return streamEnd(t, err)
		}
	}
}

// writeStopped waits until the client has stopped what it receives on s, and returns the code.
func writeStopped(t testing.TB, s farStream) wtproto.Code {
	t.Helper()
	wait(t, "STOP_SENDING", s.Context().Done())
	return streamEnd(t, context.Cause(s.Context()))
}
