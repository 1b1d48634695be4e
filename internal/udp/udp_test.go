package udp

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// What quic-go asserts before it reads in batches, asks for buffers and uses control messages.
var (
	_ quic.OOBCapablePacketConn              = (*Conn)(nil)
	_ net.Conn                               = (*Conn)(nil)
	_ batchReader                            = (*Conn)(nil)
	_ interface{ SetWriteBuffer(int) error } = (*Conn)(nil)
)

func listen(t testing.TB, network, addr string) *Conn {
	t.Helper()
	c, err := Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addrOf(c *Conn) *net.UDPAddr { return c.LocalAddr().(*net.UDPAddr) }

func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 1500)}
		ms[i].OOB = make([]byte, 128)
	}
	return ms
}

func TestWriteToOtherAddr(t *testing.T) {
	c := listen(t, "udp4", "127.0.0.1:0")
	if n, err := c.WriteTo([]byte("hello"), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}); n != 0 || err == nil {
		t.Errorf("WriteTo of a TCP address = %d, %v; want 0 and an error", n, err)
	}
}

func TestListenErrors(t *testing.T) {
	taken := listen(t, "udp4", "127.0.0.1:0").LocalAddr().String()
	for _, tc := range []struct{ name, network, addr string }{
		{"no port", "udp", "127.0.0.1"},
		{"no such network", "tcp", "127.0.0.1:0"},
		{"other family", "udp6", "127.0.0.1:0"},
		{"taken", "udp4", taken},
	} {
		c, err := Listen(tc.network, tc.addr)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "udp: ") {
			t.Errorf("%s: Listen(%q, %q) = %v, %v; want an error of udp", tc.name, tc.network, tc.addr, c, err)
		}
	}
}

func TestWrapClosed(t *testing.T) {
	c := listen(t, "udp4", "127.0.0.1:0")
	c.Close()
	if runtime.GOOS != "linux" {
		return // there is nothing to do to the socket that could fail
	}
	if w, err := Wrap(c.UDPConn); w != nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wrap of a closed socket = %v, %v; want %v", w, err, net.ErrClosed)
	}
}

// readers are all ways to read that a Conn has; each returns what it read and from where.
var readers = []struct {
	name string
	read func(*Conn) (string, string, error)
}{
	{"ReadBatch", func(c *Conn) (string, string, error) {
		ms := messages(1)
		if _, err := c.ReadBatch(ms, 0); err != nil {
			return "", "", err
		}
		return string(ms[0].Buffers[0][:ms[0].N]), ms[0].Addr.String(), nil
	}},
	{"ReadMsgUDP", func(c *Conn) (string, string, error) {
		b := make([]byte, 1500)
		n, _, _, addr, err := c.ReadMsgUDP(b, nil)
		if err != nil {
			return "", "", err
		}
		return string(b[:n]), addr.String(), nil
	}},
	{"ReadFrom", func(c *Conn) (string, string, error) {
		b := make([]byte, 1500)
		n, addr, err := c.ReadFrom(b)
		if err != nil {
			return "", "", err
		}
		return string(b[:n]), addr.String(), nil
	}},
}

func TestRead(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, r := range readers {
			t.Run(r.name+" "+addr, func(t *testing.T) {
				c, from := listen(t, "udp", addr), listen(t, "udp", addr)
				for _, want := range []string{"one", "", "three"} { // an empty datagram is one
					if _, err := from.WriteTo([]byte(want), c.LocalAddr()); err != nil {
						t.Fatal(err)
					}
					got, sender, err := r.read(c)
					if err != nil || got != want || sender != from.LocalAddr().String() {
						t.Errorf("read = %q from %s, %v; want %q from %s", got, sender, err, want, from.LocalAddr())
					}
				}
			})
		}
	}
}

func TestDeadlineEndsRead(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			c := listen(t, "udp4", "127.0.0.1:0")
			for _, deadline := range []time.Time{time.Unix(1, 0), time.Now().Add(10 * time.Millisecond)} {
				if err := c.SetReadDeadline(deadline); err != nil {
					t.Fatal(err)
				}
				if _, _, err := r.read(c); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("read = %v, want %v", err, os.ErrDeadlineExceeded)
				}
			}
			// The socket still works.
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.WriteTo([]byte("hello"), c.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if got, _, err := r.read(c); got != "hello" || err != nil {
				t.Errorf("read = %q, %v; want hello", got, err)
			}
		})
	}
}

// Two readers wait, one in the kernel and one for the first: both have to be let go.
func TestCloseEndsReads(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			for range 20 {
				c := listen(t, "udp4", "127.0.0.1:0")
				errs := make(chan error)
				for range 2 {
					go func() {
						_, _, err := r.read(c)
						errs <- err
					}()
				}
				runtime.Gosched()
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := <-errs; !errors.Is(err, net.ErrClosed) {
						t.Errorf("read = %v, want %v", err, net.ErrClosed)
					}
				}
			}
		})
	}
}
