package p2p

import "sync"

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
