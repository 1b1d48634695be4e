package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress is standard error: on a terminal it shows how far files have come, in a bar below all
// lines that are written. Any number of goroutines may use it.
type progress struct {
	terminal bool

	mu   sync.Mutex
	out  io.Writer                // guarded by mu
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
	return &progress{terminal: isTerminal(stderr), out: stderr}
}

// Write writes whole lines, above the bar if there is one.
func (p *progress) Write(lines []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return p.out.Write(lines)
	}
	if _, err := io.WriteString(p.out, "\r\x1b[2K"); err != nil {
		return 0, err
	}
	n, err := p.out.Write(lines)
	_, _ = io.WriteString(p.out, p.bar.String()) // it comes again with the next bytes
	return n, err
}

// grow says that there are n bytes more to come, of a file with a name.
func (p *progress) grow(name string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.size += n; !p.terminal || p.size == 0 {
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
