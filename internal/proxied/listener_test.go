package proxied

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"
)

const balancer, stranger = "198.51.100.1:5000", "192.0.2.1:5000"

// line is a listener of connections that a test makes.
type line struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *line) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *line) Close() error   { close(l.closed); return nil }
func (l *line) Addr() net.Addr { return addr("198.51.100.2:443") }

func addr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// end is an end of a connection that comes from somewhere.
type end struct {
	net.Conn
	from string
}

func (e end) RemoteAddr() net.Addr { return addr(e.from) }

// connect makes a connection that comes from there, and returns the other end of it.
func (l *line) connect(from string) net.Conn {
	here, there := net.Pipe()
	l.conns <- end{here, from}
	return there
}

// inBubble runs a test with a listener that trusts the balancer. All of its goroutines have to
// end.
func inBubble(t *testing.T, test func(t *testing.T, inner *line, l *Listener)) {
	synctest.Test(t, func(t *testing.T) {
		inner := &line{make(chan net.Conn), make(chan struct{})}
		l := Listen(inner, []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")})
		test(t, inner, l)
		l.Close()
		l.Close()
		if c, err := l.Accept(); c != nil || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close = %v, %v", c, err)
		}
	})
}

// header returns a header of version 1 or 2.
func header(t *testing.T, version byte, client string) string {
	t.Helper()
	gateway := "198.51.100.2:443"
	if strings.HasPrefix(client, "[") {
		gateway = "[2001:db8::2]:443"
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, addr(client), addr(gateway)).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWhoseConnectionItIs(t *testing.T) {
	const v2, unspec = "\r\n\r\n\x00\r\nQUIT\n", "\x20\x00\x00\x00"
	for _, test := range []struct {
		name, from, sends string
		want              string // the remote address; empty if it is closed
		reads             string
	}{
		{"version 1", balancer, header(t, 1, "203.0.113.7:1234") + "hello", "203.0.113.7:1234", "hello"},
		{"version 1, IPv6", balancer, header(t, 1, "[2001:db8::7]:1234") + "hello", "[2001:db8::7]:1234", "hello"},
		{"version 2", balancer, header(t, 2, "203.0.113.7:1234") + "hello", "203.0.113.7:1234", "hello"},
		{"version 2, IPv6", balancer, header(t, 2, "[2001:db8::7]:1234") + "hello", "[2001:db8::7]:1234", "hello"},
		{"a balancer that looks whether we are there", balancer, v2 + unspec + "hello", balancer, "hello"},
		{"a balancer that does not know", balancer, "PROXY UNKNOWN\r\nhello", balancer, "hello"},
		{"the address of a file", balancer, v2 + "\x21\x31\x00\xd8" + strings.Repeat("a", 216) + "hello", "", ""},
		{"a header of UDP", balancer, v2 + "\x21\x12\x00\x0c" + "abcdefghijkl" + "hello", "", ""},
		{"a version that there is not", balancer, v2 + "\x31\x11\x00\x0c" + "abcdefghijkl" + "hello", "", ""},
		{"a header that is too long", balancer, v2 + "\x21\x11\xff\xff" + strings.Repeat("a", 0xffff), "", ""},
		{"a bad address", balancer, "PROXY TCP4 203.0.113.777 198.51.100.2 1234 443\r\nhello", "", ""},
		{"a balancer that says nothing of it", balancer, "GET / HTTP/1.1\r\n", "", ""},
		{"a header by somebody else", stranger, header(t, 1, "203.0.113.7:1234"), stranger, header(t, 1, "203.0.113.7:1234")},
		{"no header by somebody else", stranger, "hello", stranger, "hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, inner *line, l *Listener) {
				c := inner.connect(test.from)
				wrote := make(chan error, 1)
				go func() {
					_, err := c.Write([]byte(test.sends))
					wrote <- err
					if test.want != "" {
						c.Close()
					}
				}()
				if test.want == "" {
					if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Errorf("Read = %d, %v, want that it is closed", n, err)
					}
					<-wrote
					return
				}
				got, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				if got.RemoteAddr().String() != test.want {
					t.Errorf("it is %v, want %s", got.RemoteAddr(), test.want)
				}
				time.Sleep(2 * headerWithin) // what bounded the header does not bound what follows
				if b, err := io.ReadAll(got); err != nil || string(b) != test.reads {
					t.Errorf("read %q, %v, want %q", b, err, test.reads)
				}
				<-wrote
				got.Close()
			})
		})
	}
}

// A connection that does not say whose it is holds up nobody, and is closed.
func TestSilentConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, inner *line, l *Listener) {
		began := time.Now()
		var silent []net.Conn
		for range maxPending {
			silent = append(silent, inner.connect(balancer))
		}
		silent[0].Write([]byte("PRO"))
		if _, err := inner.connect(balancer).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("one too many: %v, want that it is closed", err)
		}
		inner.connect(stranger)
		if c, err := l.Accept(); err != nil || c.RemoteAddr().String() != stranger || time.Since(began) != 0 {
			t.Errorf("a stranger: %v, %v, after %v", c, err, time.Since(began))
		}
		for _, c := range silent {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(began) != headerWithin {
				t.Fatalf("a silent one: %v after %v, want that it is closed after %v", err, time.Since(began), headerWithin)
			}
		}
		synctest.Wait()
		c := inner.connect(balancer)
		go c.Write([]byte(header(t, 2, "203.0.113.7:1234")))
		if c, err := l.Accept(); err != nil || c.RemoteAddr().String() != "203.0.113.7:1234" {
			t.Errorf("the next one: %v, %v", c, err)
		}
	})
}

// Close ends connections that wait for their headers, and those that nobody has accepted.
func TestCloseEndsThoseThatWait(t *testing.T) {
	inBubble(t, func(t *testing.T, inner *line, l *Listener) {
		waits, known := inner.connect(balancer), inner.connect(balancer)
		go known.Write([]byte(header(t, 1, "203.0.113.7:1234")))
		synctest.Wait()
		l.Close()
		for _, c := range []net.Conn{waits, known} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("Read = %v, want that it is closed", err)
			}
		}
	})
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.7 198.51.100.2 1234 443\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0cabcdefghijkl"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := readHeader(still{bytes.NewReader(b)})
		if err != nil {
			return
		}
		if _, ok := c.RemoteAddr().(*net.TCPAddr); !ok {
			t.Errorf("%q is of %v", b, c.RemoteAddr())
		}
		if rest, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(b, rest) || len(rest) == len(b) {
			t.Errorf("%q leaves %q, %v", b, rest, err)
		}
	})
}

// still is a connection of which all has come.
type still struct{ *bytes.Reader }

func (still) Write(b []byte) (int, error)      { return len(b), nil }
func (still) Close() error                     { return nil }
func (still) LocalAddr() net.Addr              { return addr("198.51.100.2:443") }
func (still) RemoteAddr() net.Addr             { return addr(balancer) }
func (still) SetDeadline(time.Time) error      { return nil }
func (still) SetReadDeadline(time.Time) error  { return nil }
func (still) SetWriteDeadline(time.Time) error { return nil }
