package udp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// Connections that stand go on after LeaveNew, and new ones get no answer, not even a refusal, from
// who reads the socket. They come about as soon as somebody else does.
func TestLeaveNew(t *testing.T) {
	server, client := listen(t, "udp", "127.0.0.1:0"), listen(t, "udp", "127.0.0.1:0")
	to := addrOf(server)
	atServer, atClient := connect(t, server, client, to)
	server.LeaveNew()
	trust := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}
	exchange(t, atClient, atServer, 1<<20, func(resume func()) { resume() })

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	other, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := quic.Dial(ctx, other, to, trust, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a new connection: %v, want no answer in time", err)
	}
	server.leaveNew.Store(false) // as the next process
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := quic.Dial(ctx, again, to, trust, nil); err != nil {
		t.Errorf("a new connection with the next process: %v", err)
	}
}

func TestIsFirst(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		want   bool
	}{
		"nothing":                        {nil, false},
		"a short header":                 {[]byte{0x40, 1, 2, 3, 4, 8}, false},
		"cut off":                        {[]byte{0xc0, 0, 0, 0, 1}, false},
		"an id of the client, of 8":      {[]byte{0xc0, 0, 0, 0, 1, 8}, true},
		"an id of the client, of 20":     {[]byte{0xd0, 0x6b, 0x33, 0x43, 0xcf, 20}, true},
		"an id of the server, of 4":      {[]byte{0xe0, 0, 0, 0, 1, 4}, false},
		"another version, which is told": {[]byte{0x80, 0x1a, 0x2a, 0x3a, 0x4a, 8}, true},
	} {
		if got := isFirst(c.packet); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
