package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/proxied"
	"github.com/swarmgate/swarmgate/server"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// ask1 dials a site from 127.0.0.n, asks once, and keeps the connection open.
func ask1(t *testing.T, s *site, n byte) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}}
	c, err := d.DialContext(t.Context(), "tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("127.0.0.%d got no answer: %v", n, err)
	}
	if got := body(t, r); got != "in" {
		t.Fatalf("127.0.0.%d was answered %q", n, got)
	}
	return c
}

// openSite serves a site on loopback until the test ends.
func openSite(t *testing.T, d doors) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveSite(t, l, d)
}

// serveSite is openSite on a listener.
func serveSite(t *testing.T, l net.Listener, d doors) *site {
	s := newSite("test", l, d, nil, say("in"), slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.serve() }()
	t.Cleanup(func() {
		s.close()
		<-done
	})
	return s
}

// One address with 1,024 idle connections once kept everybody else's info document waiting for
// 57 s.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	seen := make(chan server.LimitName, 2000)
	s := openSite(t, doors{-1, nil, func(l server.LimitName, _ wtproto.Code) { seen <- l }})
	for range maxHTTPConns {
		ask1(t, s, 2)
	}
	ask1(t, s, 3)
	for n := range byte(4) {
		for range maxHTTPConnsAddress {
			ask1(t, s, 10+n)
		}
	}
	few := ask1(t, s, 4)
	ask1(t, s, 3)
	count := make(map[server.LimitName]int)
	for len(seen) > 0 {
		count[<-seen]++
	}
	if count[server.LimitHTTPAddress] != maxHTTPConns-maxHTTPConnsAddress || count[server.LimitHTTP] == 0 {
		t.Errorf("%v were closed, want %d for their address and some for all", count, maxHTTPConns-maxHTTPConnsAddress)
	}
	few.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := few.Read(make([]byte, 1)); err == io.EOF {
		t.Error("the only connection of an address was closed")
	}
}

// Connections that have become WebSockets take no place of the site, which has few, and none of
// them is closed to make room.
func TestWebSocketsTakeNoPlaceOfTheSite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan server.LimitName, 2000)
	mux := http.NewServeMux()
	mux.Handle("/", say("in"))
	mux.HandleFunc(wtproto.Path, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.Copy(c, rw)
	})
	s := newSite("test", l, doors{-1, nil, func(l server.LimitName, _ wtproto.Code) { seen <- l }}, nil, mux, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.serve() }()
	t.Cleanup(func() {
		s.close()
		<-done
	})
	var sockets []net.Conn
	for range 2 * maxHTTPConnsAddress {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "GET "+wtproto.Path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nhello")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, c)
	}
	for range maxHTTPConnsAddress {
		ask1(t, s, 2)
	}
	for _, c := range sockets {
		io.WriteString(c, "again")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatalf("a WebSocket was closed: %v", err)
		}
	}
	if len(seen) > 0 {
		t.Errorf("%d connections were refused, the first for %s", len(seen), <-seen)
	}
}

// The connections of a trusted proxy are those of many clients, so no address's limits are theirs.
func TestProxyHasNoLimitsOfAnAddress(t *testing.T) {
	seen := make(chan server.LimitName, 2000)
	s := openSite(t, doors{1, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}, func(l server.LimitName, _ wtproto.Code) { seen <- l }})
	for range maxHTTPConnsAddress + 10 {
		ask1(t, s, 9)
	}
	if len(seen) > 0 {
		t.Errorf("%d connections of a proxy were refused, the first for %s", len(seen), <-seen)
	}
}

// A client that connects faster than an address may is closed, and no other client.
func TestConnectionsTooOften(t *testing.T) {
	seen := make(chan server.LimitName, 1)
	s := openSite(t, doors{1, nil, func(l server.LimitName, _ wtproto.Code) {
		select {
		case seen <- l:
		default:
		}
	}})
	ask1(t, s, 2)
	gwtest.Eventually(t, "one is refused", func() bool { // on a busy machine ten may take longer than the rate allows
		for range 10 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			if c, err := d.DialContext(t.Context(), "tcp", s.listener.Addr().String()); err == nil {
				defer c.Close()
			}
		}
		return len(seen) > 0
	})
	ask1(t, s, 3)
	if l := <-seen; l != server.LimitHandshakes {
		t.Errorf("refused for %s, want %s", l, server.LimitHandshakes)
	}
}

// Behind a balancer all clients once shared the limits of one address. The balancer's PROXY
// header counts; claims of clients do not.
func TestBalancerSaysWhoseConnectionItIs(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan server.LimitName, 10)
	l := proxied.Listen(inner, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")})
	s := serveSite(t, l, doors{1, nil, func(l server.LimitName, _ wtproto.Code) { refused <- l }})
	asks := func(n byte, begins, forwardedFor string) bool {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}}
		c, err := d.DialContext(t.Context(), "tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(c, begins+"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: "+forwardedFor+"\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err == nil && body(t, r) == "in"
	}
	of := func(client int) string {
		return fmt.Sprintf("PROXY TCP4 10.0.0.%d 127.0.0.1 1234 443\r\n", client)
	}
	for client := range 10 {
		if !asks(9, of(client), "10.0.0.99") {
			t.Errorf("client %d behind the balancer got no answer", client)
		}
	}
	if asks(9, "", "") {
		t.Error("the balancer need not say whose a connection is")
	}
	if asks(3, of(1), "") {
		t.Error("anybody may say whose their connection is")
	}
	const tries = 100 // more than the rate lets through meanwhile
	for name, again := range map[string]func(int) bool{
		"one client behind the balancer": func(n int) bool { return asks(9, of(20), fmt.Sprintf("10.0.1.%d", n)) },
		"one client beside it":           func(n int) bool { return asks(4, "", fmt.Sprintf("10.0.1.%d", n)) },
	} {
		answered := 0
		for n := range tries {
			if again(n) {
				answered++
			}
			for len(refused) > 0 {
				if got := <-refused; got != server.LimitHandshakes {
					t.Errorf("%s met %s", name, got)
				}
			}
		}
		if answered == tries {
			t.Errorf("%s was answered each time", name)
		}
	}
}
