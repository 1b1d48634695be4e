package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/swarmgate/swarmgate/wtproto"
)

// wantError reports an error of who that has not the code.
func wantError(t testing.TB, who string, err error, code wtproto.Code, remote bool) {
	t.Helper()
	if want := (&wtproto.Error{Code: code, Remote: remote}); !errors.Is(err, want) || errors.Is(err, net.ErrClosed) {
		t.Errorf("%s = %v, want %v", who, err, want)
	}
}

func TestDial(t *testing.T) { overEach(t, testDial) }

func testDial(t *testing.T, g *fake) {
	secret := wtproto.Secret{1, 2, 3}
	cfg := g.config()
	cfg.Token, cfg.Agent, cfg.Secret, cfg.MaxCircuits = []byte("token"), "test", &secret, 100
	result := g.dial(cfg)
	r := g.accept()
	if h := r.hello; h.Version != wtproto.Version || h.Flags != 0 || h.Credit != 64*kib || h.Secret != secret || string(h.Token) != "token" || h.Agent != "test" || h.Circuits != 100 {
		t.Errorf("HELLO = %+v", h)
	}
	if conn, ok := r.conn.(quicFar); ok && conn.ConnectionState().TLS.NegotiatedProtocol != wtproto.ALPN {
		t.Errorf("ALPN = %q, want %q", conn.ConnectionState().TLS.NegotiatedProtocol, wtproto.ALPN)
	}
	want := welcome
	want.Hashes = [][32]byte{{1}, {2}}
	r.write([]byte{0x40, 0x99, 2, 1, 2}) // a frame of a type that nobody knows
	r.send(want)
	d := <-result
	if d.err != nil {
		t.Fatal(d.err)
	}
	got := d.client.Session()
	if w := (Session{
		Gateway: g.addr, Transport: cfg.Transports[0], ID: want.Session, Agent: "fake", Version: 1, MaxTopics: 64, MaxCircuits: 256, CertHashes: want.Hashes,
	}); !reflect.DeepEqual(got, w) {
		t.Errorf("Session = %+v, want %+v", got, w)
	}
	if err := d.client.Err(); err != nil {
		t.Errorf("Err of a living client = %v", err)
	}
	d.client.Close()
	d.client.Close()
	if e := r.closed(); e.ErrorCode != 0 || !e.Remote {
		t.Errorf("session closed with %v, want NONE", e)
	}
	if err := d.client.Err(); err != net.ErrClosed {
		t.Errorf("Err after Close = %v, want %v", err, net.ErrClosed)
	}
	if _, err := d.client.Join(t.Context(), topicA, JoinOptions{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Join after Close = %v, want %v", err, net.ErrClosed)
	}
}

// Two clients without a secret of their own are two clients.
func TestRandomSecret(t *testing.T) { overEach(t, testRandomSecret) }

func testRandomSecret(t *testing.T, g *fake) {
	_, a := g.session(nil)
	_, b := g.session(nil)
	if a.hello.Secret == b.hello.Secret || a.hello.Secret == (wtproto.Secret{}) {
		t.Errorf("secrets %x and %x", a.hello.Secret, b.hello.Secret)
	}
	if a.hello.Agent != "swarmgate-go" {
		t.Errorf("agent = %q", a.hello.Agent)
	}
}

// The gateway's own end of a session is an error with its code.
func TestSessionEndedByGateway(t *testing.T) { overEach(t, testSessionEndedByGateway) }

func testSessionEndedByGateway(t *testing.T, g *fake) {
	for _, tt := range []struct {
		name string
		sent quic.ApplicationErrorCode
		want wtproto.Code
	}{
		{"shutdown", quic.ApplicationErrorCode(wtproto.CodeShutdown), wtproto.CodeShutdown},
		{"replaced", quic.ApplicationErrorCode(wtproto.CodeReplaced), wtproto.CodeReplaced},
		{"none", 0, wtproto.CodeNone},
		{"no code of ours", 1 << 40, wtproto.CodeProtocol},
	} {
		if tt.sent > maxStatus-statusCode && g.sockets != nil {
			continue // which a WebSocket cannot say
		}
		t.Run(tt.name, func(t *testing.T) {
			c, r := g.session(nil)
			topic := r.join(c, topicA, JoinOptions{})
			conn, _ := r.circuit(topic, 1)
			r.open(peer(2).Append(nil)) // nobody accepts it
			waitPlaces(t, c, 2)
			r.conn.CloseWithError(tt.sent, "because")
			wait(t, "Done", c.Done())
			wait(t, "Done of the topic", topic.Done())
			_, readErr := conn.Read(make([]byte, 1))
			_, writeErr := conn.Write(make([]byte, 1))
			_, acceptErr := topic.Accept(t.Context())
			_, joinErr := c.Join(t.Context(), topicB, JoinOptions{})
			for who, err := range map[string]error{
				"Client.Err": c.Err(), "Topic.Err": topic.Err(), "Read": readErr, "Write": writeErr, "Accept": acceptErr, "Join": joinErr,
			} {
				wantError(t, who, err, tt.want, true)
				if err == nil || !strings.Contains(err.Error(), "because") {
					t.Errorf("%s = %v, which does not give the reason", who, err)
				}
			}
			if err := topic.Leave(t.Context()); err != nil {
				t.Errorf("Leave = %v", err)
			}
		})
	}
}

func TestDialRefused(t *testing.T) { overEach(t, testDialRefused) }

func testDialRefused(t *testing.T, g *fake) {
	result := g.dial(g.config())
	r := g.accept()
	r.conn.CloseWithError(quic.ApplicationErrorCode(wtproto.CodeUnauthorized), "no token")
	d := <-result
	wantError(t, "Dial", d.err, wtproto.CodeUnauthorized, true)
}

// What a gateway sends and must not ends the session with a code, and the gateway is told.
func TestBadControlFrames(t *testing.T) { overEach(t, testBadControlFrames) }

func testBadControlFrames(t *testing.T, g *fake) {
	frame := func(m message) []byte { return m.Append(nil) }
	for _, tt := range []struct {
		name    string
		welcome bool // has come before
		sent    []byte
		want    wtproto.Code
	}{
		{"version 0", false, frame(wtproto.Welcome{}), wtproto.CodeVersion},
		{"a version never offered", false, frame(wtproto.Welcome{Version: wtproto.Version + 1}), wtproto.CodeVersion},
		{"JOINED before WELCOME", false, frame(wtproto.Joined{}), wtproto.CodeProtocol},
		{"WELCOME too short", false, []byte{byte(wtproto.TypeWelcome), 2, 1, 0}, wtproto.CodeProtocol},
		{"a second WELCOME", true, frame(welcome), wtproto.CodeProtocol},
		{"payload too large", true, quicvarint.Append([]byte{byte(wtproto.TypeStatus)}, wtproto.MaxPayload+1), wtproto.CodeTooLarge},
		{"unknown frame too large", true, quicvarint.Append([]byte{0x40, 0x99}, 1<<61), wtproto.CodeTooLarge},
		{"HELLO", true, frame(wtproto.Hello{Version: 1, Credit: 4096}), wtproto.CodeProtocol},
		{"JOIN", true, frame(wtproto.Join{}), wtproto.CodeProtocol},
		{"LEAVE", true, frame(wtproto.Leave{}), wtproto.CodeProtocol},
		{"ACCEPT", true, frame(wtproto.Accept{Circuit: 1}), wtproto.CodeProtocol},
		{"DECLINE", true, frame(wtproto.Decline{Circuit: 1}), wtproto.CodeProtocol},
		{"CREDIT", true, frame(wtproto.Credit{Circuit: 1}), wtproto.CodeProtocol},
		{"MEET of hosts", true, frame(wtproto.Meet{}), wtproto.CodeProtocol},
		{"OPENED of hosts", true, frame(wtproto.Opened{}), wtproto.CodeProtocol},
		{"JOINED too short", true, []byte{byte(wtproto.TypeJoined), 3, 1, 2, 3}, wtproto.CodeProtocol},
		{"LEFT too short", true, []byte{byte(wtproto.TypeLeft), 0}, wtproto.CodeProtocol},
		{"STATUS too short", true, []byte{byte(wtproto.TypeStatus), 1, 0}, wtproto.CodeProtocol},
		{"PEER too short", true, []byte{byte(wtproto.TypePeer), 1, 1}, wtproto.CodeProtocol},
		{"PEER of circuit 0", true, frame(wtproto.Peer{Topic: topicA}), wtproto.CodeProtocol},
		{"WITHDRAW too short", true, []byte{byte(wtproto.TypeWithdraw), 0}, wtproto.CodeProtocol},
		{"GOAWAY too short", true, []byte{byte(wtproto.TypeGoaway), 0}, wtproto.CodeProtocol},
		{"PING too short", true, []byte{byte(wtproto.TypePing), 7, 1, 2, 3, 4, 5, 6, 7}, wtproto.CodeProtocol},
		{"PONG too short", true, []byte{byte(wtproto.TypePong), 0}, wtproto.CodeProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result := g.dial(g.config())
			r := g.accept()
			if tt.welcome {
				r.send(welcome)
			} else {
				r.write(tt.sent)
			}
			d := <-result
			err := d.err
			if tt.welcome {
				if err != nil {
					t.Fatal(err)
				}
				r.write(tt.sent)
				wait(t, "the end of the session", d.client.Done())
				err = d.client.Err()
			}
			wantError(t, "error", err, tt.want, false)
			if e := r.closed(); wtproto.Code(e.ErrorCode) != tt.want || e.ErrorMessage == "" {
				t.Errorf("session closed with %v %q, want %v and a reason", wtproto.Code(e.ErrorCode), e.ErrorMessage, tt.want)
			}
		})
	}
}

func TestControlStreamEnds(t *testing.T) { overEach(t, testControlStreamEnds) }

func testControlStreamEnds(t *testing.T, g *fake) {
	for _, tt := range []struct {
		name string
		end  func(*remote)
		want wtproto.Code
	}{
		{"FIN", func(r *remote) { r.control.Close() }, wtproto.CodePeerGone},
		{"FIN in a frame", func(r *remote) { r.write([]byte{byte(wtproto.TypeJoined), 32, 1}); r.control.Close() }, wtproto.CodeProtocol},
		{"reset", func(r *remote) { r.control.CancelWrite(7) }, wtproto.CodePeerGone},
		{"STOP_SENDING", func(r *remote) { r.control.CancelRead(7); r.send(wtproto.Ping{}) }, wtproto.CodePeerGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := g.session(nil)
			tt.end(r)
			wait(t, "the end of the session", c.Done())
			wantError(t, "Err", c.Err(), tt.want, false)
			if e := r.closed(); wtproto.Code(e.ErrorCode) != tt.want {
				t.Errorf("session closed with %v, want %v", e, tt.want)
			}
		})
	}
}

// Honest races and what a later version may send end nothing.
func TestIgnoredFrames(t *testing.T) { overEach(t, testIgnoredFrames) }

func testIgnoredFrames(t *testing.T, g *fake) {
	_, r := g.session(nil)
	r.write([]byte{0x40, 0x99, 0})                                         // of a later version
	r.write(append([]byte{byte(wtproto.TypePong), 9}, make([]byte, 9)...)) // with a field more
	r.send(
		wtproto.Joined{Topic: topicB}, wtproto.Left{Topic: topicB}, wtproto.Status{Topic: topicB},
		wtproto.Withdraw{Circuit: 99, Code: wtproto.CodePeerGone}, wtproto.Pong{},
	)
	r.sync()
}

// WITHDRAW of an open circuit is its end, whoever opened its stream.
func TestWithdrawOfOpenCircuit(t *testing.T) { overEach(t, testWithdrawOfOpenCircuit) }

func testWithdrawOfOpenCircuit(t *testing.T, g *fake) {
	c, r := g.session(nil)
	conn, s := r.circuit(r.join(c, topicA, JoinOptions{}), 1)
	r.send(wtproto.Withdraw{Circuit: 1, Code: wtproto.CodeStalled})
	_, err := conn.Read(make([]byte, 1))
	wantError(t, "Read", err, wtproto.CodeStalled, true)
	readReset(t, s)
	waitPlaces(t, c, 0)
}

// Of many PINGs the last is answered, and it is.
func TestPong(t *testing.T) { overEach(t, testPong) }

func testPong(t *testing.T, g *fake) {
	_, r := g.session(nil)
	for i := range 100 {
		r.send(wtproto.Ping{Data: [8]byte{byte(i)}})
	}
	var last wtproto.Pong
	for n := 0; last.Data[0] != 99; n++ {
		next := expect(r, wtproto.TypePong, wtproto.ParsePong)
		if n > 0 && next.Data[0] <= last.Data[0] {
			t.Fatalf("PONG %d after PONG %d", next.Data[0], last.Data[0])
		}
		last = next
	}
}

func TestGoaway(t *testing.T) { overEach(t, testGoaway) }

func testGoaway(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: time.Second, Reason: "update"})
	r.send(wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: 2 * time.Second, Reason: "update"})
	var told []Event
	for e := range c.Events(deadline(t)) {
		if _, ok := e.(Connected); ok {
			continue
		}
		if told = append(told, e); len(told) == 2 {
			break
		}
	}
	if want := []Event{
		GoingAway{Code: wtproto.CodeShutdown, RetryAfter: time.Second, Reason: "update"},
		GoingAway{Code: wtproto.CodeShutdown, RetryAfter: 2 * time.Second, Reason: "update"},
	}; !reflect.DeepEqual(told, want) {
		t.Errorf("events %+v, want %+v", told, want)
	}
	result := startJoin(deadline(t), c, topicB, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	r.send(wtproto.Left{Topic: topicB, Code: wtproto.CodeShutdown})
	wantError(t, "Join", (<-result).err, wtproto.CodeShutdown, true)
	echo(t, conn, s)
}

// echo passes bytes both ways.
func echo(t testing.TB, c *Conn, s farStream) {
	t.Helper()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	s.SetDeadline(time.Now().Add(30 * time.Second))
	defer c.SetDeadline(time.Time{})
	defer s.SetDeadline(time.Time{})
	b := make([]byte, 5)
	for _, end := range [2][2]interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}{{c, s}, {s, c}} {
		if _, err := end[0].Write([]byte("hello")); err != nil {
			t.Fatalf("Write: %v", err)
		}
		if n, err := end[1].Read(b); err != nil || !bytes.Equal(b[:n], []byte("hello")) {
			t.Fatalf("Read = %q, %v, want hello", b[:n], err)
		}
	}
}

func TestDialContext(t *testing.T) { overEach(t, testDialContext) }

func testDialContext(t *testing.T, g *fake) {
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, g.addr, g.config())
		done <- err
	}()
	r := g.accept() // and no WELCOME
	cause := errors.New("test")
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("Dial = %v, want %v", err, cause)
	}
	if e := r.closed(); e.ErrorCode != 0 {
		t.Errorf("session closed with %v, want NONE", e)
	}
}
