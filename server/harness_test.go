package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The tests of sessions and topics run in bubbles of testing/synctest, in which time passes only
// while all goroutines wait, so durations are exact. Clients are at the far ends of fakeLinks,
// peers on fakeNetworks.

// bubble is a Server in a bubble. It accepts nothing by itself: clients come by dial and connect.
type bubble struct {
	*Server
	t       *testing.T
	lan     *fakeNetwork // its only network, unless the Config has others
	log     *logRecord
	heap    *fakeHeap
	wg      sync.WaitGroup // of sessions and of memory.run
	clients uint16         // that have come, for their secrets
}

// inBubble runs test with a bubble, and ends it.
func inBubble(t *testing.T, cfg Config, test func(t *testing.T, g *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBubble(t, cfg)) })
}

// newBubble is called in a bubble of synctest, and ends with it.
func newBubble(t *testing.T, cfg Config) *bubble {
	t.Helper()
	g := &bubble{t: t, lan: newFakeNetwork(t, "lan"), log: &logRecord{}}
	cfg.TLS = &tls.Config{}
	if cfg.Networks == nil {
		cfg.Networks = []discovery.Network{g.lan}
	}
	if cfg.Memory == 0 {
		cfg.Memory = 1 << 40
	}
	if cfg.MaxSessionsPerPrincipal == 0 {
		cfg.MaxSessionsPerPrincipal = -1 // all of them come from one address, unless the test says otherwise
	}
	if cfg.NewCircuits == 0 {
		cfg.NewCircuits = -1
	}
	if cfg.Silence == 0 {
		cfg.Silence = cmp.Or(cfg.Idle, time.Minute) // fakeClients do not answer PING by themselves
	}
	cfg.Logger = slog.New(g.log)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.Server = s
	g.heap = &fakeHeap{}
	s.router.memory.gauge = g.heap
	g.wg.Go(func() { s.router.memory.run(s.ctx) })
	t.Cleanup(g.stop)
	return g
}

// stop does what Serve does at its end.
func (g *bubble) stop() {
	g.Close()
	g.sockets.wait()
	g.wg.Wait()
	g.router.close()
}

// pass lets d of the bubble's time pass, and everything happen that is due.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// receive returns what comes from ch.
func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Hour):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// message is any frame.
type message interface{ Append(b []byte) []byte }

// fakeClient is a client of a gateway.
type fakeClient struct {
	t        *testing.T
	link     *fakeLink
	secret   wtproto.Secret
	session  *session
	control  *fakeStream // set by hello
	frames   *wtproto.Reader
	returned chan *wtproto.Error // what the session's run returned
	seen     wtproto.Status      // by lastStatus
}

// dial connects a client that has said nothing yet.
func (g *bubble) dial() *fakeClient { return g.dialOver(newFakeLink()) }

// dialFrom is dial with an Origin header.
func (g *bubble) dialFrom(origin string) *fakeClient {
	l := newFakeLink()
	l.fromOrigin = origin
	return g.dialOver(l)
}

// dialOver is dial over a link that nobody has used.
func (g *bubble) dialOver(l *fakeLink) *fakeClient {
	g.clients++
	c := &fakeClient{t: g.t, link: l, secret: wtproto.Secret{byte(g.clients), byte(g.clients >> 8)}, returned: make(chan *wtproto.Error, 1)}
	c.session = newSession(g.Server, c.link, func() {})
	g.wg.Go(func() { c.returned <- c.session.run() })
	return c
}

// connect returns a client that has been welcomed.
func (g *bubble) connect() *fakeClient {
	g.t.Helper()
	c := g.dial()
	c.hello()
	expect[wtproto.Welcome](c)
	return c
}

// hello opens the control stream with HELLO.
func (c *fakeClient) hello() {
	c.t.Helper()
	c.control = c.link.dial()
	c.frames = wtproto.NewReader(c.control)
	c.send(wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: c.secret, Agent: "test"})
}

func (c *fakeClient) endpoint() wtproto.EndpointID { return c.secret.Endpoint() }

// send sends frames on the control stream.
func (c *fakeClient) send(frames ...message) {
	c.t.Helper()
	for _, f := range frames {
		if _, err := c.control.Write(f.Append(nil)); err != nil {
			c.t.Fatalf("sending %T: %v", f, err)
		}
	}
}

// next returns the next frame on the control stream.
func (c *fakeClient) next() message {
	c.t.Helper()
	c.control.SetReadDeadline(time.Now().Add(time.Hour))
	typ, payload, err := c.frames.Next()
	if err != nil {
		c.t.Fatalf("reading a control frame: %v, the session ended with %v", err, c.link.closedWith)
	}
	return parseMessage(c.t, typ, payload)
}

// parseMessage reads a frame that a gateway may send.
func parseMessage(t *testing.T, typ wtproto.Type, payload []byte) (m message) {
	t.Helper()
	payload = append([]byte(nil), payload...)
	var err error
	switch typ {
	case wtproto.TypeWelcome:
		m, err = wtproto.ParseWelcome(payload)
	case wtproto.TypeJoined:
		m, err = wtproto.ParseJoined(payload)
	case wtproto.TypeLeft:
		m, err = wtproto.ParseLeft(payload)
	case wtproto.TypeStatus:
		m, err = wtproto.ParseStatus(payload)
	case wtproto.TypePeer:
		m, err = wtproto.ParsePeer(payload)
	case wtproto.TypeRefused:
		m, err = wtproto.ParseRefused(payload)
	case wtproto.TypeWithdraw:
		m, err = wtproto.ParseWithdraw(payload)
	case wtproto.TypeGoaway:
		m, err = wtproto.ParseGoaway(payload)
	case wtproto.TypePing:
		m, err = wtproto.ParsePing(payload)
	case wtproto.TypePong:
		m, err = wtproto.ParsePong(payload)
	default:
		t.Fatalf("a gateway sent %v", typ)
	}
	if err != nil {
		t.Fatalf("a gateway sent %v: %v", typ, err)
	}
	return m
}

// chatter reports whether m comes by itself now and then.
func chatter(m message) bool {
	switch m.(type) {
	case wtproto.Status, wtproto.Ping:
		return true
	}
	return false
}

// expect returns the next control frame, which must be an M. It skips STATUS and PING before it.
func expect[M message](c *fakeClient) M {
	c.t.Helper()
	for {
		m := c.next()
		if want, ok := m.(M); ok {
			return want
		}
		if !chatter(m) {
			var want M
			c.t.Fatalf("got %T %+v, want %T", m, m, want)
		}
	}
}

// pending returns the control frames that wait to be read, without STATUS and PING.
func (c *fakeClient) pending() (frames []message) {
	c.t.Helper()
	return slices.DeleteFunc(c.allPending(), chatter)
}

// allPending returns all control frames that wait to be read.
func (c *fakeClient) allPending() (frames []message) {
	c.t.Helper()
	for synctest.Wait(); c.control.unread() > 0; synctest.Wait() {
		frames = append(frames, c.next())
	}
	return frames
}

// quiet fails the test if a control frame other than STATUS and PING waits to be read.
func (c *fakeClient) quiet() {
	c.t.Helper()
	if frames := c.pending(); len(frames) > 0 {
		c.t.Fatalf("got %T %+v, want nothing", frames[0], frames[0])
	}
}

const announceAndLookUp = wtproto.JoinAnnounce | wtproto.JoinLookUp

var wowcool = wtproto.TopicFromName("wowcool")

// join joins wowcool and waits until the gateway has done what follows at once.
func (c *fakeClient) join(flags wtproto.JoinFlags, maxPeers uint64) {
	c.t.Helper()
	c.send(wtproto.Join{Topic: wowcool, Flags: flags, MaxPeers: maxPeers})
	if j := expect[wtproto.Joined](c); j.Topic != wowcool {
		c.t.Fatalf("joined %v", j.Topic)
	}
	synctest.Wait()
}

// leave leaves wowcool.
func (c *fakeClient) leave() {
	c.t.Helper()
	c.send(wtproto.Leave{Topic: wowcool})
	if l := expect[wtproto.Left](c); l.Topic != wowcool || l.Code != wtproto.CodeNone {
		c.t.Fatalf("left with %+v", l)
	}
	synctest.Wait()
}

// status returns the newest STATUS there is, two seconds from now.
func (c *fakeClient) status() (last wtproto.Status) {
	c.t.Helper()
	pass(2 * statusEvery)
	for c.control.unread() > 0 {
		if s, ok := c.next().(wtproto.Status); ok {
			last = s
		}
	}
	return last
}

// ends waits for the end of the session and checks what the client was told.
func (c *fakeClient) ends(code wtproto.Code) {
	c.t.Helper()
	select {
	case <-c.link.ended:
	case <-time.After(time.Hour):
		c.t.Fatalf("the session goes on, want its end with %v", code)
	}
	end := c.link.closedWith
	if end == nil || end.Code != code || end.Reason == "" {
		c.t.Fatalf("the session ended with %v, want %v and a reason", end, code)
	}
	if err := receive(c.t, c.returned, "return of run"); err.Code != code {
		c.t.Fatalf("run = %v, want %v", err, code)
	}
}

// lives checks that the session answers.
func (c *fakeClient) lives() {
	c.t.Helper()
	ping := wtproto.Ping{Data: [8]byte{'l', 'i', 'v', 'e', 's'}}
	c.send(ping)
	if pong := expect[wtproto.Pong](c); pong.Data != ping.Data {
		c.t.Fatalf("PING %x was answered with PONG %x", ping.Data, pong.Data)
	}
}

// awake gives signs of life of clients, which do not answer PING by themselves.
func awake(clients ...*fakeClient) {
	for _, c := range clients {
		c.send(wtproto.Pong{})
	}
	synctest.Wait()
}

// fakeCircuit is a client's side of a circuit, with what the client was told.
type fakeCircuit struct {
	wtproto.Peer
	*fakeStream
}

// circuit returns the next circuit that the gateway opens.
func (c *fakeClient) circuit() fakeCircuit {
	c.t.Helper()
	s := receive(c.t, c.link.toClient, "circuit")
	s.SetReadDeadline(time.Now().Add(time.Hour))
	defer s.SetReadDeadline(time.Time{})
	typ, payload, err := wtproto.NewReader(s).Next()
	if err != nil {
		c.t.Fatalf("reading the first frame of a circuit: %v", err)
	}
	p, ok := parseMessage(c.t, typ, payload).(wtproto.Peer)
	if !ok {
		c.t.Fatalf("a circuit begins with %v", typ)
	}
	return fakeCircuit{p, s}
}

// pair returns both sides of a circuit between two new clients.
func (g *bubble) pair() (x, y fakeCircuit) {
	g.t.Helper()
	a, b := g.connect(), g.connect()
	a.join(announceAndLookUp, 0)
	b.join(announceAndLookUp, 0)
	return a.circuit(), b.circuit()
}

// accept takes an offer.
func (c *fakeClient) accept(offer wtproto.Peer) fakeCircuit {
	c.t.Helper()
	s := c.link.dial()
	if _, err := s.Write(wtproto.Accept{Circuit: offer.Circuit}.Append(nil)); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
	return fakeCircuit{offer, s}
}

// streams returns how many streams the gateway has opened that the client has not taken yet.
func (c *fakeClient) streams() int {
	synctest.Wait()
	return len(c.link.toClient)
}

// talk checks that bytes pass both ways between two sides of a circuit.
func talk(t *testing.T, a, b io.ReadWriter) {
	t.Helper()
	for i, way := range [][2]io.ReadWriter{{a, b}, {b, a}} {
		text := []string{"there", "and back"}[i]
		if _, err := io.WriteString(way[0], text); err != nil {
			t.Fatalf("writing %q: %v", text, err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != text {
			t.Fatalf("%q in, %q out, %v", text, got, err)
		}
	}
}

// wantReset checks that the other side has reset s both ways with code.
func wantReset(t *testing.T, s *fakeStream, code wtproto.Code) {
	t.Helper()
	synctest.Wait()
	s.SetReadDeadline(time.Now())
	_, err := io.Copy(io.Discard, s)
	_, werr := s.Write([]byte("x"))
	for what, err := range map[string]error{"Read": err, "Write": werr} {
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != code || !e.Remote {
			t.Errorf("%s = %v, want a reset with %v", what, err, code)
		}
	}
}

// logRecord is a log handler that remembers what it got.
type logRecord struct {
	mu    sync.Mutex
	lines []slog.Record
}

func (l *logRecord) Enabled(context.Context, slog.Level) bool { return true }
func (l *logRecord) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logRecord) WithGroup(string) slog.Handler            { return l }

func (l *logRecord) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r)
	return nil
}

// count returns how many lines had this message at level Info or above.
func (l *logRecord) count(msg string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.lines {
		if r.Message == msg && r.Level >= slog.LevelInfo {
			n++
		}
	}
	return n
}
