package main

import (
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// ending is a standard input that says when it has been read to its end.
type ending struct {
	io.Reader
	once  sync.Once
	ended chan struct{}
}

func newEnding(text string) *ending {
	return &ending{Reader: strings.NewReader(text), ended: make(chan struct{})}
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.once.Do(func() { close(e.ended) })
	}
	return n, err
}

// slow is a standard output that takes nothing before it is opened.
type slow struct {
	*output
	open chan struct{}
}

func (s slow) Write(b []byte) (int, error) {
	<-s.open
	return s.output.Write(b)
}

// Two programs with --once were each done when both directions had ended at their own end. The
// other one had not read all by then, if its output was slow and its input ended meanwhile: the
// first one left, and the rest of its bytes, which the gateway still had, was lost.
func TestOnceLosesNothing(t *testing.T) {
	for name, room := range map[string][]string{"plain": {"there"}, "secret": {"--secret", strings.Repeat("42", 32)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := gateway.Start(t, server.Config{})
			args := through(g, append(append([]string{"join"}, room...), "--once")...)
			want := text(90 << 10) // which fits what is on its way to a client that does not read
			in := newEnding(want)
			r, w := io.Pipe()
			out := slow{&output{}, make(chan struct{})}
			second := &process{stop: func() {}, status: make(chan int, 1)}
			go func() { second.status <- run(gateway.Context(t), args, r, out, &second.errs) }()
			first := swarm(t, in, append(args, "--json")...)
			next(t, in.ended)
			sent := time.Now()
			gateway.Eventually(t, "the first one has ended its direction, most likely", func() bool { return time.Since(sent) > time.Second/2 })
			w.Close()
			gateway.Eventually(t, "the end of both directions at the first one", func() bool { return strings.Contains(first.out.String(), `"end"`) })
			close(out.open)
			for who, p := range map[string]*process{"the first": first, "the second": second} {
				if status := p.wait(t); status != 0 {
					t.Errorf("%s ended with status %d: %s", who, status, p.errs.String())
				}
			}
			if got := out.String(); got != want {
				t.Errorf("%d bytes came, want all %d", len(got), len(want))
			}
		})
	}
}

// What send and receive have done ends regularly for the gateway too: neither sees the other one
// lost.
func TestFilesEndRegularly(t *testing.T) {
	ends := make(chan wtproto.Code, 16)
	g := gateway.Start(t, server.Config{Observer: &server.Observer{CircuitEnded: func(e server.CircuitEnd) { ends <- e.Code }}})
	from, to := t.TempDir(), t.TempDir()
	makeFile(t, filepath.Join(from, "a"), 1<<20)
	s := swarm(t, open(t), through(g, "send", filepath.Join(from, "a"), "a long secret of two")...)
	r := swarm(t, open(t), through(g, "receive", "a long secret of two", "-o", to)...)
	for who, p := range map[string]*process{"send": s, "receive": r} {
		if status := p.wait(t); status != 0 {
			t.Errorf("%s ended with status %d: %s", who, status, p.errs.String())
		}
	}
	if code := next(t, ends); code != wtproto.CodeNone {
		t.Errorf("the circuit ended with %v", code)
	}
}
