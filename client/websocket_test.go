package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

// socketCircuit returns both ends of a circuit over WebSocket.
func socketCircuit(t *testing.T, r *remote, topic *Topic, id wtproto.CircuitID) (*Conn, *farSocket) {
	t.Helper()
	conn, s := r.circuit(topic, id)
	return conn, s.(*farSocket)
}

// said returns the signals that came.
func (s *farSocket) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.signals)
}

// The signals that end a stream, to the byte. The gateway closes the WebSocket, and the client is
// left with none.
func TestSocketSignals(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*Conn, *farSocket)
		want []string
	}{
		{"fin both ways", func(c *Conn, s *farSocket) { c.CloseWrite(); s.Close() }, []string{"fin"}},
		{"fin once", func(c *Conn, s *farSocket) { c.CloseWrite(); c.Close(); s.Close() }, []string{"fin"}},
		{"reset", func(c *Conn, s *farSocket) { c.Reset(1<<32 - 1) }, []string{"stop 4294967295", "reset 4294967295"}},
		{"reset after fin", func(c *Conn, s *farSocket) {
			c.CloseWrite()
			s.Read(nil)
			poll(t, "fin", s.ended)
			c.Reset(wtproto.CodeDeclined)
		}, []string{"fin", "stop 16"}},
		{"reset by the gateway", func(c *Conn, s *farSocket) { s.CancelWrite(256); s.CancelRead(256); c.Read(make([]byte, 1)) }, nil},
		{"stop by the gateway", func(c *Conn, s *farSocket) { s.CancelRead(256); s.Close(); io.ReadAll(c) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := newWSGateway(t).session(nil)
			conn, s := socketCircuit(t, r, r.join(c, topicA, JoinOptions{}), 1)
			tt.end(conn, s)
			wait(t, "the end of the WebSocket", s.gone.Done())
			if got := s.said(); !slices.Equal(got, tt.want) {
				t.Errorf("signals %q, want %q", got, tt.want)
			}
			l := live(c).link.(*wsLink)
			poll(t, "a link without streams", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.streams) == 0
			})
			if n := l.held.Load(); n != 0 {
				t.Errorf("%d bytes are held", n)
			}
			r.sync()
		})
	}
}

// A client sends what the gateway has granted, and goes on when there is more.
func TestSocketWindow(t *testing.T) {
	g := newWSGateway(t)
	g.sockets.mean.Store(true)
	c, r := g.session(nil)
	conn, s := socketCircuit(t, r, r.join(c, topicA, JoinOptions{}), 1)
	sent := make([]byte, 300_000)
	for i := range sent {
		sent[i] = byte(i) ^ byte(i>>8)
	}
	type written struct {
		n   int
		err error
	}
	first := make(chan written, 1)
	go func() {
		n, err := conn.Write(sent)
		first <- written{n, err}
	}()
	accept := len(wtproto.Accept{Circuit: 1}.Append(nil))
	b := make([]byte, firstWindow-accept)
	if _, err := io.ReadFull(s, b); err != nil || !bytes.Equal(b, sent[:len(b)]) {
		t.Fatalf("the first window: %v", err)
	}
	r.sync()
	s.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := s.Read(b); err == nil {
		t.Errorf("%d bytes beyond the window", n)
	}
	s.SetReadDeadline(time.Time{})
	conn.SetWriteDeadline(time.Unix(1, 0))
	w := <-first
	if !errors.Is(w.err, os.ErrDeadlineExceeded) || w.n > firstWindow+maxUnsent {
		t.Errorf("Write = %d, %v, want at most %d and %v", w.n, w.err, firstWindow+maxUnsent, os.ErrDeadlineExceeded)
	}
	conn.SetWriteDeadline(time.Time{})
	for _, offset := range []int{firstWindow, 100, firstWindow + 1} {
		s.signal("window %d", offset)
	}
	if _, err := io.ReadFull(s, b[:1]); err != nil || b[0] != sent[firstWindow-accept] {
		t.Errorf("the byte after the first window: %v", err)
	}
	s.signal("window 4611686018427387903")
	rest := sent[firstWindow-accept+1:]
	go func() {
		conn.Write(sent[w.n:])
		conn.CloseWrite()
	}()
	if b, err := io.ReadAll(s); err != nil || !bytes.Equal(b, rest) {
		t.Errorf("read %d bytes, %v, want %d", len(b), err, len(rest))
	}
}

// A client whose line is full for a while answers a Ping once there is room. It gave its answer 5 s
// to get away, and lost the circuit then.
func TestSocketPingWhileTheLineIsFull(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *network) {
		p := newPipes()
		var lines []*narrow
		c, r := newWSGatewayOn(t, p).session(func(cfg *Config) {
			cfg.Transports = []string{TransportWebSocket}
			cfg.dialTCP = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := p.dial(ctx, network, address)
				line := &narrow{Conn: conn}
				lines = append(lines, line)
				return line, err
			}
		})
		conn, s := socketCircuit(t, r, r.join(c, topicA, JoinOptions{}), 1)
		echo(t, conn, s)
		room := make(chan struct{})
		lines[1].full.Store(&room)
		const size = 60_000
		go conn.Write(make([]byte, size))
		answered := make(chan error, 1)
		go func() { answered <- s.ws.Ping(t.Context()) }()
		<-time.After(20 * time.Second)
		lines[1].full.Store(nil)
		close(room)
		if err := <-answered; err != nil {
			t.Errorf("the answer to a Ping: %v", err)
		}
		if _, err := io.ReadFull(s, make([]byte, size)); err != nil {
			t.Errorf("what was written meanwhile: %v", err)
		}
		echo(t, conn, s)
	})
}

// A WebSocket that ends too early is a stream that ends with a code, alone.
func TestSocketLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*farSocket)
		want wtproto.Code
	}{
		{"cut", func(s *farSocket) { s.ws.CloseNow() }, wtproto.CodePeerGone},
		{"closed as if all was well", func(s *farSocket) { s.ws.Close(websocket.StatusNormalClosure, "") }, wtproto.CodePeerGone},
		{"closed by a proxy", func(s *farSocket) { s.ws.Close(websocket.StatusGoingAway, "restart") }, wtproto.CodePeerGone},
		{"closed with a code", func(s *farSocket) { s.ws.Close(statusCode+websocket.StatusCode(wtproto.CodeStalled), "") }, wtproto.CodeStalled},
		{"after fin", func(s *farSocket) { s.signal("fin"); s.ws.CloseNow() }, wtproto.CodeNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := newWSGateway(t).session(nil)
			topic := r.join(c, topicA, JoinOptions{})
			conn, s := socketCircuit(t, r, topic, 1)
			s.Write([]byte("last words"))
			tt.end(s)
			b, err := io.ReadAll(conn)
			if string(b) != "last words" {
				t.Errorf("read %q before the end", b)
			}
			if tt.want == wtproto.CodeNone {
				poll(t, "the failure of Write", func() bool {
					_, err = conn.Write([]byte("x"))
					return err != nil
				})
				wantError(t, "Write", err, wtproto.CodePeerGone, true)
				conn.Close()
			} else {
				wantError(t, "Read", err, tt.want, true)
			}
			waitPlaces(t, c, 0)
			other, far := r.circuit(topic, 2)
			echo(t, other, far)
		})
	}
}

// A Read hung for ever: a gateway ended a session, the WebSocket of a stream ended before that of
// the session, and the stream was forgotten just before the link ended all that it knew.
func TestSocketLostJustBeforeItsSession(t *testing.T) {
	c, r := newWSGateway(t).session(func(c *Config) { c.NoReconnect = true })
	conn, s := socketCircuit(t, r, r.join(c, topicA, JoinOptions{}), 1)
	l := live(c).link.(*wsLink)
	l.control.mu.Lock() // so that the end of the session takes its time
	go r.control.(*farSocket).ws.Close(statusCode+websocket.StatusCode(wtproto.CodeForbidden), "enough")
	wait(t, "the end of the session's WebSocket", l.control.ended)
	s.ws.CloseNow()
	poll(t, "the question whether there is a session", func() bool {
		l.asking.Lock()
		defer l.asking.Unlock()
		return !l.asked.IsZero()
	})
	for range 100 { // until the stream is forgotten, if it is
		l.mu.Lock()
		n := len(l.streams)
		l.mu.Unlock()
		if n == 0 {
			break
		}
		<-time.After(time.Millisecond)
	}
	l.control.mu.Unlock()
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		wantError(t, "Read", err, wtproto.CodePeerGone, false)
	case <-deadline(t).Done():
		t.Error("Read hangs")
	}
	wait(t, "Done", c.Done())
	wantError(t, "Err", c.Err(), wtproto.CodeForbidden, true)
}

// Many streams that are lost together are asked about together: a gateway ends a session that
// asks too often.
func TestSocketManyLost(t *testing.T) {
	c, r := newWSGateway(t).session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	var conns []*Conn
	var all []*farSocket
	for id := wtproto.CircuitID(1); id <= 100; id++ {
		conn, s := socketCircuit(t, r, topic, id)
		conns, all = append(conns, conn), append(all, s)
	}
	for _, s := range all {
		s.ws.CloseNow()
	}
	for _, conn := range conns {
		_, err := conn.Read(make([]byte, 1))
		wantError(t, "Read", err, wtproto.CodePeerGone, true)
	}
	waitPlaces(t, c, 0)
	r.sync()
	if pings := r.conn.(*farSession).pings.Load(); pings == 0 || pings > 50 {
		t.Errorf("%d pings for %d streams", pings, len(all))
	}
}

// What a gateway must not send ends the stream that it is on with a code, and on the control stream
// the session.
func TestSocketFaults(t *testing.T) {
	large := strings.Repeat("x", wtproto.MaxSignal+1)
	for _, tt := range []struct {
		name string
		sent []string // signals; "" for a byte
		want wtproto.Code
	}{
		{"signal too large", []string{large}, wtproto.CodeTooLarge},
		{"reset without a code", []string{"reset"}, wtproto.CodeProtocol},
		{"reset with a word", []string{"reset now"}, wtproto.CodeProtocol},
		{"reset with more than 32 bits", []string{"reset 4294967296"}, wtproto.CodeProtocol},
		{"stop below zero", []string{"stop -1"}, wtproto.CodeProtocol},
		{"stop with a sign", []string{"stop +1"}, wtproto.CodeProtocol},
		{"stop with two spaces", []string{"stop  1"}, wtproto.CodeProtocol},
		{"fin with a number", []string{"fin 1"}, wtproto.CodeProtocol},
		{"window of more than 62 bits", []string{"window 4611686018427387904"}, wtproto.CodeProtocol},
		{"window with too many digits", []string{"window 000000000000000000001"}, wtproto.CodeProtocol},
		{"session", []string{"session 00000000000000000000000000000000"}, wtproto.CodeProtocol},
		{"stream", []string{"stream 00000000000000000000000000000000"}, wtproto.CodeProtocol},
		{"no UTF-8", []string{"hello \xff"}, wtproto.CodeProtocol},
		{"a byte after fin", []string{"fin", ""}, wtproto.CodeProtocol},
		{"a byte after reset", []string{"reset 256", ""}, wtproto.CodeProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			send := func(s *farSocket) {
				for _, text := range tt.sent {
					if text == "" {
						s.ws.Write(context.Background(), websocket.MessageBinary, []byte{0})
					} else {
						s.signal("%s", text)
					}
				}
			}
			g := newWSGateway(t)
			c, r := g.session(nil)
			topic := r.join(c, topicA, JoinOptions{})
			conn, s := socketCircuit(t, r, topic, 1)
			send(s)
			if _, err := conn.Read(make([]byte, 1)); len(tt.sent) == 1 {
				wantError(t, "Read", err, tt.want, true)
			}
			_, err := closedStream{s}.Read(nil)
			// After a reset the circuit is over, and the client may have closed it before the byte
			// came.
			if over := tt.sent[0] == "reset 256" && websocket.CloseStatus(err) == websocket.StatusNormalClosure; !over {
				if code := streamEnd(t, err); code != tt.want {
					t.Errorf("the stream was closed with %v, want %v", code, tt.want)
				}
			}
			other, far := r.circuit(topic, 2)
			echo(t, other, far)
			if len(tt.sent) == 1 {
				send(r.control.(*farSocket))
				if e := r.closed(); wtproto.Code(e.ErrorCode) != tt.want {
					t.Errorf("the session was closed with %v, want %v", e, tt.want)
				}
				wait(t, "Done", c.Done())
				wantError(t, "Err", c.Err(), tt.want, false)
			}
		})
	}
}

// A message that is too large is no more than that, however it is cut.
func TestSocketLargeMessage(t *testing.T) {
	for _, size := range []int{wtproto.MaxBinary, wtproto.MaxBinary + 1} {
		c, r := newWSGateway(t).session(nil)
		conn, s := socketCircuit(t, r, r.join(c, topicA, JoinOptions{}), 1)
		go s.ws.Write(context.Background(), websocket.MessageBinary, make([]byte, size))
		fits := size == wtproto.MaxBinary
		if n, err := io.ReadFull(conn, make([]byte, size)); fits != (err == nil) || fits && n != size {
			t.Errorf("a message of %d bytes: read %d, %v", size, n, err)
		}
		if !fits {
			if code := readReset(t, closedStream{s}); code != wtproto.CodeTooLarge {
				t.Errorf("the stream was closed with %v, want %v", code, wtproto.CodeTooLarge)
			}
		}
	}
}

// What a client ignores.
func TestSocketIgnores(t *testing.T) {
	c, r := newWSGateway(t).session(nil)
	conn, s := socketCircuit(t, r, r.join(c, topicA, JoinOptions{}), 1)
	for _, text := range []string{"", "hello", "hello 1 2", "fins", "Reset 1", "window 1", strings.Repeat("x", wtproto.MaxSignal)} {
		s.signal("%s", text)
		r.control.(*farSocket).signal("%s", text)
	}
	s.ws.Write(context.Background(), websocket.MessageBinary, nil)
	echo(t, conn, s)
	s.signal("fin")
	s.signal("fin")
	s.signal("reset 256")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("read %v after fin", err)
	}
	s.signal("stop 256")
	s.signal("stop 257")
	poll(t, "the failure of Write", func() bool { _, err := conn.Write([]byte("x")); return err != nil })
	_, err := conn.Write([]byte("x"))
	wantError(t, "Write", err, 256, true)
	r.sync()
}

// A gateway that sends more than all its credit ends its session, however many streams it takes
// and though nobody reads.
func TestSocketOverrun(t *testing.T) {
	c, r := newWSGateway(t).session(func(c *Config) { c.Budget = minBudget })
	topic := r.join(c, topicA, JoinOptions{})
	var all []*farSocket
	for id := wtproto.CircuitID(1); id <= 4; id++ {
		_, s := socketCircuit(t, r, topic, id)
		all = append(all, s)
	}
	for _, s := range all {
		go s.Write(make([]byte, minBudget))
	}
	if e := r.closed(); wtproto.Code(e.ErrorCode) != wtproto.CodeProtocol {
		t.Errorf("the session was closed with %v", e)
	}
	wait(t, "Done", c.Done())
	wantError(t, "Err", c.Err(), wtproto.CodeProtocol, false)
}
