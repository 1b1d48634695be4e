package p2p

import "sync"

// status says whether something works. Others can wait for a change. Any number of goroutines may
// use it.
type status struct {
	mu      sync.Mutex
	works   bool          // guarded by mu
	err     error         // guarded by mu; why it does not work; nil if that is unknown
	changed chan struct{} // guarded by mu; closed when works or err becomes another, and by touch
}

func newStatus() *status { return &status{changed: make(chan struct{})} }

// set notes that it works, if err is nil, or why not. It reports whether that is news.
func (s *status) set(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if works := err == nil; works == s.works && text(err) == text(s.err) {
		return false
	}
	s.works, s.err = err == nil, err
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

// touch wakes those who wait, although works and err stay as they are.
func (s *status) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// get returns whether it works, a channel that is closed at the next change, and why it does not
// work.
func (s *status) get() (works bool, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.works, s.changed, s.err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
