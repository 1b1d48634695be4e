package splice

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// tcpPair returns both ends of a TCP connection on loopback.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestCopyPassesEveryByte(t *testing.T) {
	for _, size := range []int{0, 1, parkSize, smallSize - 1, smallSize, smallSize + 1, BufferSize, BufferSize + smallSize, growAfter*BufferSize + LargeSize, 3<<20 + 7} {
		in, src := tcpPair(t)
		dst, out := tcpPair(t)
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{}).Read(data)
		go func() {
			in.Write(data)
			in.CloseWrite()
		}()
		var c Copy
		done := make(chan error, 1)
		go func() {
			done <- c.Run(dst, src)
			dst.CloseWrite()
		}()
		got, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("%d bytes: Run = %v", size, err)
		}
		if sha256.Sum256(got) != sha256.Sum256(data) || c.Moved() != int64(size) {
			t.Errorf("%d bytes in, %d out, Moved %d", size, len(got), c.Moved())
		}
		if !c.Stalled().IsZero() {
			t.Errorf("%d bytes: Stalled after the end", size)
		}
	}
}

// A Read may return its last bytes together with the error.
func TestCopyTakesBytesThatComeWithTheEnd(t *testing.T) {
	var dst bytes.Buffer
	var c Copy
	if err := c.Run(&dst, lastRead{}); err != nil || dst.String() != "end" {
		t.Errorf("Run = %v, copied %q, want nil and \"end\"", err, dst.String())
	}
}

type lastRead struct{}

func (lastRead) Read(b []byte) (int, error)      { return copy(b, "end"), io.EOF }
func (lastRead) SetReadDeadline(time.Time) error { return nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)        { return 0, f.err }
func (f failing) Write([]byte) (int, error)       { return 0, f.err }
func (f failing) SetReadDeadline(time.Time) error { return nil }

func TestCopySaysWhichSideFailed(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name  string
		dst   io.Writer
		src   Source
		write bool
	}{
		{"source", io.Discard, failing{boom}, false},
		{"destination", failing{boom}, lastRead{}, true},
	} {
		var c Copy
		err := c.Run(tt.dst, tt.src)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Write != tt.write || !errors.Is(err, boom) {
			t.Errorf("%s: Run = %#v, want Write %v, boom", tt.name, err, tt.write)
		}
	}
}

// scripted yields its reads one after the other and then blocks until a deadline that is set
// meanwhile, as an idle stream does.
type scripted struct {
	reads   [][]byte
	sizes   []int // of the buffers it was given
	expired chan struct{}
	closed  chan struct{}
}

func newScripted(reads ...[]byte) *scripted {
	return &scripted{reads: reads, expired: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (s *scripted) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		s.expired <- struct{}{}
	}
	return nil
}

func (s *scripted) Read(b []byte) (int, error) {
	s.sizes = append(s.sizes, len(b))
	if len(s.reads) > 0 {
		n := copy(b, s.reads[0])
		if s.reads[0] = s.reads[0][n:]; len(s.reads[0]) == 0 {
			s.reads = s.reads[1:]
		}
		return n, nil
	}
	select {
	case <-s.expired:
		return 0, errTimeout{}
	case <-s.closed:
		return 0, io.EOF
	}
}

type errTimeout struct{}

func (errTimeout) Error() string     { return "timeout" }
func (errTimeout) Is(err error) bool { return err.Error() == "i/o timeout" }

// over is a source that has ended, by what its Read returns. It takes no deadline any more.
type over struct {
	reads []error // what Read returns: nil for a whole buffer
}

var errOver = errors.New("it is over")

func (o *over) Read(b []byte) (int, error) {
	if err := o.reads[0]; err != nil {
		o.reads = o.reads[1:]
		return 0, err
	}
	o.reads = o.reads[1:]
	return len(b), nil
}

func (o *over) SetReadDeadline(time.Time) error { return net.ErrClosed }

// A source that ends just when a copy comes to rest ends as its Read says. It once ended as one whose
// deadlines cannot be set.
func TestCopySaysHowTheSourceEnded(t *testing.T) {
	for name, src := range map[string]*over{
		"at rest":       {[]error{errTimeout{}, errOver}},
		"bytes":         {[]error{nil, errOver}},
		"after a while": {[]error{nil, errTimeout{}, errOver}},
	} {
		var c Copy
		err := c.Run(io.Discard, src)
		if name != "bytes" {
			if err != ErrIdle {
				t.Errorf("%s: Run = %v, want %v", name, err, ErrIdle)
			}
			err = c.Run(io.Discard, src)
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Write || e.Err != errOver {
			t.Errorf("%s: Run = %v, want what Read has returned", name, err)
		}
	}
}

// A copy that comes to rest holds no pooled buffer, whatever came before.
func TestCopyRestsWithoutBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(make([]byte, 3*BufferSize))
		var c Copy
		done := make(chan error, 1)
		run := func() { done <- c.Run(io.Discard, s) }
		go run()
		synctest.Wait()
		if h := c.Held(); h != BufferSize {
			t.Errorf("holds %d bytes while it copies, want %d", h, BufferSize)
		}
		s.SetReadDeadline(time.Unix(1, 0))
		if err := <-done; err != ErrIdle {
			t.Fatalf("Run = %v, want %v", err, ErrIdle)
		}
		go run()
		synctest.Wait()
		if last := s.sizes[len(s.sizes)-1]; last != parkSize || c.Held() != smallSize {
			t.Errorf("waits in a Read of %d bytes and holds %d, want %d and %d", last, c.Held(), parkSize, smallSize)
		}
		close(s.closed)
		if err := <-done; err != nil || c.Moved() != 3*BufferSize {
			t.Errorf("Run = %v after %d bytes, want nil after %d", err, c.Moved(), 3*BufferSize)
		}
	})
}

// A deadline that somebody else sets ends Run and loses nothing, wherever it waits. Idle says when
// one is due: if nothing has moved since the last call, and Run was not called again since.
func TestCopyIdle(t *testing.T) {
	in, src := tcpPair(t)
	dst, out := tcpPair(t)
	var c Copy
	done := make(chan error, 1)
	run := func() { go func() { done <- c.Run(dst, src) }() }
	idle := func(want bool) {
		t.Helper()
		if got := c.Idle(); got != want {
			t.Errorf("Idle = %v after %d bytes, want %v", got, c.Moved(), want)
		}
	}
	poke := func() {
		t.Helper()
		for {
			src.SetReadDeadline(time.Unix(1, 0))
			select {
			case err := <-done:
				if err != ErrIdle {
					t.Fatalf("Run = %v, want %v", err, ErrIdle)
				}
				src.SetReadDeadline(time.Time{})
				return
			case <-time.After(time.Millisecond): // the first one has it give its buffer back
			}
		}
	}
	var total int64
	pass := func(n int) {
		t.Helper()
		total += int64(n)
		data := make([]byte, n)
		rand.NewChaCha8([32]byte{byte(n)}).Read(data)
		if _, err := in.Write(data); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(out, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes did not pass: %v", n, err)
		}
		for c.Moved() < total { // they are counted after the Write
			runtime.Gosched()
		}
	}
	run()
	idle(false) // nobody knows yet
	idle(true)
	for _, n := range []int{1, parkSize, parkSize + 1, smallSize, 3 * BufferSize} {
		poke()
		run()
		pass(n)
		idle(false)
		pass(n)
		idle(false)
	}
	poke()
	run()
	for !c.parked.Load() {
		runtime.Gosched()
	}
	idle(false) // it waits in the least that there is
	in.CloseWrite()
	if err := <-done; err != nil || c.Moved() != total {
		t.Errorf("Run = %v after %d bytes, want nil after %d", err, c.Moved(), total)
	}
}

// takes calls itself with each Write.
type takes func(b []byte)

func (f takes) Write(b []byte) (int, error) { f(b); return len(b), nil }

// A copy takes a large buffer once a few reads in a row have filled the other one and were written
// quickly, and gives it back when the destination is slower.
func TestCopyGrows(t *testing.T) {
	const late, slower = 1, 2 // the first bytes of what takes longer to be written
	lasts := map[byte]time.Duration{late: quick + 1, slower: slow/2 + 1}
	synctest.Test(t, func(t *testing.T) {
		var reads [][]byte
		read := func(first byte, sizes ...int) {
			for _, n := range sizes {
				reads = append(reads, make([]byte, n))
			}
			reads[len(reads)-1][0] = first
		}
		read(0, smallSize, BufferSize, BufferSize, BufferSize, BufferSize-1) // not enough in a row
		read(late, BufferSize, BufferSize, BufferSize, BufferSize)           // nor here
		read(0, BufferSize, BufferSize, BufferSize, BufferSize)              // enough
		read(late, LargeSize, 1000, LargeSize)                               // it remains large
		read(slower, LargeSize)
		read(0, BufferSize, BufferSize)
		var want []int
		for _, n := range []struct{ times, size int }{{1, smallSize}, {12, BufferSize}, {4, LargeSize}, {3, BufferSize}} {
			want = append(want, slices.Repeat([]int{n.size}, n.times)...)
		}
		s := newScripted(reads...)
		var c Copy
		done := make(chan error, 1)
		go func() {
			done <- c.Run(takes(func(b []byte) {
				if last := int64(s.sizes[len(s.sizes)-1]); c.Held() != last {
					t.Errorf("Held = %d after a Read into %d bytes", c.Held(), last)
				}
				time.Sleep(lasts[b[0]])
			}), s)
		}()
		time.Sleep(time.Minute)
		close(s.closed)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.sizes, want) {
			t.Errorf("reads into %v bytes, want %v", s.sizes, want)
		}
	})
}

type blockedWriter chan struct{}

func (w blockedWriter) Write(b []byte) (int, error) { <-w; return len(b), nil }

// A destination that takes nothing for long is seen as stalled, and a deadline that passes
// meanwhile ends nothing.
func TestCopyStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(make([]byte, smallSize), make([]byte, BufferSize), []byte("x"))
		w := make(blockedWriter)
		var c Copy
		done := make(chan error, 1)
		go func() { done <- c.Run(w, s) }()
		w <- struct{}{}
		start := time.Now()
		time.Sleep(time.Minute)
		if got := c.Stalled(); !got.Equal(start) {
			t.Errorf("Stalled = %v, want %v", got, start)
		}
		w <- struct{}{}
		w <- struct{}{}
		close(s.closed)
		if err := <-done; err != nil || c.Moved() != smallSize+BufferSize+1 {
			t.Errorf("Run = %v after %d bytes", err, c.Moved())
		}
	})
}

// stepwise is a destination of which each Write takes a second.
type stepwise struct {
	taken chan int // takes the length of each Write
}

func (s *stepwise) Write(b []byte) (int, error) {
	time.Sleep(time.Second)
	s.taken <- len(b)
	return len(b), nil
}

// A destination that takes little at a time is slow, and not stalled: once the first Write has
// taken long, the next ones are short, and each of them counts. It once looked stalled for as long
// as 32 KiB took.
func TestCopySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = smallSize + 3*BufferSize
		s := newScripted(make([]byte, size))
		w := &stepwise{taken: make(chan int)}
		var c Copy
		done := make(chan error, 1)
		go func() { done <- c.Run(w, s) }()
		for total := 0; total < size; {
			n := <-w.taken
			if total += n; n > stepSize {
				t.Errorf("a Write of %d bytes, want %d at most", n, stepSize)
			}
			if s := c.Stalled(); !s.IsZero() && time.Since(s) > time.Second {
				t.Errorf("stalled for %v, after a byte was taken", time.Since(s))
			}
		}
		close(s.closed)
		if err := <-done; err != nil || c.Moved() != size {
			t.Errorf("Run = %v after %d bytes, want nil after %d", err, c.Moved(), size)
		}
	})
}

func BenchmarkCopy(b *testing.B) {
	in, src := tcpPair(b)
	dst, out := tcpPair(b)
	var c Copy
	go c.Run(dst, src)
	chunk := make([]byte, 1<<20)
	go func() {
		for {
			if _, err := in.Write(chunk); err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	buf := make([]byte, len(chunk))
	for b.Loop() {
		if _, err := io.ReadFull(out, buf); err != nil {
			b.Fatal(err)
		}
	}
}
