package main

import (
	"fmt"
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

	mu    sync.Mutex
	out   io.Writer                // guarded by mu
	bar   *progressbar.ProgressBar // guarded by mu; nil until there is something to show
	files int                      // guarded by mu; how many there are
	size  int64                    // guarded by mu; of all files, in bytes
	at    int64                    // guarded by mu
	tick  *time.Timer              // guarded by mu; draws the bar while nothing moves
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

// add adds a file of n bytes that is to come.
func (p *progress) add(name string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files++
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
	p.bar.Describe(caption(p.files, name))
	if p.tick == nil {
		p.tick = time.AfterFunc(time.Second, p.draw)
	}
}

// maxCaption is how many characters of a name stand before a bar, so that 80 columns are enough.
const maxCaption = 24

// caption says what a bar is about: a file, or how many.
func caption(files int, name string) string {
	if files > 1 {
		return fmt.Sprint(files, " files")
	}
	if c := []rune(name); len(c) > maxCaption {
		return string(c[:maxCaption-1]) + "…"
	}
	return name
}

// draw shows how rate and time left change while nothing moves, every second.
func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Set64(p.at)
		p.tick.Reset(time.Second)
	}
}

// advance notes that n bytes have passed; after a loss n may be negative.
func (p *progress) advance(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at += n; p.bar != nil {
		_ = p.bar.Set64(p.at) // an error of the terminal ends nothing
	}
}

// end leaves the bar as it is, and goes to the next line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		defer func() { p.bar = nil }()
		p.tick.Stop()
		_ = p.bar.Exit()
		_, _ = io.WriteString(p.out, "\n")
	}
}
