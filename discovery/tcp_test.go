package discovery

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/splice/splicetest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// tcpPair returns a stream and the plain connection of its peer.
func tcpPair(t *testing.T) (*tcpStream, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s, err := NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured).Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); peer.Close() })
	return s.(*tcpStream), peer.(*net.TCPConn)
}

func reset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// wantCode fails the test unless err holds a wire error with code.
func wantCode(t *testing.T, what string, err error, code wtproto.Code, remote bool) {
	t.Helper()
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != code || e.Remote != remote {
		t.Errorf("%s = %v, want %v, remote %v", what, err, code, remote)
	}
}

// until waits for f to be true.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !f(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestTCPHalfClose(t *testing.T) {
	s, peer := tcpPair(t)
	sent := bytes.Repeat([]byte("swarm"), 100_000)
	go func() {
		_, _ = s.Write(sent)
		_ = s.CloseWrite()
	}()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("peer read %d bytes, %v, want %d", len(got), err, len(sent))
	}
	if _, err := peer.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	if got, err := io.ReadAll(s); err != nil || string(got) != "answer" {
		t.Errorf("read %q, %v after CloseWrite", got, err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Errorf("second CloseWrite = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

// A peer that ended its own side still gets what we write, and Close after our end takes nothing
// back.
func TestTCPCloseKeepsBytes(t *testing.T) {
	s, peer := tcpPair(t)
	if err := errors.Join(peer.CloseWrite(), peer.SetReadBuffer(64<<10), s.conn.SetWriteBuffer(2<<20)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("Read = %d, %v, want EOF", n, err)
	}
	sent := bytes.Repeat([]byte("x"), 1<<20) // most of it waits on our side
	if _, err := s.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.CloseWrite(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(peer); err != nil || len(got) != len(sent) {
		t.Errorf("peer read %d bytes, %v, want %d", len(got), err, len(sent))
	}
}

func TestTCPEndsAreResets(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(s *tcpStream, peer *net.TCPConn)
	}{
		{"Reset", func(s *tcpStream, _ *net.TCPConn) { s.Reset(wtproto.CodeDeclined) }},
		{"early Close", func(s *tcpStream, _ *net.TCPConn) { s.Close() }},
		{"Close after the peer's end alone", func(s *tcpStream, peer *net.TCPConn) {
			peer.CloseWrite()
			until(t, "end seen", s.sawEOF.Load)
			s.Close()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, peer := tcpPair(t)
			blocked := make(chan error, 1)
			go func() {
				_, err := s.Read(make([]byte, 1))
				blocked <- err
			}()
			tc.end(s, peer)
			if err := <-blocked; !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
				t.Errorf("blocked Read = %v, want %v", err, net.ErrClosed)
			}
			if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("peer got %v, want a reset", err)
			}
			if _, err := s.Write([]byte("x")); err == nil {
				t.Error("Write after the end = nil")
			}
			s.Reset(wtproto.CodeNone)
			if err := s.Close(); err != nil {
				t.Errorf("Close after the end = %v", err)
			}
		})
	}
}

// What the peer writes after a Close that came with our end alone is refused.
func TestTCPCloseAfterOwnEnd(t *testing.T) {
	s, peer := tcpPair(t)
	if err := errors.Join(s.CloseWrite(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(peer); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer read %v, want its end or a reset", err)
	}
	var err error
	for err == nil {
		_, err = peer.Write([]byte("x"))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("peer wrote, and got %v, want a reset", err)
	}
}

func TestTCPPeerResets(t *testing.T) {
	t.Run("while we read", func(t *testing.T) {
		s, peer := tcpPair(t)
		got := make(chan error, 1)
		go func() {
			_, err := s.Read(make([]byte, 1))
			got <- err
		}()
		reset(t, peer)
		wantCode(t, "Read", <-got, wtproto.CodePeerReset, true)
		_, err := s.Write([]byte("x"))
		wantCode(t, "Write", err, wtproto.CodePeerReset, true)
		_, err = s.Read(make([]byte, 1))
		wantCode(t, "second Read", err, wtproto.CodePeerReset, true)
	})
	t.Run("after our end", func(t *testing.T) {
		s, peer := tcpPair(t)
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		reset(t, peer)
		_, err := s.Read(make([]byte, 1))
		wantCode(t, "Read", err, wtproto.CodePeerReset, true)
	})
	t.Run("by closing with unread bytes", func(t *testing.T) {
		s, peer := tcpPair(t)
		if _, err := s.Write([]byte("never read")); err != nil {
			t.Fatal(err)
		}
		if err := peer.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		peer.Close()
		_, err := s.Read(make([]byte, 1))
		wantCode(t, "Read", err, wtproto.CodePeerReset, true)
	})
	t.Run("behind its end", func(t *testing.T) {
		s, peer := tcpPair(t)
		peer.Close()
		if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("Read = %d, %v, want EOF", n, err)
		}
		var err error
		for err == nil {
			_, err = s.Write([]byte("x"))
		}
		wantCode(t, "Write", err, wtproto.CodePeerReset, true)
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("Read after EOF = %v, want EOF again", err)
		}
	})
}

func TestTCPOwnDoing(t *testing.T) {
	s, _ := tcpPair(t)
	if err := s.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Read(make([]byte, 1))
	if _, coded := errors.AsType[*wtproto.Error](err); coded || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Write([]byte("x"))
	if _, coded := errors.AsType[*wtproto.Error](err); coded || err == nil {
		t.Errorf("Write after CloseWrite = %v, want an error without a code", err)
	}
}

func TestTCPErrorCodes(t *testing.T) {
	for _, err := range []error{syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETDOWN} {
		wantCode(t, err.Error(), tcpError(&net.OpError{Op: "read", Err: os.NewSyscallError("read", err)}), wtproto.CodePeerGone, false)
	}
}

// A copy that comes to rest just when bytes come, or the peer's end, loses neither.
func TestTCPAtRest(t *testing.T) {
	data := bytes.Repeat([]byte("0123456"), 10_000)
	for name, end := range map[string]func(*net.TCPConn){
		"FIN": func(peer *net.TCPConn) { peer.CloseWrite() },
		"RST": func(peer *net.TCPConn) { reset(t, peer) },
	} {
		for range 20 {
			s, peer := tcpPair(t)
			var got bytes.Buffer
			ended := make(chan error, 1)
			go func() { ended <- splicetest.Restless(&got, s) }()
			for part := range slices.Chunk(data, 999) {
				if _, err := peer.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			end(peer)
			err := <-ended
			if name == "RST" {
				wantCode(t, name, err, wtproto.CodePeerReset, true)
				if !bytes.HasPrefix(data, got.Bytes()) {
					t.Errorf("%s: other bytes than were sent", name)
				}
			} else if err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%s: %v after %d bytes, want nil after %d", name, err, got.Len(), len(data))
			}
		}
	}
}
