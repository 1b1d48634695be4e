package discovery

import "time"

// Watched is a [Stream] that may learn of its end while nobody reads or writes: after the peer's
// end was read, only a Write would tell, and a dead machine is not noticed while bytes wait for
// its answer.
type Watched interface {
	// OnLost has f called, once and on a goroutine of its own, if the circuit turns out to be lost
	// or reset. The error is what Read would return. stop ends the watch, without waiting for f.
	OnLost(f func(error)) (stop func())
}

// WatchEvery is how often a [Watched] stream looks.
const WatchEvery = 5 * time.Second

// Watch calls look every so often until it returns an error, which goes to f, or stop is called.
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
