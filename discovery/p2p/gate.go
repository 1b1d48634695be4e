package p2p

import "sync"

// gate counts the goroutines that are inside something, and waits for them when it is closed. The zero value is open.
type gate struct {
	mu     sync.Mutex
	closed bool // guarded by mu
	inside sync.WaitGroup
}

// enter reports whether the gate is open; then the caller is inside until it calls leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

// start runs f inside, in a goroutine of its own, and reports whether the gate is open.
func (g *gate) start(f func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.leave()
		f()
	}()
	return true
}

// close lets nobody in any more, and waits until everybody is out.
func (g *gate) close() {
	g.shut()
	g.inside.Wait()
}

// shut lets nobody in any more.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
