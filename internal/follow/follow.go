// Package follow keeps a value up to date with the files that it was read from. It checks the
// files when somebody asks for the value.
package follow

import (
	"bytes"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// every is the least time between two checks of the files.
const every = time.Second

// Files is a value that was read from some files together, such as a certificate and its key. It
// follows all changes of the files. Any number of goroutines may use it.
type Files[T any] struct {
	paths  []string                            // constant
	parse  func(contents [][]byte) (*T, error) // constant
	report func(now *T, err error)             // constant

	value atomic.Pointer[T]

	mu      sync.Mutex // held while checking the files
	checked time.Time  // guarded by mu; when the last check was
	seen    [][]byte   // guarded by mu; their contents at that time
	problem string     // guarded by mu; the error of reading one of them
}

// New reads the files at paths, and returns the error of reading them or of parse. It reports
// later errors once to report, and keeps the old value. It reports new values too. parse and
// report run on the goroutine that calls New or Value, one at a time.
func New[T any](paths []string, parse func(contents [][]byte) (*T, error), report func(now *T, err error)) (*Files[T], error) {
	f := &Files[T]{paths: paths, parse: parse, report: report}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.loadLocked(); err != nil {
		return nil, err
	}
	return f, nil
}

// Value returns the value. It checks the files if the last check was more than a second ago.
func (f *Files[T]) Value() *T {
	if f.mu.TryLock() { // one caller checks; the others do not wait for a slow disk
		if time.Since(f.checked) >= every {
			f.checkLocked()
		}
		f.mu.Unlock()
	}
	return f.value.Load()
}

// Check checks the files now.
func (f *Files[T]) Check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checkLocked()
}

func (f *Files[T]) checkLocked() {
	if changed, err := f.loadLocked(); changed || err != nil {
		f.report(f.value.Load(), err)
	}
}

// loadLocked reads the files, and reports whether there is a new value. It does nothing if they
// have not changed since the last check. If they are bad it reads them again as long as they
// change: somebody may be replacing them, and one was read before that and another one after it.
func (f *Files[T]) loadLocked() (changed bool, err error) {
	f.checked = time.Now()
	changed, err = f.tryLocked()
	for tries := 1; err != nil && tries < 5; tries++ {
		again, now := f.tryLocked()
		if !again && now == nil {
			break // they are as bad as before
		}
		changed, err = again, now
	}
	return changed, err
}

// tryLocked is one try of loadLocked.
func (f *Files[T]) tryLocked() (changed bool, err error) {
	found, err := f.read()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if f.problem == problem && slices.EqualFunc(f.seen, found, bytes.Equal) {
		return false, nil
	}
	f.seen, f.problem = found, problem
	if err != nil {
		return false, err
	}
	value, err := f.parse(found)
	if err != nil {
		return false, err
	}
	f.value.Store(value)
	return true, nil
}

func (f *Files[T]) read() ([][]byte, error) {
	found := make([][]byte, len(f.paths))
	for i, path := range f.paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found[i] = b
	}
	return found, nil
}
