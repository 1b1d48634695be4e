package discovery

import (
	"sync"
	"time"
)

// Watched is a [Stream] that can learn of its end while nobody reads or writes. Without it, after
// the peer's end only a Write would report a reset, and nobody would notice a dead machine while
// bytes wait for its answer.
type Watched interface {
	// OnLost calls f, once and in a goroutine of its own, if the circuit is lost or reset. The
	// error is the one that Read would return. stop ends the watch, without waiting for f. Only
	// one may watch a stream.
	OnLost(f func(error)) (stop func())
}

// WatchEvery is how often a [Watched] stream checks the connection.
const WatchEvery = 5 * time.Second

// Watch calls look at intervals until it returns an error, which Watch passes to f, or until stop
// is called.
func Watch(every time.Duration, look func() error, f func(error)) (stop func()) {
	w := &watcher{every: every, look: look, f: f}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(every, w.run)
	return w.stop
}

// watcher is a call of Watch.
type watcher struct {
	every time.Duration
	look  func() error
	f     func(error)

	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	stopped bool        // guarded by mu
}

// run looks once.
func (w *watcher) run() {
	w.mu.Lock()
	stopped := w.stopped
	w.mu.Unlock()
	if stopped {
		return
	}
	if err := w.look(); err != nil {
		w.f(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(w.every)
	}
}

func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
