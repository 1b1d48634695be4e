//go:build !race

package hyperswarm

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// recorder passes TCP connections on, and keeps all bytes of both directions.
type recorder struct {
	Address string

	mu   sync.Mutex
	said []*bytes.Buffer // guarded by mu; one a direction of a connection
}

// record returns a recorder in front of a TCP service, until the test ends.
func record(t *testing.T, service string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{Address: l.Addr().String()}
	var wg sync.WaitGroup
	var open sync.Map
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", service)
			if err != nil {
				near.Close()
				continue
			}
			open.Store(near, nil)
			open.Store(far, nil)
			wg.Go(func() { r.pass(far, near) })
			wg.Go(func() { r.pass(near, far) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Range(func(c, _ any) bool {
			c.(net.Conn).Close()
			return true
		})
		wg.Wait()
	})
	return r
}

// pass copies until src ends, and then closes both.
func (r *recorder) pass(dst, src net.Conn) {
	said := new(bytes.Buffer)
	r.mu.Lock()
	r.said = append(r.said, said)
	r.mu.Unlock()
	io.Copy(dst, io.TeeReader(src, writer(func(b []byte) (int, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return said.Write(b)
	})))
	dst.Close()
	src.Close()
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// heard returns how many bytes passed, and how many of the texts are in them.
func (r *recorder) heard(texts [][]byte) (all, found int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, said := range r.said {
		all += said.Len()
	}
	for _, text := range texts {
		for _, said := range r.said {
			if bytes.Contains(said.Bytes(), text) {
				found++
				break
			}
		}
	}
	return all, found
}

// forget forgets what was said.
func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, said := range r.said {
		said.Reset()
	}
}
