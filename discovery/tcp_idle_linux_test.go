package discovery

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// awaitReadable waits until a stream says that it has something to read.
func awaitReadable(t *testing.T, s *tcpStream) {
	t.Helper()
	readable := make(chan struct{}, 2)
	if !s.OnReadable(func() { readable <- struct{}{} }) {
		t.Fatal("the stream does not say when it is readable")
	}
	select {
	case <-readable:
	case <-time.After(time.Minute):
		t.Fatal("the stream does not say that it is readable")
	}
}

func TestOnReadable(t *testing.T) {
	for name, happens := range map[string]func(*tcpStream, *net.TCPConn){
		"bytes":        func(_ *tcpStream, peer *net.TCPConn) { peer.Write([]byte("x")) },
		"FIN":          func(_ *tcpStream, peer *net.TCPConn) { peer.CloseWrite() },
		"RST":          func(_ *tcpStream, peer *net.TCPConn) { reset(t, peer) },
		"our Reset":    func(s *tcpStream, _ *net.TCPConn) { s.Reset(wtproto.CodeNone) },
		"our Close":    func(s *tcpStream, _ *net.TCPConn) { s.Close() },
		"FIN, our FIN": func(s *tcpStream, peer *net.TCPConn) { s.CloseWrite(); peer.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			s, peer := tcpPair(t)
			called := make(chan struct{}, 2)
			if !s.OnReadable(func() { called <- struct{}{} }) {
				t.Fatal("the stream does not say when it is readable")
			}
			select {
			case <-called:
				t.Fatal("called before there was something")
			case <-time.After(20 * time.Millisecond):
			}
			happens(s, peer)
			select {
			case <-called:
			case <-time.After(time.Minute):
				t.Fatal("not called")
			}
			s.SetReadDeadline(time.Now().Add(time.Minute))
			n, err := s.Read(make([]byte, 1)) // does not wait
			if wrong := err == nil != (name == "bytes"); wrong || n == 0 && err == nil {
				t.Errorf("Read = %d, %v", n, err)
			}
			s.Reset(wtproto.CodeNone)
			select {
			case <-called:
				t.Error("called twice")
			case <-time.After(20 * time.Millisecond):
			}
			if s.OnReadable(func() { t.Error("a closed stream is readable") }) {
				t.Error("a closed stream says that it will be readable")
			}
		})
	}
}

// What was there before is told too, as often as somebody asks.
func TestOnReadableAtOnce(t *testing.T) {
	s, peer := tcpPair(t)
	peer.Write([]byte("xyz"))
	b := make([]byte, 1)
	for range 3 {
		awaitReadable(t, s)
		awaitReadable(t, s) // nothing was read in between
		if _, err := s.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	reset(t, peer)
	awaitReadable(t, s)
	if _, err := s.Read(b); err == nil {
		t.Error("Read = nil, want the peer's reset")
	} else {
		wantCode(t, "Read", err, wtproto.CodePeerReset, true)
	}
}

// Many connections that wait, get bytes and are closed, all at any moment: each reader is called
// once for each time that it waits, or learns that it has to read. In the end no goroutine is left.
func TestManyOnReadable(t *testing.T) {
	const conns, words = 50, 200
	var wg sync.WaitGroup
	for range conns {
		s, peer := tcpPair(t)
		closes := rand.IntN(3) == 0
		wg.Go(func() {
			for range words {
				if _, err := peer.Write([]byte("w")); err != nil {
					if !closes {
						t.Error(err)
					}
					return
				}
				for range rand.IntN(20) {
					runtime.Gosched()
				}
			}
			peer.CloseWrite()
		})
		if closes {
			wg.Go(func() {
				<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
				s.Reset(wtproto.CodeNone)
			})
		}
		read, ended := 0, make(chan error, 1)
		var next func()
		next = func() {
			n, err := s.Read(make([]byte, 1+rand.IntN(3)))
			read += n
			switch {
			case err != nil:
				ended <- err
			case !s.OnReadable(next):
				go next()
			}
		}
		wg.Go(func() {
			next()
			select {
			case err := <-ended:
				if !closes && (err != io.EOF || read != words) || closes && err != io.EOF && !errors.Is(err, net.ErrClosed) {
					t.Errorf("%d bytes, %v; closed by us: %v", read, err, closes)
				}
			case <-time.After(time.Minute):
				t.Errorf("a reader was not called after %d bytes; closed by us: %v", read, closes)
			}
		})
	}
	wg.Wait()
	idle.mu.Lock()
	defer idle.mu.Unlock()
	if len(idle.waiting) > 0 || idle.epoll != nil {
		t.Errorf("%d connections still wait", len(idle.waiting))
	}
}
