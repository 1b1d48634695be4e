package urgency

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// stream notes what its writer does.
type stream struct {
	urgency int8 // 0 if it was never set
	writes  []int
	err     error
}

func (s *stream) Write(p []byte) (int, error) {
	s.writes = append(s.writes, len(p))
	return len(p), s.err
}

func (s *stream) WriteWithLimit(p []byte, limit func(int) int) (int, error) {
	return s.Write(p[:limit(len(p))])
}

func (s *stream) SetPriority(urgency int8, incremental bool) {
	if s.urgency = urgency; !incremental {
		panic("one stream could hold up others")
	}
}

func (s *stream) SetWriteDeadline(time.Time) error { return nil }
func (s *stream) Close() error                     { return nil }

func write(t *testing.T, w *Writer, n int) {
	t.Helper()
	if m, err := w.Write(make([]byte, n)); m != n || err != nil {
		t.Errorf("Write = %d, %v", m, err)
	}
}

// A stream has the usual urgency until it has sent much without a pause, and after the next pause
// again.
func TestMuchIsLessUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stream)
		w := NewWriter(s, nil)
		for range muchSize / 1024 {
			write(t, w, 1024)
			time.Sleep(pause)
		}
		if s.urgency != 0 {
			t.Errorf("urgency %d after %d bytes, want the one that nobody has set", s.urgency, muchSize)
		}
		write(t, w, 1)
		if s.urgency != bulk {
			t.Errorf("urgency %d after more, want %d", s.urgency, bulk)
		}
		time.Sleep(pause + 1)
		write(t, w, 1)
		if s.urgency != usual {
			t.Errorf("urgency %d after a pause, want %d", s.urgency, usual)
		}
		write(t, w, muchSize)
		if s.urgency != bulk {
			t.Errorf("urgency %d after much again, want %d", s.urgency, bulk)
		}
	})
}

// Messages with pauses between them are urgent, however many there are.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stream)
		w := NewWriter(s, nil)
		for range 100 {
			write(t, w, muchSize)
			time.Sleep(pause + 1)
		}
		if s.urgency != 0 {
			t.Errorf("urgency %d, want the one that nobody has set", s.urgency)
		}
	})
}

// Only what is much is less urgent: the beginning of a long write is not.
func TestLongWrite(t *testing.T) {
	s := new(stream)
	w := NewWriter(s, nil)
	write(t, w, 10<<20)
	if want := []int{muchSize, 10<<20 - muchSize}; !slices.Equal(s.writes, want) || s.urgency != bulk {
		t.Errorf("writes of %v bytes and urgency %d, want %v and %d", s.writes, s.urgency, want, bulk)
	}
}

// A control stream goes first, however much it sends.
func TestFirst(t *testing.T) {
	s := new(stream)
	w := NewWriter(s, nil)
	w.First()
	write(t, w, 2*muchSize)
	if s.urgency != first || len(s.writes) != 1 {
		t.Errorf("urgency %d and %d writes, want %d and 1", s.urgency, len(s.writes), first)
	}
}

// An error is that of the stream, with what it took.
func TestError(t *testing.T) {
	s := &stream{err: errors.New("broken")}
	w := NewWriter(s, nil)
	if n, err := w.Write(make([]byte, 3*muchSize)); n != muchSize || err != s.err {
		t.Errorf("Write = %d, %v; want %d and the stream's error", n, err, muchSize)
	}
}

// A Write allocates nothing.
func TestWriteAllocatesNothing(t *testing.T) {
	w := NewWriter(quiet{}, nil)
	p := make([]byte, 2*muchSize)
	if n := testing.AllocsPerRun(100, func() { w.Write(p) }); n > 0 {
		t.Errorf("%v allocations a Write", n)
	}
}

type quiet struct{}

func (quiet) Write(p []byte) (int, error)                               { return len(p), nil }
func (quiet) WriteWithLimit(p []byte, limit func(int) int) (int, error) { return limit(len(p)), nil }
func (quiet) SetPriority(int8, bool)                                    {}
func (quiet) SetWriteDeadline(time.Time) error                          { return nil }
func (quiet) Close() error                                              { return nil }
