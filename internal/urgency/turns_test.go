package urgency

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// frameSize is how many bytes a packet of the wire has.
const frameSize = 1150

// wire is a connection: it sends a frame of each stream that has something to send, in turn.
type wire struct {
	stop context.CancelFunc

	mu    sync.Mutex
	lines []*line
	ready []*line // that can send
	sent  []*line // whose frames were sent
	err   error   // of Writes, after the end
}

// line is a stream of a wire.
type line struct {
	wire *wire

	// guarded by wire.mu
	window int // bytes that it may send; negative for any number
	data   int // to be sent, of a Write
	limit  func(int) int
	err    error // of a Write

	wrote  chan struct{}
	total  int // guarded by wire.mu
	writes int // guarded by wire.mu; calls of Write
}

// newWire returns a wire that sends a frame in so much time.
func newWire(every time.Duration) *wire {
	ctx, stop := context.WithCancel(context.Background())
	w := &wire{stop: stop}
	go func() {
		for tick := time.NewTicker(every); ; w.send() {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

func (w *wire) line(window int) *line {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &line{wire: w, window: window, wrote: make(chan struct{}, 1)}
	w.lines = append(w.lines, s)
	return s
}

// send sends the next frame.
func (w *wire) send() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ready) == 0 {
		return
	}
	s := w.ready[0]
	w.ready = slices.Delete(w.ready, 0, 1)
	n := min(frameSize, s.data)
	if s.window >= 0 {
		n = min(n, s.window)
		s.window -= n
	}
	if s.limit != nil && s.limit(n) != n {
		panic("a frame was cut")
	}
	s.data -= n
	s.total += n
	w.sent = append(w.sent, s)
	switch {
	case s.data == 0:
		s.wrote <- struct{}{}
	case s.window != 0:
		w.ready = append(w.ready, s)
	}
}

func (s *line) Write(p []byte) (int, error) { return s.WriteWithLimit(p, nil) }

func (s *line) WriteWithLimit(p []byte, limit func(int) int) (int, error) {
	s.wire.mu.Lock()
	if err := s.wire.err; err != nil || len(p) == 0 {
		s.wire.mu.Unlock()
		return 0, err
	}
	s.data, s.limit = len(p), limit
	s.writes++
	if s.window != 0 {
		s.wire.ready = append(s.wire.ready, s)
	}
	s.wire.mu.Unlock()
	<-s.wrote
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	return len(p) - s.data, s.err
}

func (s *line) SetPriority(int8, bool)           {}
func (s *line) SetWriteDeadline(time.Time) error { return nil }
func (s *line) Close() error                     { return nil }

// open adds n bytes to the window.
func (s *line) open(n int) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	if s.window == 0 && s.data > 0 {
		s.wire.ready = append(s.wire.ready, s)
	}
	s.window += n
}

// fail ends a Write that waits for the window.
func (s *line) fail(err error) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.err = err
	s.wrote <- struct{}{}
}

// sentBytes returns how many bytes of the stream were sent.
func (s *line) sentBytes() int {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	return s.total
}

// feed writes to s for ever, by chunks, until a Write fails.
func feed(s *line, turns *Turns, chunk int) *Writer {
	w := NewWriter(s, turns)
	go func() {
		for p := make([]byte, chunk); ; {
			if _, err := w.Write(p); err != nil {
				return
			}
		}
	}()
	return w
}

// end has all Writes fail.
func (w *wire) end() {
	w.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.New("the end")
	for _, s := range w.lines {
		if s.data > 0 {
			s.err = w.err
			s.wrote <- struct{}{}
		}
	}
}

// Streams that have much to send write one after the other, and all of them as much.
func TestTurns(t *testing.T) {
	for _, chunk := range []int{16 << 10, 256 << 10} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(10 * time.Microsecond)
			var turns Turns
			var all []*line
			for range 10 {
				s := w.line(-1)
				feed(s, &turns, chunk)
				all = append(all, s)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			least, most := all[0].sentBytes(), all[0].sentBytes()
			for _, s := range all {
				least, most = min(least, s.sentBytes()), max(most, s.sentBytes())
			}
			if most-least > 2*turnSize {
				t.Errorf("chunks of %d: one stream has sent %d bytes, another one %d, want a turn between them", chunk, least, most)
			}
			changes := 0
			for i, s := range w.sent[1:] {
				if s != w.sent[i] {
					changes++
				}
			}
			// A turn and the beginning of the next one are sent together.
			frames := min(chunk, turnSize) / frameSize
			if most := (len(w.sent)/frames + 10*muchSize/frameSize) * (2*ahead/frameSize + 1); changes > most {
				t.Errorf("chunks of %d: %d frames, and another stream's %d times, want %d at most", chunk, len(w.sent), changes, most)
			}
			if len(w.sent) < 99_000 {
				t.Errorf("chunks of %d: %d frames in a second, want one each 10 µs", chunk, len(w.sent))
			}
			w.end()
		})
	}
}

// Streams that nobody reads do not block another one, and take turns once at most. It does not
// matter whether their windows end in the middle of a frame.
func TestTurnsOfUnreadStreams(t *testing.T) {
	for _, window := range []int{0, 20_000, muchSize + 10*frameSize, 40_000} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(10 * time.Microsecond)
			var turns Turns
			var all []*line
			for range 99 {
				s := w.line(window)
				feed(s, &turns, 64<<10)
				all = append(all, s)
			}
			s := w.line(-1)
			feed(s, &turns, 64<<10)
			all = append(all, s)
			time.Sleep(99 * 3 * lookEvery) // each has had its turn
			before := s.sentBytes()
			time.Sleep(time.Second)
			if n := s.sentBytes() - before; n < 99_000*frameSize {
				t.Errorf("windows of %d: %d bytes in a second beside streams that nobody reads, want %d at least", window, n, 99_000*frameSize)
			}
			for _, s := range all[:99] {
				if n := s.sentBytes(); n != window {
					t.Errorf("windows of %d: an unread stream has sent %d", window, n)
				}
			}
			w.end()
		})
	}
}

// Streams that are read slowly leave the rest to another one, which is as much as without turns.
func TestTurnsOfSlowReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(10 * time.Microsecond)
		var turns Turns
		var all []*line
		for range 10 {
			s := w.line(32 << 10)
			feed(s, &turns, 64<<10)
			all = append(all, s)
		}
		fast := w.line(-1)
		feed(fast, &turns, 64<<10)
		for range 250 { // 2 MB/s each
			time.Sleep(4 * time.Millisecond)
			for _, s := range all {
				s.open(8 << 10)
			}
		}
		synctest.Wait()
		for _, s := range all {
			if n := s.sentBytes(); n < 240*8<<10 {
				t.Errorf("a slow stream has sent %d bytes, want what was read, %d", n, 250*8<<10)
			}
		}
		if n := len(w.sent); n < 95_000 {
			t.Errorf("%d frames in a second, want one each 10 µs", n)
		}
		w.end()
	})
}

// Where a connection is slow, a Write waits no longer than that for its turn.
func TestLongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(4 * time.Millisecond) // a turn takes 228 ms
		var turns Turns
		var all []*line
		for range 20 {
			s := w.line(-1)
			feed(s, &turns, 64<<10)
			all = append(all, s)
		}
		time.Sleep(10 * time.Second)
		before := make([]int, len(all))
		for i, s := range all {
			before[i] = s.sentBytes()
		}
		time.Sleep(longestWait + 2*lookEvery + 20*4*time.Millisecond)
		for i, s := range all {
			if s.sentBytes() == before[i] {
				t.Errorf("stream %d has sent nothing for longer than %v", i, longestWait)
			}
		}
		w.end()
	})
}

// What has little to send does not wait for a turn, nor does a Write that hurries.
func TestWhoTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(2 * time.Millisecond)
		var turns Turns
		bulk := w.line(-1)
		feed(bulk, &turns, 64<<10)
		time.Sleep(100 * time.Millisecond)
		for _, tt := range []struct {
			name  string
			size  int
			hurry bool
			most  time.Duration // that the Write takes
		}{
			{"little", leastSize - 1, false, 20 * time.Millisecond},
			{"hurry", leastSize, true, 30 * time.Millisecond},
		} {
			s := w.line(-1)
			writer := NewWriter(s, &turns)
			writer.Write(make([]byte, muchSize+1))
			writer.Hurry(tt.hurry)
			began := time.Now()
			writer.Write(make([]byte, tt.size))
			if took := time.Since(began); took > tt.most {
				t.Errorf("%s: a Write of %d bytes took %v", tt.name, tt.size, took)
			}
		}
		w.end()
	})
}

// Hurry ends the wait of a Write, which then fails as the stream says.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(time.Millisecond)
		var turns Turns
		bulk := w.line(-1)
		feed(bulk, &turns, 64<<10)
		time.Sleep(20 * time.Millisecond)
		s := w.line(muchSize)
		writer := NewWriter(s, &turns)
		done := make(chan error, 1)
		go func() {
			_, err := writer.Write(make([]byte, 2*muchSize))
			done <- err
		}()
		for s.sentBytes() < muchSize {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		writer.Hurry(true)
		synctest.Wait()
		broken := errors.New("broken")
		s.fail(broken)
		synctest.Wait()
		select {
		case err := <-done:
			if err != broken {
				t.Errorf("Write = %v, want the stream's error", err)
			}
		default:
			t.Error("a Write that hurries waits for its turn")
		}
		w.end()
	})
}

// A turn allocates nothing.
func TestTurnAllocatesNothing(t *testing.T) {
	w := NewWriter(quiet{}, new(Turns))
	p := make([]byte, 2*turnSize)
	w.Write(p)
	if n := testing.AllocsPerRun(100, func() { w.Write(p) }); n > 0 {
		t.Errorf("%v allocations a Write", n)
	}
}
