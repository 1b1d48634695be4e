package p2p

import (
	"sync"
	"sync/atomic"
)

// taskGroup counts running tasks, so that their owner can refuse new ones and wait for the others.
// The zero value is open.
type taskGroup struct {
	mu      sync.Mutex
	closed  bool // guarded by mu
	running sync.WaitGroup
}

// begin reports whether g is open. If it is, the caller is a task of g until it calls end.
func (g *taskGroup) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.running.Add(1)
	}
	return !g.closed
}

func (g *taskGroup) end() { g.running.Done() }

// start runs f as a task in a goroutine of its own, and reports whether g is open.
func (g *taskGroup) start(f func()) bool {
	if !g.begin() {
		return false
	}
	go func() {
		defer g.end()
		f()
	}()
	return true
}

// close refuses new tasks, and waits for the running ones.
func (g *taskGroup) close() {
	g.stop()
	g.running.Wait()
}

// stop refuses new tasks.
func (g *taskGroup) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// spurt runs a function in a goroutine after each wake, and never twice at once. So who waits for
// something to do needs no goroutine. The zero value is ready.
type spurt struct{ state atomic.Int32 }

// The states of a spurt.
const (
	spurtIdle  int32 = iota
	spurtRuns        // since the last wake
	spurtWoken       // it has to run once more
)

// wake has f run as a task of g, also if it runs now. It does nothing once g is closed.
func (s *spurt) wake(g *taskGroup, f func()) {
	if s.state.Swap(spurtWoken) != spurtIdle {
		return
	}
	g.start(func() {
		for again := true; again; again = !s.state.CompareAndSwap(spurtRuns, spurtIdle) {
			s.state.Store(spurtRuns)
			f()
		}
	})
}
