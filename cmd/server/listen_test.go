package main

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/internal/freeport"
)

func TestUDPAndTCPHaveTheSamePort(t *testing.T) {
	for _, addr := range []hostPort{"127.0.0.1:0", ":0", "localhost:0"} {
		b, err := listenBoth(addr)
		if err != nil {
			t.Fatalf("%s: %v", addr, err)
		}
		udp, tcp := ipPort(b.udp.LocalAddr()), ipPort(b.tcp.Addr())
		if udp.Port() == 0 || udp != tcp {
			t.Errorf("%s: UDP on %v, TCP on %v", addr, udp, tcp)
		}
		b.udp.Close()
		b.tcp.Close()
	}
}

// A free UDP port need not be a free TCP port.
func TestAnotherPortIsTriedWhereTCPIsTaken(t *testing.T) {
	taken := &net.OpError{Op: "listen", Err: syscall.EADDRINUSE}
	for _, c := range []struct {
		addr  hostPort
		fails int // so many attempts
		err   error
		tries int
	}{
		{"127.0.0.1:0", 3, taken, 4},
		{"127.0.0.1:0", 1000, taken, portAttempts},
		{"127.0.0.1:0", 1, syscall.EACCES, 1},
		{hostPort(freeport.Address(t)), 1, taken, 1},
	} {
		tries := 0
		b, err := listenBothBy(func(network, address string) (net.Listener, error) {
			if tries++; tries <= c.fails {
				return nil, c.err
			}
			l, err := net.Listen(network, address)
			if errors.Is(err, syscall.EADDRINUSE) { // by another program
				tries--
			}
			return l, err
		}, c.addr)
		if tries != c.tries || (err == nil) != (tries > c.fails) || err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s, %d failures: %v after %d tries, want %d", c.addr, c.fails, err, tries, c.tries)
		}
		if err == nil {
			b.udp.Close()
			b.tcp.Close()
		}
	}
}

func TestFirst(t *testing.T) {
	errs := map[string]error{"a": errors.New("a"), "b": errors.New("b")}
	open := func(s string) (string, error) { return s, errs[s] }
	if got, err := first([]string{"a", "c", "d"}, open); got != "c" || err != nil {
		t.Errorf("first = %q, %v; want c", got, err)
	}
	if _, err := first([]string{"a", "b"}, open); err != errs["a"] {
		t.Errorf("first = %v, want the first error", err)
	}
}
