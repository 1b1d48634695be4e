package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress shows how far files have come, on a terminal only. Any number of goroutines may use it.
type progress struct {
	out io.Writer // nil if it is not a terminal

	mu   sync.Mutex
	bar  *progressbar.ProgressBar // guarded by mu; nil until there is something to show
	size int64                    // guarded by mu; of all files, in bytes
	at   int64                    // guarded by mu
}

// isTerminal reports whether people read what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

func newProgress(stderr io.Writer) *progress {
	if !isTerminal(stderr) {
		stderr = nil
	}
	return &progress{out: stderr}
}

// grow says that there are n bytes more to come, of a file with a name.
func (p *progress) grow(name string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.size += n; p.out == nil || p.size == 0 {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(p.size,
			progressbar.OptionSetWriter(p.out), progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionShowCount(),
			progressbar.OptionUseIECUnits(true), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	p.bar.ChangeMax64(p.size)
	p.bar.Describe(name)
}

// move says that n bytes have passed; after a loss n may be negative.
func (p *progress) move(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at += n; p.bar != nil {
		_ = p.bar.Set64(p.at) // what the terminal says is nobody's affair
	}
}

// end leaves the bar as it is, and goes to the next line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		defer func() { p.bar = nil }()
		_ = p.bar.Exit()
		_, _ = io.WriteString(p.out, "\n")
	}
}
