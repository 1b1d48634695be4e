package client

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/swarmgate/swarmgate/internal/udp"
)

// A probe that waited for room in the socket kept the lock meanwhile. So nothing was received, and
// Close waited for the probe, which only Close could have ended.
func TestProbeThatCannotBeSent(t *testing.T) {
	conn, err := udp.Listen("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &probingSocket{Conn: conn, refused: make(chan struct{}, 1)}
	defer s.Close()
	to := s.LocalAddr().(*net.UDPAddr)
	read := func() <-chan error {
		took := make(chan error, 1)
		go func() {
			_, err := s.ReadBatch([]ipv4.Message{{Buffers: [][]byte{make([]byte, 1500)}, OOB: make([]byte, 128)}}, 0)
			took <- err
		}()
		return took
	}
	if _, _, err := s.WriteMsgUDP(make([]byte, longestHeader), nil, to); err != nil {
		t.Fatal(err)
	}
	if err := <-read(); err != nil {
		t.Fatal(err)
	}

	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	full, room, sent := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		sent <- raw.Write(func(uintptr) bool { // meanwhile who wants to send has to wait
			close(full)
			<-room
			return true
		})
	}()
	<-full
	s.mu.Lock()
	s.asked = time.Now()
	s.armLocked(0) // look, which sends a probe
	s.mu.Unlock()
	poll(t, "a probe that waits", func() bool {
		if !s.mu.TryLock() {
			return true
		}
		defer s.mu.Unlock()
		return s.sending
	})
	other, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	took := read()
	if _, err := other.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-took:
		if err != nil {
			t.Error(err)
		}
	case <-deadline(t).Done():
		t.Error("nothing is received while a probe waits for room")
	}
	close(room)
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
