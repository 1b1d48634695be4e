//go:build unix

package discovery

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/wtproto"
)

// arrived waits until the kernel has seen the reset of s.
func arrived(t *testing.T, s *tcpStream) {
	t.Helper()
	until(t, "reset seen", func() bool {
		var err error
		if e := s.calls.raw.Control(func(fd uintptr) { _, err = unix.Getpeername(int(fd)) }); e != nil {
			t.Fatal(e)
		}
		return err != nil
	})
}

// Of two circuits that ended regularly in the same moment, one was told to have been reset, 6
// times in 95,137, and its last bytes were dropped: Read asked first whether our own end had been
// sent and then whether the socket was still connected, and the end was sent in between.
func TestTCPBothEndAtOnce(t *testing.T) {
	const dialers, rounds = 64, 300
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := bytes.Repeat([]byte("last"), 64)
	var peers sync.WaitGroup
	peers.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			peers.Go(func() {
				defer c.Close()
				c.Write(answer)
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			})
		}
	})
	defer peers.Wait()
	defer ln.Close()
	d := NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured)
	defer d.Close()
	var wrong atomic.Int64
	var all sync.WaitGroup
	for range dialers {
		all.Go(func() {
			for range rounds {
				s, err := d.Dial(t.Context(), ln.Addr().String())
				if err != nil {
					t.Errorf("Dial = %v", err)
					return
				}
				var both sync.WaitGroup
				both.Go(func() {
					if err := s.CloseWrite(); err != nil {
						t.Errorf("CloseWrite = %v", err)
					}
				})
				got, err := io.ReadAll(s)
				both.Wait()
				if err != nil || !bytes.Equal(got, answer) {
					wrong.Add(1)
					t.Logf("read %d bytes, %v, want %d", len(got), err, len(answer))
				}
				s.Close()
			}
		})
	}
	all.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d circuits did not end as they should", n, dialers*rounds)
	}
}

// Whoever is told of a reset first, all others say the same: the kernel tells of it once, and what
// is left for the others looks like an end, so a cut answer looked like a whole one.
func TestTCPResetIsToldOnce(t *testing.T) {
	t.Run("to CloseWrite", func(t *testing.T) {
		s, peer := tcpPair(t)
		reset(t, peer)
		arrived(t, s)
		wantCode(t, "CloseWrite", s.CloseWrite(), wtproto.CodePeerReset, true)
		_, err := s.Read(make([]byte, 1))
		wantCode(t, "Read", err, wtproto.CodePeerReset, true)
	})
	t.Run("to Write", func(t *testing.T) {
		s, peer := tcpPair(t)
		reset(t, peer)
		arrived(t, s)
		_, err := s.Write([]byte("x"))
		wantCode(t, "Write", err, wtproto.CodePeerReset, true)
		_ = s.CloseWrite()
		_, err = s.Read(make([]byte, 1))
		wantCode(t, "Read", err, wtproto.CodePeerReset, true)
	})
	t.Run("to a Write that has not returned yet", func(t *testing.T) {
		s, peer := tcpPair(t)
		reset(t, peer)
		arrived(t, s)
		s.calls.mu.RLock() // as the system call of a Write does
		var err error
		if e := s.calls.raw.Control(func(fd uintptr) { _, err = syscall.Write(int(fd), []byte("x")) }); e != nil || err != syscall.ECONNRESET {
			t.Fatalf("plain write = %v, %v", err, e)
		}
		got := make(chan error, 1)
		go func() {
			_, err := s.Read(make([]byte, 1))
			got <- err
		}()
		s.calls.note(err)
		s.calls.mu.RUnlock()
		wantCode(t, "Read", <-got, wtproto.CodePeerReset, true)
	})
	t.Run("to both at once", func(t *testing.T) {
		for range 200 {
			s, peer := tcpPair(t)
			var both sync.WaitGroup
			var r, w error
			both.Go(func() {
				for r == nil {
					_, r = s.Read(make([]byte, 64))
				}
			})
			both.Go(func() {
				for w == nil {
					_, w = s.Write([]byte("x"))
				}
				_ = s.CloseWrite()
			})
			reset(t, peer)
			both.Wait()
			wantCode(t, "Read", r, wtproto.CodePeerReset, true)
			wantCode(t, "Write", w, wtproto.CodePeerReset, true)
			s.Close()
		}
	})
}

// A loss that Write was told of is no end to Read, and is told as a loss to both.
func TestTCPLossIsToldOnce(t *testing.T) {
	s, peer := tcpPair(t)
	s.calls.note(syscall.ETIMEDOUT) // as the kernel says it to a Write
	peer.Close()
	_, err := s.Read(make([]byte, 1))
	wantCode(t, "Read", err, wtproto.CodePeerGone, false)
	for err = nil; err == nil; {
		_, err = s.Write([]byte("x"))
	}
	wantCode(t, "Write", err, wtproto.CodePeerGone, false)
}

// An end that came before a reset is an end: all that the peer sent was read.
func TestTCPResetAfterEnd(t *testing.T) {
	s, peer := tcpPair(t)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	var err error
	for err == nil {
		_, err = s.Write([]byte("x"))
	}
	wantCode(t, "Write", err, wtproto.CodePeerReset, true)
	if got, err := io.ReadAll(s); err != nil || string(got) != "last" {
		t.Errorf("read %q, %v, want all and the end", got, err)
	}
}

// Reading and writing take no memory.
func TestTCPAllocs(t *testing.T) {
	s, peer := tcpPair(t)
	b := make([]byte, 1024)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, b); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, b); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a message both ways, want none", n)
	}
}
