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

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestTCPDialerErrors(t *testing.T) {
	closed := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		src    Source
		addrs  []string
		code   wtproto.Code
		reason string
	}{
		{"refused", t.Context(), SourceConfigured, []string{closed}, wtproto.CodePeerUnreachable, "connection refused"},
		{"no time", late, SourceConfigured, []string{closed}, wtproto.CodePeerUnreachable, "no answer in time"},
		{"no such name", t.Context(), SourceConfigured, []string{"no such name.invalid:80"}, wtproto.CodePeerUnreachable, "name not resolved"},
		{"nothing", t.Context(), SourceConfigured, nil, wtproto.CodePeerUnreachable, "no address"},
		{"policy", t.Context(), SourcePublic, []string{"127.0.0.1:80"}, wtproto.CodeForbidden, "127.0.0.1:80 is in 127.0.0.0/8, which is not public"},
		{"policy, last of two", t.Context(), SourcePublic, []string{"10.0.0.1:80", "[::1]:80"}, wtproto.CodeForbidden, "[::1]:80 is in ::/0, which is not public"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewTCPDialer(testPolicy(t, PolicyConfig{}), tc.src).Dial(tc.ctx, tc.addrs...)
			wantCode(t, "Dial", err, tc.code, false)
			if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Reason != tc.reason {
				t.Errorf("reason = %q, want %q", e.Reason, tc.reason)
			}
		})
	}
}

// An address that does not answer costs its share of the time and no more.
func TestTCPDialerTakesTurns(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	silent := silentListener(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	s, err := NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured).Dial(ctx, silent.String(), ln.Addr().String())
	if err != nil {
		t.Fatalf("DialTCP = %v", err)
	}
	defer s.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// silentListener returns a loopback address whose listener is full, so that a further connection gets no answer.
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

// Close ends the dials in progress and the circuits that are open, and those that have ended are forgotten.
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
	dial := make(chan error, 1)
	go func() {
		_, err := d.Dial(context.WithoutCancel(t.Context()), silent.String())
		dial <- err
	}()
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
