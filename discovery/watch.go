package discovery

import "time"

// Watched is a [Stream] that can learn of its end while nobody reads or writes. Without it, after
// the peer's end only a Write would report a reset, and nobody would notice a dead machine while
// bytes wait for its answer.
type Watched interface {
	// OnLost calls f, once and in a goroutine of its own, if the circuit is lost or reset. The
	// error is the one that Read would return. stop ends the watch, without waiting for f.
	OnLost(f func(error)) (stop func())
}

// WatchEvery is how often a [Watched] stream checks the connection.
const WatchEvery = 5 * time.Second

// Watch calls look at intervals until it returns an error, which Watch passes to f, or until stop
// is called.
func Watch(every time.Duration, look func() error, f func(error)) (stop func()) {
	done := make(chan struct{})
	var timer *time.Timer
	ready := make(chan struct{}) // timer is set
	timer = time.AfterFunc(every, func() {
		<-ready
		select {
		case <-done:
			return
		default:
		}
		if err := look(); err != nil {
			f(err)
			return
		}
		timer.Reset(every)
	})
	close(ready)
	return func() {
		close(done)
		timer.Stop()
	}
}
