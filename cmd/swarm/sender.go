package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// farewellTimeout is how long a sender waits for a receiver that has all files to say goodbye.
const farewellTimeout = 3 * time.Second

// outgoing is a file to send.
type outgoing struct {
	path, name string // name is relative, with slashes
	size       int64
}

// sender has files for whoever takes them.
type sender struct {
	events   *events
	progress *progress
	one      bool                    // only the first receiver who comes gets anything
	files    []outgoing              // constant once there are circuits
	end      context.CancelCauseFunc // ends the program

	mu     sync.Mutex
	offers map[wtproto.EndpointID]*offers // guarded by mu
}

// add takes in the file at path, or all files below it.
func (s *sender) add(path string) error {
	base := filepath.Dir(filepath.Clean(path))
	return filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(base, path)
		if err != nil || !info.Mode().IsRegular() {
			return errors.Join(err, fmt.Errorf("%s is not a regular file", path))
		}
		name = filepath.ToSlash(name)
		if len(name) > maxName {
			return fmt.Errorf("%s: a name of more than %d bytes", path, maxName)
		}
		s.files = append(s.files, outgoing{path, name, info.Size()})
		return nil
	})
}

// errCodeUsed says that the one receiver has ended too early.
var errCodeUsed = errors.New("the receiver has left before it had all files: send them again with a new code")

// serve offers the files to a console, and sends those that it takes.
func (s *sender) serve(ctx context.Context, conn memberConn, console *consoleConn) (err error) {
	o := s.to(endpointOf(conn.Peer()))
	if o == nil {
		conn.Reset(errOne.Code)
		return errOne
	}
	o.mu.Lock()
	o.conn = console
	for _, f := range o.all {
		f.asked = false
	}
	for i, f := range o.all { // a receiver that was here before is asked how far it came
		if f.offered && !f.over {
			f.asked = true
			o.mu.Unlock()
			if err := console.send(consoleMessage{Kind: againKind, ID: uint32(i), Ask: f.ask}); err != nil {
				return err
			}
			o.mu.Lock()
		}
	}
	o.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.conn == console {
			o.conn = nil
		}
		o.changed.Broadcast()
	}
	defer stop()
	var all atomic.Bool // files are over
	defer func() {
		switch {
		case all.Load():
			s.end(o.outcome(s.files))
		case s.one && !isLost(err):
			s.end(errCodeUsed)
		}
	}()
	wg.Go(func() {
		over, err := s.sendFiles(o, console)
		switch {
		case err != nil:
			conn.Reset(codeOf(err))
			s.end(err)
		case over: // the other side ends its direction once it has read this
			all.Store(true)
			_ = conn.CloseWrite() // receive says why
			_ = conn.SetReadDeadline(time.Now().Add(farewellTimeout))
		}
	})
	for {
		m, err := console.receive()
		if err != nil {
			return err
		}
		s.handle(o, m)
	}
}

// handle notes what the console says about an offer. It ignores files that the console offers.
func (s *sender) handle(o *offers, m consoleMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if int64(m.ID) >= int64(len(o.all)) {
		return
	}
	f := o.all[m.ID]
	switch {
	case f.over || !f.offered:
		return
	case m.Kind == fromKind && m.Answer == f.answer && f.asked:
		s.progress.advance(m.Number - f.sent)
		f.asked, f.sent, f.granted = false, m.Number, m.Number
	case f.asked && m.Kind == refuseKind && !f.accepted: // the offer itself was lost
		f.asked, f.offered = false, false
	case f.asked && m.Kind != refuseKind:
		return
	case m.Kind == grantKind:
		f.accepted = true
		f.granted = max(f.granted, m.Number)
	case m.Kind == savedKind:
		f.over = true
	case m.Kind == refuseKind:
		f.over, f.reason = true, "refused: "+m.Text
	}
	o.changed.Broadcast()
}

// sendFiles sends what may be sent on a circuit until all files are over or the circuit is. It
// reports whether all files are over. An error is that of a file.
func (s *sender) sendFiles(o *offers, console *consoleConn) (over bool, err error) {
	var open *os.File
	var which int
	defer func() {
		if open != nil {
			open.Close()
		}
	}()
	buf := make([]byte, maxChunk)
	for {
		i, n, at, ok := o.next(console, s.files)
		if !ok || i < 0 {
			return ok, nil
		}
		file := s.files[i]
		if n < 0 {
			if !o.all[i].shown {
				o.all[i].shown = true
				s.progress.add(file.name, file.size)
			}
			m := consoleMessage{Kind: fileKind, ID: uint32(i), Number: file.size, Ask: o.all[i].ask, Answer: o.all[i].answer, Text: file.name}
			if console.send(m) != nil {
				return false, nil // receive says why
			}
			continue
		}
		if open == nil || which != i {
			if open != nil {
				open.Close()
			}
			if open, err = os.Open(file.path); err != nil {
				return false, err
			}
			which = i
		}
		if k, err := open.ReadAt(buf[:n], at); int64(k) < n {
			return false, fmt.Errorf("%s has become shorter: %w", file.path, err)
		}
		s.progress.advance(n) // next has counted it, whatever becomes of it
		if console.send(consoleMessage{Kind: dataKind, ID: uint32(i), Bytes: buf[:n]}) != nil {
			return false, nil
		}
	}
}
