package urgency

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a stream of which each Write waits to be let through, once it is shut.
type gate struct {
	pass chan error // for one Write each: what it returns; nil while the gate is open

	mu       sync.Mutex
	got      []byte    // guarded by mu
	writes   []int     // guarded by mu; the lengths
	closed   bool      // guarded by mu
	err      error     // guarded by mu; once a Write has failed
	deadline time.Time // guarded by mu
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	err := g.err
	g.mu.Unlock()
	if err == nil && g.pass != nil {
		err = <-g.pass
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err = err; err != nil {
		return 0, err
	}
	g.got = append(g.got, p...)
	g.writes = append(g.writes, len(p))
	return len(p), nil
}

func (g *gate) WriteWithLimit(p []byte, limit func(int) int) (int, error) {
	limit(len(p))
	return g.Write(p)
}

func (g *gate) SetPriority(int8, bool) {}

func (g *gate) SetWriteDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deadline = t
	return nil
}

func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return nil
}

// ended reports whether the stream was closed.
func (g *gate) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// text is what tests write: its bytes differ, so that their order shows.
type text struct{ all []byte }

func (x *text) next(n int) []byte {
	from := len(x.all)
	for i := range n {
		x.all = append(x.all, byte((from+i)*7/5))
	}
	return x.all[from:]
}

const shortSize = 1000

// fill returns a writer of a gate that is shut, and a Write of it, one of many short ones, that
// waits for room. Another stream has much to send too.
func fill(t *testing.T) (*gate, *Writer, *text, *Turns, <-chan error) {
	t.Helper()
	turns, g, x := new(Turns), new(gate), new(text)
	turns.writing.Add(1)
	w := NewWriter(g, turns)
	write := func(n int) error {
		p := slices.Clone(x.next(n))
		m, err := w.Write(p)
		if err == nil && m != n {
			t.Errorf("Write = %d, want %d", m, n)
		}
		clear(p) // it is the caller's again
		return err
	}
	if err := write(muchSize); err != nil {
		t.Fatal(err)
	}
	g.pass = make(chan error)
	for i := range 1 + gatherSize/shortSize { // the first one is at the gate
		if err := write(shortSize); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			synctest.Wait()
		}
	}
	full := make(chan error, 1)
	go func() { full <- write(shortSize) }()
	synctest.Wait()
	select {
	case err := <-full:
		t.Fatalf("a Write that has no room returned %v", err)
	default:
	}
	return g, w, x, turns, full
}

// Short Writes are sent together, in order, and the end behind them.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, w, x, turns, full := fill(t)
		g.pass <- nil
		synctest.Wait()
		if err := <-full; err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("late")); err != net.ErrClosed {
			t.Errorf("Write after Close = %v, want net.ErrClosed", err)
		}
		g.pass <- nil
		synctest.Wait()
		if g.ended() {
			t.Error("the stream was closed before the last bytes")
		}
		g.pass <- nil
		turns.Wait()
		if want := []int{muchSize, shortSize, gatherSize / shortSize * shortSize, shortSize}; !slices.Equal(g.writes, want) {
			t.Errorf("Writes of %v bytes, want %v", g.writes, want)
		}
		if !bytes.Equal(g.got, x.all) || !g.ended() {
			t.Errorf("%d bytes arrived of %d, or others, and the end: %v", len(g.got), len(x.all), g.ended())
		}
		if _, err := w.Write([]byte("late")); err != net.ErrClosed {
			t.Errorf("Write after the end = %v, want net.ErrClosed", err)
		}
	})
}

// A Write of many bytes waits for those before it.
func TestGatherThenMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, w, x, turns, full := fill(t)
		go func() {
			for range 4 {
				g.pass <- nil
			}
		}()
		if err := <-full; err != nil {
			t.Fatal(err)
		}
		if n, err := w.Write(x.next(gatherSize)); n != gatherSize || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		turns.Wait()
		if !bytes.Equal(g.got, x.all) {
			t.Errorf("%d bytes arrived of %d, or others", len(g.got), len(x.all))
		}
	})
}

// A deadline ends a Write that waits for room. What was taken is sent though the deadline has
// passed; the stream has it afterwards.
func TestGatherDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, w, x, turns, full := fill(t)
		began := time.Now()
		w.SetWriteDeadline(began.Add(time.Second))
		if err := <-full; err != os.ErrDeadlineExceeded || time.Since(began) != time.Second {
			t.Errorf("Write = %v after %v, want a deadline after 1s", err, time.Since(began))
		}
		if _, err := w.Write([]byte("late")); err != os.ErrDeadlineExceeded {
			t.Errorf("a later Write = %v, want a deadline", err)
		}
		if !g.deadline.IsZero() {
			t.Error("the stream has a deadline while it sends what was taken")
		}
		g.pass <- nil
		g.pass <- nil
		synctest.Wait()
		if taken := x.all[:len(x.all)-shortSize]; !bytes.Equal(g.got, taken) {
			t.Errorf("%d bytes arrived of %d, or others", len(g.got), len(taken))
		}
		if !g.deadline.Equal(began.Add(time.Second)) {
			t.Errorf("the stream's deadline is %v, want that of the Writes", g.deadline)
		}
		w.SetWriteDeadline(time.Time{})
		if !g.deadline.IsZero() {
			t.Errorf("the stream's deadline is %v, want none", g.deadline)
		}
		turns.Wait()
	})
}

// If the stream fails, so does a Write that waits, and all later ones.
func TestGatherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, w, _, turns, full := fill(t)
		broken := errors.New("broken")
		g.pass <- broken
		if err := <-full; err != broken {
			t.Errorf("Write = %v, want the stream's error", err)
		}
		for range 3 {
			if _, err := w.Write([]byte("late")); err != broken {
				t.Errorf("a later Write = %v, want the stream's error", err)
			}
		}
		turns.Wait()
	})
}

// Writes are the stream's own if no other stream has much to send, if there is a deadline, if they
// are long, or once the connection has ended.
func TestWhatIsNotGathered(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		set  func(w *Writer, turns *Turns)
	}{
		{"alone", shortSize, func(*Writer, *Turns) {}},
		{"with a deadline", shortSize, func(w *Writer, turns *Turns) {
			turns.writing.Add(1)
			w.SetWriteDeadline(time.Now().Add(time.Hour))
		}},
		{"long", gatherSize, func(_ *Writer, turns *Turns) { turns.writing.Add(1) }},
		{"after the end", shortSize, func(_ *Writer, turns *Turns) {
			turns.writing.Add(1)
			turns.Wait()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var turns Turns
				var g gate
				w := NewWriter(&g, &turns)
				write(t, w, muchSize)
				tt.set(w, &turns)
				g.pass = make(chan error)
				returned := make(chan struct{})
				go func() {
					write(t, w, tt.size)
					close(returned)
				}()
				synctest.Wait()
				select {
				case <-returned:
					t.Error("a Write returned before the stream has its bytes")
				default:
				}
				g.pass <- nil
				<-returned
			})
		})
	}
}

// Many streams with short Writes send them together, each as much as the others.
func TestGatherOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(100 * time.Microsecond)
		var turns Turns
		var all []*line
		for range 30 {
			s := w.line(-1)
			feed(s, &turns, 1200)
			all = append(all, s)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		least, most, total, writes := all[0].sentBytes(), 0, 0, 0
		for _, s := range all {
			least, most = min(least, s.sentBytes()), max(most, s.sentBytes())
			total, writes = total+s.sentBytes(), writes+s.writes
		}
		if most-least > 2*gatherSize {
			t.Errorf("one stream has sent %d bytes, another one %d, want a turn between them", least, most)
		}
		if total/writes < gatherSize/2 {
			t.Errorf("%d bytes were written to QUIC at once, want %d at least", total/writes, gatherSize/2)
		}
		if len(w.sent) < 49_500 {
			t.Errorf("%d frames in 5s, want one each 100 µs", len(w.sent))
		}
		w.end()
		turns.Wait()
	})
}

// Streams that nobody reads do not block one with short Writes.
func TestGatherBesideUnreadStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(100 * time.Microsecond)
		var turns Turns
		for range 49 {
			feed(w.line(muchSize+5000), &turns, 1200)
		}
		s := w.line(-1)
		feed(s, &turns, 1200)
		time.Sleep(49 * 5 * lookEvery)
		before := s.sentBytes()
		time.Sleep(time.Second)
		const least = 9500 * frameSize // the last frame of a Write is not full
		if n := s.sentBytes() - before; n < least {
			t.Errorf("%d bytes in a second beside streams that nobody reads, want %d at least", n, least)
		}
		w.end()
		turns.Wait()
	})
}
