package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// lingerTimeout is how long a receiver that has all files waits for a sender that may not know it
// yet.
const lingerTimeout = 10 * time.Second

// incoming is a file that was offered. The circuit that leads to its sender owns it, one at a
// time.
type incoming struct {
	from        wtproto.EndpointID
	id          uint32
	ask, answer half
	name        string // where it is to be, below the receiver's directory
	size        int64
	file        *os.File // nil once it is over
	hash        hash.Hash
	got         int64
	granted     int64
	refused     string // why it is not wanted
	whole       bool   // all of it is where it should be
}

// tell prints the name and the hash of a whole file.
func (f *incoming) tell(e *events) error {
	return e.file("received", f.name, f.size, [32]byte(f.hash.Sum(nil)))
}

// receiver takes files.
type receiver struct {
	events   *events
	progress *progress
	one      bool // only files of the first sender are taken
	dir      string

	mu    sync.Mutex  // held while a message is handled
	files []*incoming // guarded by mu, as is what they point to
}

// serve takes the files that a console offers, until its circuit ends.
func (r *receiver) serve(conn memberConn, console *consoleConn) error {
	from := endpointOf(conn.Peer())
	for {
		m, err := console.receive()
		if err != nil {
			return err
		}
		for _, answer := range r.handle(from, m) {
			if err := console.send(answer); err != nil {
				return err
			}
		}
	}
}

// handle acts on a message, and returns the answers.
func (r *receiver) handle(from wtproto.EndpointID, m consoleMessage) []consoleMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	refuse := func(reason string) []consoleMessage {
		return []consoleMessage{{Kind: refuseKind, ID: m.ID, Text: reason}}
	}
	if m.Kind == fileKind {
		if r.one && len(r.files) > 0 && r.files[0].from != from {
			return refuse("files of one sender only are taken")
		}
		f := &incoming{from: from, id: m.ID, ask: m.Ask, answer: m.Answer, size: m.Number, hash: sha256.New()}
		if n := r.unfinished(from); n >= maxFiles {
			return refuse("too many files at once")
		}
		if err := r.begin(f, m.Text); err != nil {
			r.events.log.Warn("a file cannot be taken", "name", m.Text, "error", err)
			return refuse("the file cannot be written")
		}
		r.files = append(r.files, f)
		r.progress.add(f.name, f.size)
		return r.advance(f)
	}
	f := r.find(from, m)
	if f == nil {
		if m.Kind == againKind {
			return refuse("unknown")
		}
		return nil
	}
	switch m.Kind {
	case againKind:
		all := []consoleMessage{{Kind: fromKind, ID: f.id, Number: f.got, Answer: f.answer}}
		switch {
		case f.refused != "":
			return append(all, refuse(f.refused)...)
		case f.file == nil:
			return append(all, consoleMessage{Kind: savedKind, ID: f.id})
		}
		f.granted = 0
		return append(all, r.advance(f)...)
	case cancelKind:
		r.drop(f, "the sender has ended it: "+m.Text)
	case dataKind:
		if f.file == nil {
			return nil // it was on its way
		}
		if f.got+int64(len(m.Bytes)) > f.granted {
			r.drop(f, "more came than there was room for")
			return refuse(f.refused)
		}
		if _, err := f.file.Write(m.Bytes); err != nil {
			r.events.log.Warn("a file cannot be written", "name", f.name, "error", err)
			r.drop(f, "the file could not be written")
			return refuse(f.refused)
		}
		f.hash.Write(m.Bytes)
		f.got += int64(len(m.Bytes))
		r.progress.advance(int64(len(m.Bytes)))
		return r.advance(f)
	}
	return nil
}

// unfinished counts the files of from that are on their way.
func (r *receiver) unfinished(from wtproto.EndpointID) (n int) {
	for _, f := range r.files {
		if f.from == from && f.file != nil {
			n++
		}
	}
	return n
}

// find returns the file that m is about.
func (r *receiver) find(from wtproto.EndpointID, m consoleMessage) *incoming {
	for i := len(r.files) - 1; i >= 0; i-- {
		if f := r.files[i]; f.from == from && f.id == m.ID && (m.Kind != againKind || f.ask == m.Ask) {
			return f
		}
	}
	return nil
}

// begin opens the file that f is written to until it is whole.
func (r *receiver) begin(f *incoming, name string) error {
	f.name = safeName(name)
	path := filepath.Join(r.dir, f.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	var err error
	f.file, err = createNew(path, ".part")
	return err
}

// advance grants more of f, or ends it if all has come.
func (r *receiver) advance(f *incoming) []consoleMessage {
	if f.got == f.size {
		if err := r.finish(f); err != nil {
			r.events.log.Warn("a file cannot be written", "name", f.name, "error", err)
			r.drop(f, "the file could not be written")
			return []consoleMessage{{Kind: refuseKind, ID: f.id, Text: f.refused}}
		}
		all := []consoleMessage{{Kind: savedKind, ID: f.id}}
		if f.size == 0 { // it is accepted first
			all = append([]consoleMessage{{Kind: grantKind, ID: f.id}}, all...)
		}
		return all
	}
	if f.granted > 0 && f.granted-f.got > fileWindow*3/4 {
		return nil
	}
	granted := min(f.size, f.got+fileWindow)
	if granted == f.granted {
		return nil
	}
	f.granted = granted
	return []consoleMessage{{Kind: grantKind, ID: f.id, Number: granted}}
}

// finish gives a whole file its name, and tells of it.
func (r *receiver) finish(f *incoming) error {
	part := f.file.Name()
	if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
		return err
	}
	for n := 0; ; n++ {
		path := numbered(filepath.Join(r.dir, f.name), n)
		err := os.Link(part, path) // unlike Rename it replaces nothing
		if errors.Is(err, os.ErrExist) && n < 1000 {
			continue
		}
		if err == nil {
			err = os.Remove(part)
		}
		if err != nil {
			return err
		}
		f.name, f.file, f.whole = path, nil, true
		if r.events.json {
			return f.tell(r.events)
		}
		return nil
	}
}

// drop ends f, of which nothing is kept.
func (r *receiver) drop(f *incoming, reason string) {
	f.refused = reason
	if f.file != nil {
		f.file.Close()
		os.Remove(f.file.Name())
		f.file = nil
	}
}

// settle ends the program if all files of a sender have come, or no more will come. The sender's
// circuit ended with err.
func (r *receiver) settle(ctx context.Context, end context.CancelCauseFunc, from wtproto.EndpointID, err error) {
	lost := isLost(err)
	result := r.result(from, lost)
	if result != nil && lost { // the sender may not know yet
		pause(ctx, lingerTimeout)
		result = r.result(from, lost)
	}
	if result != nil {
		end(result)
	}
}

// result returns nil if from has sent nothing or files are still to come, errServed if all have
// come, and otherwise why some have not.
func (r *receiver) result(from wtproto.EndpointID, lost bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	any := false
	for _, f := range r.files {
		if f.from != from {
			continue
		}
		any = true
		switch {
		case f.file != nil && lost:
			return nil
		case f.file != nil:
			errs = append(errs, fmt.Errorf("%s: the sender has ended after %d of %d bytes", f.name, f.got, f.size))
		case f.refused != "":
			errs = append(errs, fmt.Errorf("%s: %s", f.name, f.refused))
		}
	}
	switch {
	case !any:
		return nil
	case len(errs) > 0:
		return errors.Join(errs...)
	}
	return errServed
}

// close removes what is not whole.
func (r *receiver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		if f.file != nil {
			r.drop(f, "the program ends")
		}
	}
}
