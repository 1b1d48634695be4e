package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A stream whose first frame does not come is reset, in a session that goes on.
func TestWebSocketFirstFrame(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		m := g.meet()
		f := m.site.dial()
		f.text("stream " + m.key)
		pass(5*time.Second - 1)
		f.wantClosed(0)
		pass(1)
		if _, signals := f.got(); signals != "stop 11, reset 11" {
			t.Errorf("signals %q", signals)
		}
		f.wantClosed(1000)
		f = m.stream(wtproto.Accept{Circuit: m.circuit}) // accepted before
		if _, signals := f.got(); signals != "stop 17, reset 17" {
			t.Errorf("signals %q", signals)
		}
		f.wantClosed(1000)
		m.lives()
	})
}

// A fault on a stream resets that stream, for the peer too, and the session goes on.
func TestWebSocketStreamFaults(t *testing.T) {
	for name, test := range map[string]struct {
		send func(f *farSocket)
		want wtproto.Code // 0: none
	}{
		"the longest message":    {func(f *farSocket) { f.Write(make([]byte, 65_536-3)) }, 0}, // ACCEPT had 3 bytes
		"a message too long":     {tooLong, wtproto.CodeTooLarge},
		"beyond the window":      {overflow, wtproto.CodeProtocol},
		"the longest text":       {func(f *farSocket) { f.text(strings.Repeat("x", 256)) }, 0},
		"a text too long":        {func(f *farSocket) { f.text(strings.Repeat("x", 257)) }, wtproto.CodeTooLarge},
		"unknown signals":        {func(f *farSocket) { f.text(""); f.text("pause 10") }, 0},
		"not UTF-8":              {func(f *farSocket) { f.text("pause \xff") }, wtproto.CodeProtocol},
		"a malformed signal":     {func(f *farSocket) { f.text("reset x") }, wtproto.CodeProtocol},
		"no code":                {func(f *farSocket) { f.text("stop 4294967296") }, wtproto.CodeProtocol},
		"a gateway's signal":     {func(f *farSocket) { f.text("window 1000000") }, wtproto.CodeProtocol},
		"stream again":           {func(f *farSocket) { f.text("stream " + strings.Repeat("00", 16)) }, wtproto.CodeProtocol},
		"session":                {func(f *farSocket) { f.text("session " + strings.Repeat("00", 16)) }, wtproto.CodeProtocol},
		"bytes after fin":        {func(f *farSocket) { f.text("fin"); f.Write([]byte("x")) }, wtproto.CodeProtocol},
		"an empty message":       {func(f *farSocket) { f.Write(nil) }, 0},
		"100 empty messages":     {func(f *farSocket) { empty(f, 100) }, 0},
		"101 empty messages":     {func(f *farSocket) { empty(f, 101) }, wtproto.CodeRateLimited},
		"reset after fin":        {func(f *farSocket) { f.text("fin"); f.text("reset 16"); f.text("fin") }, 0},
		"a close with a code":    {func(f *farSocket) { f.conn.Close(4263, "") }, 263},
		"a close with NONE":      {func(f *farSocket) { f.conn.Close(4000, "") }, wtproto.CodePeerReset},
		"a close without a code": {func(f *farSocket) { f.conn.Close(1000, "") }, wtproto.CodePeerGone},
		"a page that is left":    {func(f *farSocket) { f.conn.Close(1001, "") }, wtproto.CodePeerGone},
		"a lost connection":      {func(f *farSocket) { f.conn.CloseNow() }, wtproto.CodePeerGone},
		"reset":                  {func(f *farSocket) { f.text("reset 16") }, wtproto.CodeDeclined},
		"stop":                   {func(f *farSocket) { f.text("stop 4294967295") }, 1<<32 - 1},
		"reset without a code":   {func(f *farSocket) { f.text("reset 0") }, wtproto.CodePeerReset},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, patient, func(t *testing.T, g *bubble) {
				m := g.meet()
				test.send(m.f)
				synctest.Wait()
				closing := test.want != 0
				if !closing {
					m.f.wantClosed(0)
					m.end.CloseWrite()
					if _, signals := m.f.got(); !strings.HasSuffix(signals, "fin") {
						t.Errorf("signals %q", signals)
					}
				} else {
					pass(restEvery) // if both directions have nothing to do
					m.wantEnd(test.want)
					if status, _ := m.f.closed(); status == 0 {
						t.Error("the WebSocket is open")
					}
				}
				m.lives()
			})
		})
	}
}

// overflow sends one byte more than the window has room for.
func overflow(f *farSocket) {
	f.Write(make([]byte, 60_000))
	for left := f.window() - 60_000 - 3 + 1; left > 0; left -= wtproto.MaxBinary {
		f.Write(make([]byte, min(left, wtproto.MaxBinary)))
	}
}

// tooLong sends a message that is too long, within a window that has grown.
func tooLong(f *farSocket) {
	f.Write(make([]byte, 40_000))
	if room := f.window() - 40_003; room < 65_537 {
		f.t.Fatalf("the window has room for %d bytes", room)
	}
	f.Write(make([]byte, 65_537))
}

func empty(f *farSocket, n int) {
	for range n {
		f.Write(nil)
	}
}

// A reset by the peer, or by the client, passes with its code, all 32 bits of it, and both
// directions end.
func TestWebSocketCodes(t *testing.T) {
	for _, code := range []wtproto.Code{0x10, 0x107, 1<<32 - 1} {
		inBubble(t, patient, func(t *testing.T, g *bubble) {
			m := g.meet()
			reset(m.end, code)
			if _, signals := m.f.got(); signals != fmt.Sprintf("stop %d, reset %d", code, code) {
				t.Errorf("code %d: signals %q", code, signals)
			}
			m.f.wantClosed(1000)
			m.lives()
		})
		inBubble(t, patient, func(t *testing.T, g *bubble) {
			m := g.meet()
			m.f.text(fmt.Sprintf("reset %d", code))
			m.wantEnd(code)
			if _, signals := m.f.got(); signals != fmt.Sprintf("stop %d, reset %d", code, code) && signals != fmt.Sprintf("reset %d", code) {
				t.Errorf("code %d: signals %q", code, signals)
			}
			m.f.wantClosed(1000)
			m.lives()
		})
	}
}

// After the client's fin its direction is over once the peer has read it, however late that is,
// and the other direction goes on meanwhile.
func TestWebSocketHalfClose(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		m := g.meet()
		long := strings.Repeat("up", 32_000)
		m.f.Write([]byte(long))
		m.f.text("fin")
		for range 100 {
			pass(time.Second)
			io.WriteString(m.end, "down")
		}
		if got, _ := m.f.got(); len(got) != 400 {
			t.Errorf("the client got %d bytes", len(got))
		}
		m.f.wantClosed(0)
		b, err := io.ReadAll(m.end)
		if err != nil || string(b) != long {
			t.Errorf("the peer got %d bytes, %v", len(b), err)
		}
		m.f.wantClosed(0)
		m.end.CloseWrite()
		m.f.wantClosed(1000)
	})
}

// A stream's WebSocket that is lost alone is one lost circuit: the session goes on, and the gateway
// makes the circuit anew after a delay. (A client whose proxy cuts a connection had to join anew.)
func TestWebSocketStreamLost(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		m := g.meet()
		m.f.conn.CloseNow()
		m.wantEnd(wtproto.CodePeerGone)
		pass(5 * time.Second)
		m.again()
		m.f.Write([]byte("again"))
		b := make([]byte, 5)
		if _, err := io.ReadFull(m.end, b); err != nil || string(b) != "again" {
			t.Errorf("the peer got %q, %v", b, err)
		}
	})
}

// A circuit whose WebSocket is not read holds little, and is lost after 25 s; the session goes on.
// A reset ends it at once for the peer, and after 5 s for good.
func TestWebSocketNotRead(t *testing.T) {
	for name, wait := range map[string]time.Duration{"lost": socketPatience, "reset": resetWithin} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, patient, func(t *testing.T, g *bubble) {
				c := g.site().greet()
				c.join()
				peer := g.lan.peer("1")
				g.lan.see(peer.sighting())
				p, err := wtproto.ParsePeer(c.until(wtproto.TypePeer))
				if err != nil {
					t.Fatal(err)
				}
				f := c.site.silent()
				f.text("stream " + c.key)
				f.Write(wtproto.Accept{Circuit: p.Circuit}.Append(nil))
				c.Write(wtproto.Credit{Circuit: p.Circuit, Offset: 1 << 40}.Append(nil))
				end := peer.circuit()
				synctest.Wait()
				written := make(chan error, 1)
				g.wg.Go(func() {
					_, err := end.Write(make([]byte, 8<<20))
					written <- err
				})
				synctest.Wait()
				if wait == resetWithin {
					c.Write(wtproto.Decline{Circuit: p.Circuit, Code: 0x107}.Append(nil))
					if err := receive(t, written, "end of the peer's write"); codeOf(err) != 0x107 {
						t.Errorf("the peer's write: %v", err)
					}
				}
				pass(wait - time.Millisecond)
				if n := g.sockets.count(c.key); n != 2 {
					t.Errorf("%d streams before the time, want 2", n)
				}
				pass(2 * time.Millisecond)
				if n := g.sockets.count(c.key); n != 1 {
					t.Errorf("%d streams after the time, want 1", n)
				}
				if wait != resetWithin {
					if err := receive(t, written, "end of the peer's write"); codeOf(err) != wtproto.CodePeerGone {
						t.Errorf("the peer's write: %v", err)
					}
				}
				c.lives()
			})
		})
	}
}

// A client on a slow line takes some bytes every few seconds. That is enough to keep its circuit:
// the gateway's Ping waits for its turn, and so does the answer to one of the client. (The Ping had
// to be away within 5 s, or the WebSocket was lost.)
func TestWebSocketReadSlowly(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		m := g.meet()
		const size = 1 << 20
		m.Write(wtproto.Credit{Circuit: m.circuit, Offset: size}.Append(nil))
		m.site.slow.Store(int64(5500 * time.Millisecond))
		g.wg.Go(func() { m.end.Write(make([]byte, size)) })
		ponged := make(chan error, 1)
		g.wg.Go(func() { ponged <- m.f.conn.Ping(t.Context()) })
		pass(30 * time.Minute)
		m.f.wantClosed(0)
		if got, _ := m.f.got(); len(got) != size {
			t.Errorf("%d bytes came in half an hour, want %d", len(got), size)
		}
		if n := m.f.pings.Load(); n < 10 {
			t.Errorf("%d Pings in half an hour", n)
		}
		if err := receive(t, ponged, "answer to a Ping"); err != nil {
			t.Errorf("the answer to a Ping: %v", err)
		}
	})
}

// count returns how many streams a session has.
func (w *webSockets) count(key string) int {
	w.mu.Lock()
	l := w.links[key]
	w.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

// Of a hundred circuits 99 are not read by anybody, in both directions: the last one moves on, and
// what the others hold is bounded.
func TestWebSocketStalledCircuits(t *testing.T) {
	inBubble(t, patient, func(t *testing.T, g *bubble) {
		c := g.site().greet()
		c.join()
		const circuits = 100
		var fs []*farSocket
		var ends []*fakeStream
		var last wtproto.Peer
		peer := g.lan.peer("1")
		for i := range circuits {
			if i == 0 {
				g.lan.see(peer.sighting())
				f, first := c.accept()
				fs, ends, last = append(fs, f), append(ends, peer.circuit()), first
				continue
			}
			f := c.stream(wtproto.Connect{Topic: wowcool, Network: last.Network, ID: last.ID})
			synctest.Wait()
			_, b := f.frame()
			p, err := wtproto.ParsePeer(b)
			if err != nil {
				t.Fatal(err)
			}
			last.Circuit = p.Circuit
			fs, ends = append(fs, f), append(ends, peer.circuit())
		}
		for i := range circuits {
			fs[i].Write(make([]byte, 64_000)) // the window
			g.wg.Go(func() { ends[i].Write(make([]byte, 1<<20)) })
		}
		synctest.Wait()
		l := g.sockets.link(c.key)
		l.mu.Lock()
		for s := range l.streams {
			if n := s.holds(); n > initialSocketWindow+2*pieceSize+2*maxUnsent {
				t.Errorf("a stalled stream holds %d bytes", n)
			}
		}
		l.mu.Unlock()
		moved := fs[circuits-1]
		g.wg.Go(func() { io.Copy(io.Discard, ends[circuits-1]) })
		c.Write(wtproto.Credit{Circuit: last.Circuit, Offset: 1 << 30}.Append(nil))
		for total := int64(64_000); total < 3<<20; {
			room := moved.window() - total
			if room <= 0 {
				t.Fatalf("no window after %d bytes", total)
			}
			moved.Write(make([]byte, min(room, wtproto.MaxBinary)))
			total += min(room, wtproto.MaxBinary)
		}
		if w := moved.window(); w < 4<<20-1<<18 || w > 4<<20 {
			t.Errorf("the window ends at %d", w)
		}
		if got, _ := moved.got(); len(got) < 1<<20 {
			t.Errorf("%d bytes came down", len(got))
		}
		for i, f := range fs {
			if status, reason := f.closed(); status != 0 {
				t.Errorf("circuit %d was closed with %d %q", i, status, reason)
			}
		}
		c.lives()
		for _, e := range ends { // their writers end
			reset(e, wtproto.CodeInternal)
		}
	})
}

func (w *webSockets) link(key string) *webSocketLink {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[key]
}

// holds returns how many bytes of memory s holds for what waits.
func (s *socket) holds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in.pieces)*pieceSize + cap(s.unsent)
}

// What ends the WebSocket of a stream is to its users what the end of another stream is to them: a
// reset if it was closed with a code, else a loss, both with Remote. (The loss once wrapped io.EOF,
// so that a peer took it for the end of all bytes.)
func TestSocketErrors(t *testing.T) {
	closed := func(code websocket.StatusCode) error {
		return fmt.Errorf("failed to read: %w", websocket.CloseError{Code: code, Reason: "why"})
	}
	for _, test := range []struct {
		name string
		err  error
		want wtproto.Code
	}{
		{"a code", closed(4016), wtproto.CodeDeclined},
		{"an application's code", closed(4999), 999},
		{"NONE", closed(4000), wtproto.CodePeerReset},
		{"a regular close", closed(1000), wtproto.CodePeerGone},
		{"a page that is left", closed(1001), wtproto.CodePeerGone},
		{"no status", closed(1005), wtproto.CodePeerGone},
		{"a proxy that restarts", closed(1012), wtproto.CodePeerGone},
		{"a library's status", closed(3999), wtproto.CodePeerGone},
		{"the end of the connection", io.EOF, wtproto.CodePeerGone},
		{"a write that took too long", &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, wtproto.CodePeerGone},
		{"a closed connection", net.ErrClosed, wtproto.CodePeerGone},
		{"a frame that is not right", errors.New("received unmasked frame from client"), wtproto.CodePeerGone},
	} {
		got := endOf(test.err)
		if e, ok := errors.AsType[*wtproto.Error](got); !ok || e.Code != test.want || !e.Remote || !strings.Contains(got.Error(), test.err.Error()) {
			t.Errorf("%s: %v became %v, want remote %v with the cause", test.name, test.err, got, test.want)
		}
		if errors.Is(got, io.EOF) || errors.Is(got, os.ErrDeadlineExceeded) {
			t.Errorf("%s counts as fin, or as a deadline", test.name)
		}
		if peerLost(got) {
			t.Errorf("%s counts as the loss of a peer", test.name)
		}
	}
}
