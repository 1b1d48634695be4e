// Package follow keeps what was read from files up to date, by looking at them when it is asked
// for.
package follow

import (
	"bytes"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// every is the least time between two looks at the files.
const every = time.Second

// Files is what was read from some files together, such as a certificate and its key. It follows
// the files when they change, by whatever means. Any number of goroutines may use it.
type Files[T any] struct {
	paths  []string                            // constant
	parse  func(contents [][]byte) (*T, error) // constant
	report func(now *T, err error)             // constant

	value atomic.Pointer[T]

	mu      sync.Mutex // held by the one that looks at the files
	checked time.Time  // guarded by mu; when that was last
	seen    [][]byte   // guarded by mu; what was there
	problem string     // guarded by mu; of reading one of them
}

// New reads the files at paths, and returns the error of reading them or of parse. Later errors go
// to report once, and the value stays what it was; a new value goes there too. parse and report
// run on the goroutine that calls New or Value, one at a time.
func New[T any](paths []string, parse func(contents [][]byte) (*T, error), report func(now *T, err error)) (*Files[T], error) {
	f := &Files[T]{paths: paths, parse: parse, report: report}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.loadLocked(); err != nil {
		return nil, err
	}
	return f, nil
}

// Value returns what the files say. It looks at them if nobody has for a second.
func (f *Files[T]) Value() *T {
	if f.mu.TryLock() { // one looks, and on a slow disk the others are served meanwhile
		if time.Since(f.checked) >= every {
			if changed, err := f.loadLocked(); changed || err != nil {
				f.report(f.value.Load(), err)
			}
		}
		f.mu.Unlock()
	}
	return f.value.Load()
}

// loadLocked reads the files, and reports whether there is a new value. It does nothing if they
// are what they were the last time, whether that was good or bad.
func (f *Files[T]) loadLocked() (changed bool, err error) {
	f.checked = time.Now()
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
