package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// reading is a cursor that is read in a goroutine.
type reading struct {
	*cursor
	got  strings.Builder
	err  error
	done chan struct{} // closed at its end
}

// read reads a new cursor until its end.
func read(f *feed) *reading {
	r := &reading{cursor: f.cursor(), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_, r.err = io.Copy(&r.got, r.cursor)
	}()
	return r
}

// source is a reader that gives what it is sent, and io.EOF once it is closed.
type source chan string

func (s source) Read(b []byte) (int, error) {
	text, ok := <-s
	if !ok {
		return 0, io.EOF
	}
	return copy(b, text), nil
}

func TestEachGetsAllOfAShortInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, in := newFeed(16), make(source)
		go f.run(in)
		early := read(f)
		in <- "hello "
		in <- "world"
		synctest.Wait()
		if got := early.got.String(); got != "hello world" {
			t.Errorf("before the end: %q, want what is there", got)
		}
		close(in)
		<-early.done
		late := read(f) // no cursor is left, and the input has ended
		<-late.done
		for _, r := range []*reading{early, late} {
			if r.got.String() != "hello world" || r.err != nil {
				t.Errorf("got %q, %v; want all of it", r.got.String(), r.err)
			}
		}
	})
}

func TestNothingIsLostWhileThereIsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, in := newFeed(8), make(source)
		go f.run(in)
		in <- "0123456789"
		synctest.Wait()
		select {
		case in <- "more":
			t.Error("it reads on with a full buffer and no cursor")
		default:
		}
		r := read(f)
		in <- "abc"
		close(in)
		<-r.done
		if got := r.got.String(); got != "0123456789abc" {
			t.Errorf("the first one got %q, want all", got)
		}
	})
}

func TestTheSlowestHoldsUpTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, in := newFeed(8), make(source)
		go f.run(in)
		slow, fast := f.cursor(), read(f)
		in <- "01234567"
		in <- "89"
		synctest.Wait()
		if got := fast.got.String(); got != "01234567" {
			t.Errorf("the fast one got %q, want what fits", got)
		}
		b := make([]byte, 1)
		slow.Read(b)
		synctest.Wait()
		if got := fast.got.String(); got != "012345678" {
			t.Errorf("after one byte the fast one got %q, want one more", got)
		}
		slow.close()
		synctest.Wait()
		if got := fast.got.String(); got != "0123456789" {
			t.Errorf("without the slow one the fast one got %q, want all", got)
		}
		if len(f.buf) > 8 {
			t.Errorf("it holds %d bytes, want at most 8", len(f.buf))
		}
		late := read(f)
		in <- "ab"
		close(in)
		<-late.done
		<-fast.done
		if got := late.got.String(); got != "ab" {
			t.Errorf("one that came late got %q, want what came from then on", got)
		}
	})
}

func TestCloseEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(8)
		r := read(f)
		synctest.Wait()
		r.close()
		r.close()
		<-r.done
		if !errors.Is(r.err, net.ErrClosed) || len(f.cursors) != 0 {
			t.Errorf("Read = %v, %d cursors; want net.ErrClosed and none", r.err, len(f.cursors))
		}
	})
}

func TestErrorComesAfterWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		f := newFeed(8)
		r := read(f)
		if err := f.run(io.MultiReader(strings.NewReader("abc"), failing{broken})); err != broken {
			t.Errorf("run = %v, want %v", err, broken)
		}
		<-r.done
		if r.got.String() != "abc" || r.err != broken {
			t.Errorf("got %q, %v; want abc and the error", r.got.String(), r.err)
		}
	})
}

func TestEndStopsTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(2)
		ran := make(chan error, 1)
		go func() { ran <- f.run(strings.NewReader("abc")) }()
		synctest.Wait()
		f.end(io.ErrUnexpectedEOF)
		f.end(io.EOF) // the first one counts
		if err := <-ran; err != nil {
			t.Errorf("run = %v, want nil: the feed has ended, not the reader", err)
		}
		if _, err := io.ReadAll(f.cursor()); err != io.ErrUnexpectedEOF {
			t.Errorf("Read = %v, want the end", err)
		}
	})
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
