package logwriter

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// file blocks as long as it is told to.
type file struct {
	resume chan struct{}
	text   strings.Builder
	err    error
}

func (f *file) Write(b []byte) (int, error) {
	<-f.resume
	if f.err != nil {
		return 0, f.err
	}
	return f.text.Write(b)
}

// Whoever logs was held up by a pipe that nobody read.
func TestWriterDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &file{resume: make(chan struct{})}
		var w *Writer
		w = New(f, func(lines int) { fmt.Fprintf(w, "%d lost\n", lines) })
		fmt.Fprintln(w, "first")
		synctest.Wait() // it is being written
		line := strings.Repeat("x", 1023) + "\n"
		for range limit/len(line) + 3 {
			if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		close(f.resume)
		synctest.Wait()
		if got, want := f.text.String(), "first\n"+strings.Repeat(line, limit/len(line))+"3 lost\n"; got != want {
			t.Errorf("%d bytes were written, which end in %q; want %d", len(got), got[max(0, len(got)-30):], len(want))
		}
		fmt.Fprintln(w, "last")
		w.Close(time.Minute)
		if !strings.HasSuffix(f.text.String(), "3 lost\nlast\n") {
			t.Error("Close did not wait for the last line")
		}
	})
}

func TestWriterCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &file{resume: make(chan struct{}), err: errors.New("nobody reads")}
		w := New(f, func(int) { t.Error("lines are lost") })
		fmt.Fprintln(w, "blocks")
		start := time.Now()
		w.Close(time.Second)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close took %v, want 1s", took)
		}
		close(f.resume)
		<-w.done
	})
}
