package server

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
)

// write runs c.Write(b) in a goroutine. The channel yields its result.
func write(c *credit, b []byte) <-chan written {
	done := make(chan written, 1)
	go func() {
		n, err := c.Write(b)
		done <- written{n, err}
	}()
	return done
}

type written struct {
	n   int
	err error
}

func TestCreditPassesWhatIsGranted(t *testing.T) {
	for _, test := range []struct {
		name   string
		start  uint64
		grants []uint64
		write  int
		want   int // passed
	}{
		{"enough from the start", 10, nil, 10, 10},
		{"less than is written", 4, nil, 10, 4},
		{"none", 0, nil, 10, 0},
		{"raised", 4, []uint64{7}, 10, 7},
		{"raised to just enough", 4, []uint64{10}, 10, 10},
		{"raised beyond", 4, []uint64{1000}, 10, 10},
		{"the same again", 4, []uint64{4}, 10, 4},
		{"lower than before", 4, []uint64{3, 0}, 10, 4},
		{"raised, then lower", 4, []uint64{8, 5}, 10, 8},
		{"raised step by step", 0, []uint64{1, 2, 3, 9}, 10, 9},
		{"the largest offset", 4, []uint64{1<<62 - 1}, 10, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				c := newCredit(&out, test.start, newOver())
				done := write(c, make([]byte, test.write))
				for _, g := range test.grants {
					synctest.Wait()
					c.grant(g)
				}
				synctest.Wait()
				if out.Len() != test.want {
					t.Errorf("%d bytes passed, want %d", out.Len(), test.want)
				}
				c.over.end(io.ErrClosedPipe)
				got := <-done
				if finished := test.want == test.write; got.n != test.want || (got.err == nil) != finished {
					t.Errorf("Write = %d, %v, want %d, finished %v", got.n, got.err, test.want, finished)
				}
			})
		})
	}
}

func TestCreditEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := newCredit(&out, 4, newOver())
		done := write(c, []byte("too much"))
		synctest.Wait()
		c.over.end(nil)
		if got := <-done; got.n != 4 || got.err != errOver {
			t.Errorf("waiting Write = %d, %v, want 4, %v", got.n, got.err, errOver)
		}
		c.grant(100)
		if n, err := c.Write([]byte("more")); n != 0 || err != errOver {
			t.Errorf("later Write = %d, %v, want 0, %v", n, err, errOver)
		}
		if out.String() != "too " {
			t.Errorf("%q passed, want %q", out.String(), "too ")
		}
	})
}

// failAfter takes n bytes and fails then.
type failAfter struct {
	n   int
	err error
}

func (w *failAfter) Write(b []byte) (int, error) {
	n := min(w.n, len(b))
	if w.n -= n; n < len(b) {
		return n, w.err
	}
	return n, nil
}

func TestCreditCountsUntilTheWriterFails(t *testing.T) {
	boom := errors.New("boom")
	c := newCredit(&failAfter{3, boom}, 100, newOver())
	if n, err := c.Write([]byte("ab")); n != 2 || err != nil {
		t.Errorf("first Write = %d, %v, want 2, nil", n, err)
	}
	if n, err := c.Write([]byte("cdef")); n != 1 || err != boom {
		t.Errorf("second Write = %d, %v, want 1, %v", n, err, boom)
	}
}

// In whatever order writes and grants come, at rest exactly the smaller of both sums has passed,
// and the bytes are those that were written.
func TestCreditProperty(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			data := make([]byte, 1+random.IntN(5000))
			rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
			granted := uint64(random.IntN(100))
			var out bytes.Buffer
			c := newCredit(&out, granted, newOver())
			sizes := rand.New(rand.NewPCG(seed, 1))
			done := make(chan error, 1)
			go func() {
				for rest := data; len(rest) > 0; {
					n := min(1+sizes.IntN(300), len(rest))
					if _, err := c.Write(rest[:n]); err != nil {
						done <- err
						return
					}
					rest = rest[n:]
				}
				done <- nil
			}()
			for {
				synctest.Wait()
				if want := data[:min(granted, uint64(len(data)))]; !bytes.Equal(out.Bytes(), want) {
					t.Fatalf("seed %d: %d bytes passed with %d granted of %d", seed, out.Len(), granted, len(data))
				}
				if out.Len() == len(data) {
					break
				}
				offset := granted - min(granted, 200) + uint64(random.IntN(600)) // often lower than before
				granted = max(granted, offset)
				c.grant(offset)
			}
			if err := <-done; err != nil {
				t.Errorf("seed %d: Write: %v", seed, err)
			}
		})
	}
}

func TestCreditAllocs(t *testing.T) {
	c := newCredit(io.Discard, 0, newOver())
	buf := make([]byte, 32<<10)
	var offset uint64
	var err error
	got := testing.AllocsPerRun(1000, func() {
		offset += uint64(len(buf))
		c.grant(offset)
		if _, e := c.Write(buf); e != nil {
			err = e
		}
	})
	if got != 0 || err != nil {
		t.Errorf("granting and writing take memory %v times, %v, want 0", got, err)
	}
}

func BenchmarkCreditWrite(b *testing.B) {
	c := newCredit(io.Discard, 1<<62, newOver())
	buf := make([]byte, 32<<10)
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}
