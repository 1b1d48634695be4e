package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// wire is a session without the client package: what is on the wire is for the test to say.
type wire interface {
	open() io.ReadWriteCloser
	accept(context.Context) (io.ReadWriteCloser, error)
	// closed waits for the gateway to end the session, and returns the code and the reason.
	closed(testing.TB) (wtproto.Code, string)
	bye()
}

type rawWire struct {
	t    testing.TB
	conn *quic.Conn
}

func (g *Gateway) rawDial(t testing.TB) wire {
	conn, err := quic.DialAddr(Context(t), strings.TrimPrefix(g.URL, "https://"),
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{wtproto.ALPN}},
		&quic.Config{EnableStreamResetPartialDelivery: true, HandshakeIdleTimeout: Patience})
	if err != nil {
		t.Fatal(err)
	}
	w := rawWire{t, conn}
	t.Cleanup(w.bye)
	return w
}

func (w rawWire) open() io.ReadWriteCloser {
	s, err := w.conn.OpenStream()
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w rawWire) accept(ctx context.Context) (io.ReadWriteCloser, error) {
	return w.conn.AcceptStream(ctx)
}

func (w rawWire) closed(t testing.TB) (wtproto.Code, string) {
	select {
	case <-w.conn.Context().Done():
	case <-Context(t).Done():
		t.Fatal("the gateway did not end the session")
	}
	e, ok := errors.AsType[*quic.ApplicationError](context.Cause(w.conn.Context()))
	if !ok {
		t.Fatalf("the session ended with %v", context.Cause(w.conn.Context()))
	}
	return wtproto.Code(e.ErrorCode), e.ErrorMessage
}

func (w rawWire) bye() { w.conn.CloseWithError(0, "") }

type wtWire struct {
	t       testing.TB
	session *webtransport.Session
	tr      *webtransport.Transport
}

// streams is how many streams the gateway may open.
func (g *Gateway) webTransportDial(t testing.TB, streams int64, origin string) wire {
	tr := &webtransport.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		QUICConfig: &quic.Config{
			EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIncomingStreams: streams, HandshakeIdleTimeout: Patience,
		},
	}
	header := make(map[string][]string)
	if origin != "" {
		header["Origin"] = []string{origin}
	}
	_, session, err := tr.Dial(Context(t), g.URL+wtproto.Path, header)
	if err != nil {
		t.Fatal(err)
	}
	w := wtWire{t, session, tr}
	t.Cleanup(w.bye)
	return w
}

func (w wtWire) open() io.ReadWriteCloser {
	s, err := w.session.OpenStream()
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w wtWire) accept(ctx context.Context) (io.ReadWriteCloser, error) {
	return w.session.AcceptStream(ctx)
}

func (w wtWire) closed(t testing.TB) (wtproto.Code, string) {
	_, err := w.session.AcceptStream(Context(t))
	for err == nil {
		_, err = w.session.AcceptStream(Context(t))
	}
	e, ok := errors.AsType[*webtransport.SessionError](err)
	if !ok {
		t.Fatalf("the session ended with %v", err)
	}
	return wtproto.Code(e.ErrorCode), e.Message
}

func (w wtWire) bye() {
	w.session.CloseWithError(0, "")
	w.tr.Close()
}

func hello() []byte {
	return wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: wtproto.Secret(random(16))}.Append(nil)
}

// frames are what the gateway sends on the control stream of a client that is made by hand. PINGs
// are answered at once and left out: a client that answers none gets no circuits after 5 s.
type frames struct {
	come chan frame
}

type frame struct {
	typ     wtproto.Type
	payload []byte
	err     error
}

// framesOf reads control, to which others may write too, until it ends.
func framesOf(control io.ReadWriter) *frames {
	f := &frames{make(chan frame, 4096)}
	go func() {
		defer close(f.come)
		r := wtproto.NewReader(bufio.NewReader(control))
		for {
			typ, payload, err := r.Next()
			if err == nil && typ == wtproto.TypePing {
				ping, _ := wtproto.ParsePing(payload)
				control.Write(wtproto.Pong(ping).Append(nil))
				continue
			}
			f.come <- frame{typ, bytes.Clone(payload), err}
			if err != nil {
				return
			}
		}
	}()
	return f
}

// Next returns the next frame, or how the stream has ended.
func (f *frames) Next() (wtproto.Type, []byte, error) {
	x, more := <-f.come
	if !more {
		return 0, nil, io.EOF
	}
	return x.typ, x.payload, x.err
}

// next returns the next control frame of a type.
func next(t testing.TB, r interface {
	Next() (wtproto.Type, []byte, error)
}, want wtproto.Type,
) []byte {
	t.Helper()
	for {
		typ, payload, err := r.Next()
		if err != nil {
			t.Fatalf("waiting for frame 0x%x: %v", uint64(want), err)
		}
		if typ == want {
			return payload
		}
	}
}

// Bad input ends its session with the right code and a reason, over each transport, and no other
// session.
func TestBadInput(t *testing.T) {
	topic := wtproto.TopicFromName("bystander")
	g := Start(t, server.Config{
		MaxSessionsPerPrincipal: -1,
		Networks:                []discovery.Network{Static(t, topic, Listen(t, Echo).Addr().String())},
	})
	bystander := Accept(t, Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{}))
	join := func(i int) []byte {
		return wtproto.Join{Topic: wtproto.Topic{byte(i), byte(i >> 8), 1}, Flags: wtproto.JoinLookUp}.Append(nil)
	}
	// second sends b on a stream of its own.
	second := func(b []byte) func(wire, io.Writer) {
		return func(w wire, _ io.Writer) {
			s := w.open()
			s.Write(b)
		}
	}
	control := func(b []byte) func(wire, io.Writer) {
		return func(_ wire, c io.Writer) { c.Write(b) }
	}
	for _, tt := range []struct {
		name  string
		first []byte // on the control stream
		then  func(w wire, control io.Writer)
		want  wtproto.Code
	}{
		{"no common version", wtproto.Hello{Version: 0, Credit: 4096}.Append(nil), nil, wtproto.CodeVersion},
		{"credit too small", wtproto.Hello{Version: 1, Credit: 4095}.Append(nil), nil, wtproto.CodeProtocol},
		{"token too long", wtproto.Hello{Version: 1, Credit: 4096, Token: make([]byte, wtproto.MaxToken+1)}.Append(nil), nil, wtproto.CodeTooLarge},
		{"first frame is JOIN", join(0), nil, wtproto.CodeProtocol},
		{"oversized frame", []byte{0x01, 0x80, 0x00, 0x40, 0x01}, nil, wtproto.CodeTooLarge},
		{"second HELLO", hello(), control(hello()), wtproto.CodeProtocol},
		{"second HELLO on a stream", hello(), second(hello()), wtproto.CodeProtocol},
		{"ACCEPT of an id never given", hello(), second(wtproto.Accept{Circuit: 1}.Append(nil)), wtproto.CodeProtocol},
		{"JOIN with a short topic", hello(), control([]byte{0x03, 0x1f, 31: 0, 32: 0}), wtproto.CodeProtocol},
		{"oversized control frame", hello(), control([]byte{0x03, 0x80, 0x00, 0x40, 0x01}), wtproto.CodeTooLarge},
		{"truncated control frame", hello(), func(_ wire, c io.Writer) {
			c.Write([]byte{0x03, 0x23, 1, 2, 3})
			c.(io.Closer).Close()
		}, wtproto.CodeProtocol},
		{"truncated first frame", hello(), func(w wire, _ io.Writer) {
			s := w.open()
			s.Write([]byte{0x09, 0x01})
			s.Close()
		}, wtproto.CodeProtocol},
		{"WELCOME from a client", hello(), control(wtproto.Welcome{}.Append(nil)), wtproto.CodeProtocol},
		{"CREDIT for an id never given", hello(), control(wtproto.Credit{Circuit: 3, Offset: 1}.Append(nil)), wtproto.CodeProtocol},
		{"1,000 JOINs", hello(), func(_ wire, c io.Writer) {
			for i := range 1000 {
				c.Write(join(i))
			}
		}, wtproto.CodeRateLimited},
		{"PING flood with nothing read", hello(), func(_ wire, c io.Writer) {
			for range 1000 {
				c.Write(wtproto.Ping{}.Append(nil))
			}
		}, wtproto.CodeRateLimited},
	} {
		for _, transport := range []struct {
			name string
			dial func() wire
		}{
			{"quic", func() wire { return g.rawDial(t) }},
			{"webtransport", func() wire { return g.webTransportDial(t, 100, "") }},
			{"websocket", func() wire { return g.webSocketDial(t) }},
		} {
			t.Run(tt.name+"/"+transport.name, func(t *testing.T) {
				w := transport.dial()
				c := w.open()
				c.Write(tt.first)
				if tt.then != nil {
					next(t, wtproto.NewReader(bufio.NewReader(c)), wtproto.TypeWelcome)
					tt.then(w, c)
				}
				if code, reason := w.closed(t); code != tt.want || reason == "" {
					t.Errorf("ended with %v %q, want %v and a reason", code, reason, tt.want)
				}
			})
		}
	}
	bystander.Write([]byte("still here"))
	if b := make([]byte, 10); true {
		if _, err := io.ReadFull(bystander, b); err != nil || string(b) != "still here" {
			t.Errorf("the bystander read %q, %v", b, err)
		}
	}
}

// An origin that is not listed is told FORBIDDEN inside the session; none, or a listed one,
// passes.
func TestOrigin(t *testing.T) {
	g := Start(t, server.Config{Origins: []string{"https://good.example"}})
	for origin, welcome := range map[string]bool{"": true, "https://good.example": true, "https://evil.example": false} {
		w := g.webTransportDial(t, 100, origin)
		if !welcome { // the gateway does not wait for a stream
			if code, _ := w.closed(t); code != wtproto.CodeForbidden {
				t.Errorf("origin %q: ended with %v, want FORBIDDEN", origin, code)
			}
			continue
		}
		c := w.open()
		c.Write(hello())
		next(t, wtproto.NewReader(c), wtproto.TypeWelcome)
	}
}

// A client that lets the gateway open three streams gets three circuits so and the others as
// offers, over both of which bytes pass; one that declines gets no circuit.
func TestOffers(t *testing.T) {
	const peers, streams = 6, 3
	topic := wtproto.TopicFromName("offers")
	var addrs []string
	for range peers {
		addrs = append(addrs, Listen(t, Echo).Addr().String())
	}
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, addrs...)}})
	w := g.webTransportDial(t, streams, "")
	c := w.open()
	c.Write(hello())
	frames := framesOf(c)
	next(t, frames, wtproto.TypeWelcome)
	c.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp}.Append(nil))

	echo := func(s io.ReadWriteCloser) {
		data := random(32 << 10)
		go func() {
			s.Write(data)
			s.Close()
		}()
		if got, err := io.ReadAll(s); err != nil || string(got) != string(data) {
			t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(data))
		}
	}
	opened := make([]io.ReadWriteCloser, streams)
	seen := make(map[wtproto.CircuitID]bool)
	for i := range opened {
		s, err := w.accept(Context(t))
		if err != nil {
			t.Fatal(err)
		}
		typ, payload, err := wtproto.NewReader(s).Next()
		if err != nil || typ != wtproto.TypePeer {
			t.Fatalf("a gateway's stream began with 0x%x, %v", uint64(typ), err)
		}
		p, err := wtproto.ParsePeer(payload)
		if err != nil || p.Topic != topic || seen[p.Circuit] {
			t.Fatalf("PEER %+v, %v", p, err)
		}
		seen[p.Circuit] = true
		opened[i] = s
	}
	for i := range peers - streams {
		p, err := wtproto.ParsePeer(next(t, frames, wtproto.TypePeer))
		if err != nil || p.Topic != topic || seen[p.Circuit] {
			t.Fatalf("PEER %+v, %v", p, err)
		}
		seen[p.Circuit] = true
		if i == 0 {
			c.Write(wtproto.Decline{Circuit: p.Circuit, Code: wtproto.CodeDeclined}.Append(nil))
			continue
		}
		s := w.open()
		s.Write(wtproto.Accept{Circuit: p.Circuit}.Append(nil))
		echo(s)
	}
	for _, s := range opened {
		echo(s)
	}
}

// A session ends with a code of its own when the gateway shuts down, after GOAWAY, and its
// circuits go on until the drain ends.
func TestShutdown(t *testing.T) {
	topic := wtproto.TopicFromName("shutdown")
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, Listen(t, Echo).Addr().String())}})
	c := g.Dial(t, client.Config{NoReconnect: true})
	conn := Accept(t, Join(t, c, topic, client.JoinOptions{}))
	done := make(chan error, 1)
	go func() { done <- g.Shutdown(Context(t)) }()
	if m := GoingAway(t, c); m.Code != wtproto.CodeShutdown || m.RetryAfter <= 0 {
		t.Errorf("GOAWAY %+v", m)
	}
	_, err := c.Join(Context(t), wtproto.TopicFromName("other"), client.JoinOptions{})
	if code, _ := Code(err); code != wtproto.CodeShutdown {
		t.Errorf("Join after GOAWAY = %v, want SHUTDOWN", err)
	}
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("a circuit during the drain: %v", err)
	}
	conn.Close()
	if err := <-done; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	<-c.Done()
	if code, _ := Code(c.Err()); code != wtproto.CodeShutdown {
		t.Errorf("the session ended with %v, want SHUTDOWN", c.Err())
	}
}

// The same secret again replaces the older session, and a client never meets itself.
func TestReplaced(t *testing.T) {
	g := Start(t, server.Config{})
	secret := wtproto.Secret(random(16))
	old := g.Dial(t, client.Config{Secret: &secret})
	topic := wtproto.TopicFromName("ghost")
	Join(t, old, topic, client.JoinOptions{})
	fresh := g.Dial(t, client.Config{Secret: &secret})
	top := Join(t, fresh, topic, client.JoinOptions{})
	<-old.Done()
	if code, _ := Code(old.Err()); code != wtproto.CodeReplaced {
		t.Errorf("the older session ended with %v, want REPLACED", old.Err())
	}
	other := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
	if got := Accept(t, other).Peer().ID; string(got) != string(idOf(secret)) {
		t.Errorf("met %x, want the newer session", got)
	}
	Accept(t, top)
	Eventually(t, "one subscriber each", func() bool {
		all := g.Topics()
		return len(all) == 1 && all[0].Subscribers == 2 && all[0].Circuits == 1
	})
}

func idOf(s wtproto.Secret) []byte {
	id := s.Endpoint()
	return id[:]
}

// Sessions from one address are limited, and told so.
func TestSessionsPerAddress(t *testing.T) {
	g := Start(t, server.Config{MaxSessionsPerPrincipal: 2})
	for range 2 {
		g.Dial(t, client.Config{})
	}
	for _, w := range []wire{g.rawDial(t), g.webTransportDial(t, 100, "")} {
		w.open().Write(wtproto.Hello{Version: 1, Credit: 4096, Secret: wtproto.Secret(random(16))}.Append(nil))
		if code, _ := w.closed(t); code != wtproto.CodeRateLimited {
			t.Errorf("the third session ended with %v, want RATE_LIMITED", code)
		}
	}
}
