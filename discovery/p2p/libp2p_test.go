package p2p

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/p2p/security/noise"
)

// noting notes the longest Write to a connection.
type noting struct {
	net.Conn
	mu      sync.Mutex
	longest int // guarded by mu
}

func (c *noting) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.longest = max(c.longest, len(p))
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// A message of yamux is as long as one of Noise at most. Each one of 64 KiB once became two of Noise,
// and two writes, of which the second had 17 bytes.
func TestMessagesFitNoise(t *testing.T) {
	near, far := net.Pipe()
	n := &noting{Conn: near}
	out, err := newMuxer(time.Minute).NewConn(n, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := newMuxer(time.Minute).NewConn(far, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	const size = 1 << 20
	got := make(chan int64, 1)
	go func() {
		s, err := in.AcceptStream()
		if err != nil {
			got <- -1
			return
		}
		n, _ := io.Copy(io.Discard, s)
		got <- n
	}()
	s, err := out.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != size {
		t.Errorf("%d bytes arrived, want %d", n, size)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.longest != noise.MaxPlaintextLength {
		t.Errorf("the longest message has %d bytes, want %d", n.longest, noise.MaxPlaintextLength)
	}
}
