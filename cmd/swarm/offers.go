package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// offers are the files as they were offered to one endpoint, whatever circuit leads there.
type offers struct {
	mu      sync.Mutex
	changed *sync.Cond // with mu
	conn    *consoleConn
	all     []*offer // guarded by mu, as is what they point to
}

// offer is a file offered. Its id is its number, from 0.
type offer struct {
	ask, answer half
	shown       bool // in the progress; owned by sendFiles
	offered     bool // FILE was sent
	asked       bool // AGAIN was sent, and FROM has not come
	accepted    bool
	over        bool
	reason      string // why it was refused
	sent        int64
	granted     int64
}

// next waits for something to do: a file to offer (n is negative), or n bytes of one from at on. i
// is negative if all files are over; ok is false if console is not the circuit any more.
func (o *offers) next(console *consoleConn, files []outgoing) (i int, n, at int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if o.conn != console {
			return 0, 0, 0, false
		}
		live := 0
		for i, f := range o.all {
			if f.over {
				continue
			}
			if live++; live > maxFiles {
				break
			}
			if !f.offered {
				f.offered = true
				return i, -1, 0, true
			}
			if n := min(f.granted, files[i].size) - f.sent; n > 0 && f.accepted && !f.asked {
				n, at := min(n, maxChunk), f.sent
				f.sent += n
				return i, n, at, true
			}
		}
		if live == 0 {
			return -1, 0, 0, true
		}
		o.changed.Wait()
	}
}

// outcome returns errServed, or which files were refused.
func (o *offers) outcome(files []outgoing) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for i, f := range o.all {
		if f.reason != "" {
			errs = append(errs, fmt.Errorf("%s was %s", files[i].name, f.reason))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return errServed
}

// to returns the offers to the endpoint, or nil if the only receiver is another one.
func (s *sender) to(id wtproto.EndpointID) *offers {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.offers[id]
	if o == nil && s.one && len(s.offers) > 0 {
		return nil
	}
	if o == nil {
		o = &offers{all: make([]*offer, len(s.files))}
		o.changed = sync.NewCond(&o.mu)
		for i := range o.all {
			o.all[i] = &offer{}
			_, _ = rand.Read(o.all[i].ask[:]) // it never fails
			_, _ = rand.Read(o.all[i].answer[:])
		}
		s.offers[id] = o
	}
	return o
}
