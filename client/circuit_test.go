package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// places returns how many circuits have one.
func (s *session) places() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.circuits)
}

// waitPlaces waits until n circuits have a place.
func waitPlaces(t testing.TB, c *Client, n int) {
	t.Helper()
	poll(t, fmt.Sprintf("%d circuits", n), func() bool { return live(c).places() == n })
}

func TestPeer(t *testing.T) {
	c, r := newSessionPair(t, func(c *Config) { c.Secret = &wtproto.Secret{1} })
	topic := r.join(c, topicA, JoinOptions{})
	m := wtproto.Peer{Circuit: 1, Topic: topicA, Flags: wtproto.PeerInitiator, Network: "lan", ID: []byte{0xca, 0xfe}}
	r.open(m.Append(nil))
	first := accept(t, topic)
	if p := first.Peer(); p.Topic != topicA || p.Network != "lan" || !bytes.Equal(p.ID, m.ID) || p.Address != "" || !p.Initiator || p.Client {
		t.Errorf("Peer = %+v, want what %+v says", p, m)
	}
	m = wtproto.Peer{Circuit: 2, Topic: topicA, Flags: wtproto.PeerClient, Network: "dht", ID: []byte{1}, Address: "192.0.2.1:5"}
	r.open(m.Append(nil))
	second := accept(t, topic)
	if p := second.Peer(); p.Address != m.Address || p.Initiator || !p.Client {
		t.Errorf("Peer = %+v, want what %+v says", p, m)
	}
	for _, tt := range []struct {
		got           net.Addr
		network, text string
	}{
		{first.RemoteAddr(), "lan", "cafe"},
		{second.RemoteAddr(), "dht", "192.0.2.1:5"},
		{first.LocalAddr(), "swarmgate", wtproto.Secret{1}.Endpoint().String()},
	} {
		if tt.got.Network() != tt.network || tt.got.String() != tt.text {
			t.Errorf("address %s %s, want %s %s", tt.got.Network(), tt.got, tt.network, tt.text)
		}
	}
}

// FIN is the end of one direction, either way first.
func TestHalfClose(t *testing.T) { overEach(t, testHalfClose) }

func testHalfClose(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	t.Run("client first", func(t *testing.T) {
		conn, s := r.circuit(topic, 1)
		conn.Write([]byte("question"))
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Errorf("second CloseWrite = %v", err)
		}
		if _, err := conn.Write([]byte("x")); err != net.ErrClosed {
			t.Errorf("Write after CloseWrite = %v, want %v", err, net.ErrClosed)
		}
		if b, err := io.ReadAll(s); err != nil || string(b) != "question" {
			t.Errorf("gateway read %q, %v", b, err)
		}
		s.Write([]byte("answer"))
		s.Close()
		if b, err := io.ReadAll(conn); err != nil || string(b) != "answer" {
			t.Errorf("read %q, %v", b, err)
		}
		if n := live(c).places(); n != 0 {
			t.Errorf("%d circuits after both ends", n)
		}
		if err := conn.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	t.Run("peer first", func(t *testing.T) {
		conn, s := r.circuit(topic, 2)
		s.Write([]byte("question"))
		s.Close()
		if b, err := io.ReadAll(conn); err != nil || string(b) != "question" {
			t.Errorf("read %q, %v", b, err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read after the end = %v, want %v", err, io.EOF)
		}
		conn.Write([]byte("answer"))
		conn.Close()
		if b, err := io.ReadAll(s); err != nil || string(b) != "answer" {
			t.Errorf("gateway read %q, %v", b, err)
		}
		if n := live(c).places(); n != 0 {
			t.Errorf("%d circuits after both ends", n)
		}
	})
}

// Close gives the peer all that was written, then the end, and takes what still comes off the
// connection.
func TestClose(t *testing.T) { overEach(t, testClose) }

func testClose(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	reading := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		reading <- err
	}()
	sent := bytes.Repeat([]byte("x"), 300_000)
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-reading; err != net.ErrClosed {
		t.Errorf("Read in progress = %v, want %v", err, net.ErrClosed)
	}
	if _, err := s.Write(make([]byte, 64*kib)); err != nil { // all that the credit allows
		t.Error(err)
	}
	if b, err := io.ReadAll(s); err != nil || !bytes.Equal(b, sent) {
		t.Errorf("gateway read %d bytes, %v, want %d", len(b), err, len(sent))
	}
	if n := live(c).places(); n != 1 {
		t.Errorf("%d circuits before the peer's end, want 1", n)
	}
	s.Close()
	waitPlaces(t, c, 0)
	if cause := context.Cause(s.Context()); cause != quic.ErrStreamClosed {
		t.Errorf("what the gateway sent was stopped: %v", cause)
	}
	_, readErr := conn.Read(make([]byte, 1))
	_, writeErr := conn.Write(make([]byte, 1))
	for who, err := range map[string]error{
		"Read": readErr, "Write": writeErr, "CloseWrite": conn.CloseWrite(), "SetDeadline": conn.SetDeadline(time.Now()),
		"SetReadDeadline": conn.SetReadDeadline(time.Now()), "SetWriteDeadline": conn.SetWriteDeadline(time.Now()),
	} {
		if err != net.ErrClosed {
			t.Errorf("%s after Close = %v, want %v", who, err, net.ErrClosed)
		}
	}
	if err := conn.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

// A Write that Close cuts is no regular end to the peer.
func TestCloseDuringWrite(t *testing.T) { overEach(t, testCloseDuringWrite) }

func testCloseDuringWrite(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	writing := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, 8*mib)) // more than the gateway's window
		writing <- err
	}()
	io.ReadFull(s, make([]byte, 1))
	conn.Close()
	if err := <-writing; err != net.ErrClosed {
		t.Errorf("Write = %v, want %v", err, net.ErrClosed)
	}
	if code := readReset(t, s); code != wtproto.CodeNone {
		t.Errorf("reset with %v, want %v", code, wtproto.CodeNone)
	}
	waitPlaces(t, c, 0)
}

func TestReset(t *testing.T) { overEach(t, testReset) }

func testReset(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	const code = wtproto.CodeApplication + 0xabcdef
	conn.Reset(code)
	conn.Reset(code + 1)
	if got := readReset(t, s); got != code {
		t.Errorf("reset with %v, want %v", got, code)
	}
	if got := writeStopped(t, s); got != code {
		t.Errorf("stopped with %v, want %v", got, code)
	}
	if _, err := conn.Read(make([]byte, 1)); err != net.ErrClosed {
		t.Errorf("Read = %v, want %v", err, net.ErrClosed)
	}
	if _, err := conn.Write(make([]byte, 1)); err != net.ErrClosed {
		t.Errorf("Write = %v, want %v", err, net.ErrClosed)
	}
	if n := live(c).places(); n != 0 {
		t.Errorf("%d circuits after Reset", n)
	}
}

// Reset ends what Close let run.
func TestResetAfterClose(t *testing.T) { overEach(t, testResetAfterClose) }

func testResetAfterClose(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	conn.Close()
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	conn.Reset(wtproto.CodeDeclined)
	if got := writeStopped(t, s); got != wtproto.CodeDeclined {
		t.Errorf("stopped with %v, want %v", got, wtproto.CodeDeclined)
	}
	if n := live(c).places(); n != 0 {
		t.Errorf("%d circuits after Reset", n)
	}
}

// A reset by the other side is an error with its code, both ways, and for those that wait.
func TestResetByPeer(t *testing.T) { overEach(t, testResetByPeer) }

func testResetByPeer(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	for i, tt := range []struct {
		name string
		sent quic.StreamErrorCode
		want wtproto.Code
	}{
		{"peer gone", quic.StreamErrorCode(wtproto.CodePeerGone), wtproto.CodePeerGone},
		{"the program's own", 0x12345678, 0x12345678},
		{"the largest", 1<<32 - 1, 1<<32 - 1},
		{"no code of ours", 1 << 32, wtproto.CodePeerReset},
	} {
		if tt.sent > 1<<32-1 && g.sockets != nil {
			continue // which is a malformed signal
		}
		t.Run(tt.name, func(t *testing.T) {
			conn, s := r.circuit(topic, wtproto.CircuitID(i+1))
			reading := make(chan error, 1)
			go func() {
				_, err := conn.Read(make([]byte, 1))
				reading <- err
			}()
			s.CancelRead(tt.sent)
			s.CancelWrite(tt.sent)
			wantError(t, "Read", <-reading, tt.want, true)
			_, err := conn.Read(make([]byte, 1))
			wantError(t, "second Read", err, tt.want, true)
			_, err = conn.Write(make([]byte, 1))
			wantError(t, "Write", err, tt.want, true)
			wantError(t, "CloseWrite", conn.CloseWrite(), tt.want, true)
			waitPlaces(t, c, 0)
			if err := conn.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != net.ErrClosed {
				t.Errorf("Read after Close = %v, want %v", err, net.ErrClosed)
			}
		})
	}
}

// A peer sends its last words, ends, and takes nothing more: the words can still be read after
// Write has failed.
func TestLastWords(t *testing.T) { overEach(t, testLastWords) }

func testLastWords(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	s.Write([]byte("goodbye"))
	s.Close()
	s.CancelRead(quic.StreamErrorCode(wtproto.CodePeerReset))
	var err error
	poll(t, "the failure of Write", func() bool {
		_, err = conn.Write([]byte("x"))
		return err != nil
	})
	wantError(t, "Write", err, wtproto.CodePeerReset, true)
	if b, err := io.ReadAll(conn); err != nil || string(b) != "goodbye" {
		t.Errorf("read %q, %v", b, err)
	}
}

// A peer that takes nothing more ends the circuit: Close then waits for nothing.
func TestCloseAfterStop(t *testing.T) { overEach(t, testCloseAfterStop) }

func testCloseAfterStop(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	s.CancelRead(quic.StreamErrorCode(wtproto.CodePeerReset))
	poll(t, "the failure of Write", func() bool {
		_, err := conn.Write([]byte("x"))
		return err != nil
	})
	conn.Close()
	if n := live(c).places(); n != 0 {
		t.Errorf("%d circuits after Close", n)
	}
	if code := writeStopped(t, s); code != wtproto.CodeNone {
		t.Errorf("stopped with %v, want %v", code, wtproto.CodeNone)
	}
}

func TestDeadlines(t *testing.T) { overEach(t, testDeadlines) }

func testDeadlines(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	b := make([]byte, 1)
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if _, err := conn.Write(b); err != nil {
		t.Errorf("Write after a read deadline = %v", err)
	}
	conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
	if _, err := conn.Write(make([]byte, 8*mib)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	go io.Copy(io.Discard, s)
	conn.SetDeadline(time.Time{})
	if _, err := conn.Write(b); err != nil {
		t.Errorf("Write without a deadline = %v", err)
	}
	s.Write(b)
	if _, err := conn.Read(b); err != nil {
		t.Errorf("Read without a deadline = %v", err)
	}
}
