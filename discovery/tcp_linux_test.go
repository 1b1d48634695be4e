package discovery

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A machine that vanishes is no reset by the peer.
func TestTCPPeerGone(t *testing.T) {
	here, there := netns.New(t, "here"), netns.New(t, "there")
	dev, _ := netns.Link(t, here, "10.72.0.1/24", there, "10.72.0.2/24")
	var ln net.Listener
	var err error
	there.Do(t, func() { ln, err = net.Listen("tcp", "10.72.0.2:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var s Stream
	here.Do(t, func() {
		s, err = NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured).Dial(t.Context(), ln.Addr().String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fast := net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}
	if err := s.(*tcpStream).conn.SetKeepAliveConfig(fast); err != nil {
		t.Fatal(err)
	}
	here.IP(t, "link", "set", dev, "down")
	if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(make([]byte, 1))
	wantCode(t, "Read", err, wtproto.CodePeerGone, false)
}

// Close ends the dials in progress and the circuits that are open, and those that have ended are
// forgotten.
func TestTCPDialerClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured)
	var streams []Stream
	for range 2 {
		s, err := d.Dial(t.Context(), ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	streams[0].Reset(wtproto.CodeNone)
	if len(d.open) != 1 {
		t.Errorf("%d circuits remembered, want 1", len(d.open))
	}
	silent := silentListener(t)
	dial, begun := make(chan error, 1), asked{context.Background(), make(chan struct{}, 1)}
	go func() {
		_, err := d.Dial(begun, silent.String())
		dial <- err
	}()
	<-begun.ch
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(streams[1])
		read <- err
	}()
	d.Close()
	wantCode(t, "dial in progress", <-dial, wtproto.CodeShutdown, false)
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("open circuit read %v, want %v", err, net.ErrClosed)
	}
	_, err = d.Dial(t.Context(), ln.Addr().String())
	wantCode(t, "Dial after Close", err, wtproto.CodeShutdown, false)
	d.Close()
	select {
	case <-d.Done():
	default:
		t.Error("not done after Close")
	}
}

// A peer with Nagle's algorithm, as all of Node's are by default, sends the second of two short
// messages when the first one is acknowledged. Our kernel put that off for 40 ms, to see whether an
// answer could carry it: the first file of a hyperdrive came 120 ms later than it could.
func TestTCPAcknowledgesAtOnce(t *testing.T) {
	const begin, rounds, delay = 32, 32, 38 * time.Millisecond // a new connection is not delayed
	s, peer := tcpPair(t)
	if err := peer.SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	go func() {
		for b := make([]byte, 16); ; {
			if _, err := io.ReadFull(s, b); err != nil {
				return
			}
			if _, err := s.Write(b[:10]); err != nil {
				return
			}
		}
	}()
	fastest := time.Hour
	for i := range begin + rounds {
		began := time.Now()
		_, err1 := peer.Write(make([]byte, 4))
		_, err2 := peer.Write(make([]byte, 12))
		_, err3 := io.ReadFull(peer, make([]byte, 10))
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if i >= begin {
			fastest = min(fastest, time.Since(began))
		}
	}
	if fastest >= delay {
		t.Errorf("the fastest of %d exchanges took %v: each waited for an acknowledgement", rounds, fastest)
	}
}

// asked is a context that tells when somebody wants to know its deadline.
type asked struct {
	context.Context
	ch chan struct{}
}

func (a asked) Deadline() (time.Time, bool) {
	select {
	case a.ch <- struct{}{}:
	default:
	}
	return a.Context.Deadline()
}

// Of eight addresses of a machine seven did not answer: they were tried one after the other, each
// with its share of the time, and took 9.3 s of 10.
func TestTCPDialerTriesInTurn(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var addrs []string
	for range maxTried - 1 {
		addrs = append(addrs, silentListener(t).String())
	}
	addrs = append(addrs, ln.Addr().String())
	s, err := NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured).Dial(t.Context(), addrs...) // which has no deadline
	if err != nil {
		t.Fatalf("Dial = %v", err)
	}
	defer s.Close()
	if at := s.(Located).Remote(); at.String() != ln.Addr().String() {
		t.Errorf("connected to %v, want %v", at, ln.Addr())
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// silentListener returns a loopback address whose listener is full, so that a further connection
// gets no answer.
func silentListener(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port))
	c, err := net.Dial("tcp", addr.String()) // takes the one place
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return addr
}
