package server

import (
	"log/slog"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Strangers can cause lines of log: by sessions, by peers that do not answer, by topics while a
// network fails. So that nobody can fill a disk, what is over these limits is logged at debug
// only.
const (
	// logEvery is the least time between two lines about failures of one kind.
	logEvery = time.Minute
	// linesPerSecond and linesBurst are how many sessions of a principal are logged.
	linesPerSecond = 1
	linesBurst     = 256
)

// seldom lets a line through at most once in logEvery. The zero value is ready. It belongs to one
// goroutine.
type seldom struct{ next time.Time }

// level returns loud, if it is time for another line, else debug.
func (s *seldom) level(loud slog.Level, now time.Time) slog.Level {
	if now.Before(s.next) {
		return slog.LevelDebug
	}
	s.next = now.Add(logEvery)
	return loud
}

// troubles are lines about what fails for many at once, such as a network for all topics. Any
// number of goroutines may use it.
type troubles struct {
	mu   sync.Mutex
	each map[trouble]*seldom // guarded by mu; what can fail and its codes are few
}

type trouble struct {
	what string
	code wtproto.Code
}

// level returns loud, if it is time for another line that says that what fails with a code, else
// debug.
func (f *troubles) level(loud slog.Level, what string, code wtproto.Code, now time.Time) slog.Level {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := trouble{what, min(code, wtproto.CodeApplication)}
	if f.each[key] == nil {
		if f.each == nil {
			f.each = make(map[trouble]*seldom)
		}
		f.each[key] = &seldom{}
	}
	return f.each[key].level(loud, now)
}
