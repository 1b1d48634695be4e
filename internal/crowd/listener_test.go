package crowd

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// listen returns a Listener on loopback, and how it is dialed from 127.0.0.n.
func listen(t *testing.T, cfg Config) (*Listener, func(n byte) net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(inner, cfg)
	t.Cleanup(func() { l.Close() })
	return l, func(n byte) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(30 * time.Second))
		return c
	}
}

// accept returns the next connection.
func accept(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ended reads c to its end.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("%v: %v, want that the other side closed it", c.LocalAddr(), err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestListenerClosesTheOldestOfTheBusiest(t *testing.T) {
	var refused []Reason
	l, dial := listen(t, Config{Total: 4, Each: 3, PerSecond: -1, Refused: func(r Reason) { refused = append(refused, r) }})
	var theirs, ours []net.Conn
	come := func(n byte) {
		theirs = append(theirs, dial(n))
		ours = append(ours, accept(t, l))
	}
	for range 4 {
		come(2)
	}
	ended(t, theirs[0])
	come(3)
	l.Renew(ours[1])
	come(4)
	ended(t, theirs[2])
	for _, c := range ours {
		c.Close()
		c.Close()
	}
	if n := l.crowd.Len(); n != 0 {
		t.Errorf("%d places after all were closed", n)
	}
	if len(refused) != 2 || refused[0] != GroupFull || refused[1] != Full {
		t.Errorf("refused %v, want one of the group and one of all", refused)
	}
}

func TestListenerRefusesWhoComesTooOften(t *testing.T) {
	var refused atomic.Int32
	l, dial := listen(t, Config{Total: -1, Each: -1, PerSecond: 0.001, Burst: 2, Refused: func(r Reason) {
		if r == TooOften {
			refused.Add(1)
		}
	}})
	for range 2 {
		dial(2)
		accept(t, l)
	}
	third, other := dial(2), dial(3)
	c := accept(t, l) // the third is passed over
	if c.RemoteAddr().String() != other.LocalAddr().String() {
		t.Errorf("%v was accepted, want %v", c.RemoteAddr(), other.LocalAddr())
	}
	ended(t, third)
	if n := refused.Load(); n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
}

// A request makes a connection the newest, below TLS too.
func TestListenerOfAnHTTPServer(t *testing.T) {
	l, dial := listen(t, Config{Total: 2, Each: -1, PerSecond: -1})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	s.Listener.Close()
	s.Listener = l
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateActive {
			l.Renew(c)
		}
	}
	s.StartTLS()
	defer s.Close()
	secure := func(n byte) (*tls.Conn, *bufio.Reader) {
		c := tls.Client(dial(n), &tls.Config{InsecureSkipVerify: true})
		return c, bufio.NewReader(c)
	}
	ask := func(c *tls.Conn, r *bufio.Reader) {
		t.Helper()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
	}
	first, firstReader := secure(2)
	ask(first, firstReader)
	second, secondReader := secure(2)
	ask(second, secondReader)
	ask(first, firstReader)
	third, thirdReader := secure(3)
	ask(third, thirdReader)
	ended(t, second)
	ask(first, firstReader)
}
