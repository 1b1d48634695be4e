package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// linger is how long a receiver that has all files waits for a sender that may not know it yet.
const linger = 10 * time.Second

// receiveCmd is swarm receive.
type receiveCmd struct {
	Topic codeOrTopic `arg:"" predictor:"code" help:"The topic, or what swarm send has printed with --code or --new."`
	gatewayFlags
	Output string `short:"o" type:"path" predictor:"file" default:"." placeholder:"DIR" help:"Where to put the files. What is there is never overwritten."`
}

// Help is printed below the options.
func (receiveCmd) Help() string {
	return "Takes all files that somebody on the topic offers with swarm send or a gateway's console, and ends when the sender " +
		"does. After a lost connection it goes on where it was; until a file is whole it is called NAME.part.\n\n" +
		"With a code it takes files of one sender only." +
		examples(
			"swarm receive 42-tulip-lantern-parade",
			"swarm receive wowcool -o Downloads --gateway https://gateway.example:4433",
		)
}

// Validate finds the gateway.
func (c *receiveCmd) Validate() error { return c.need(c.Topic.topicArg) }

// Run receives files.
func (c *receiveCmd) Run(p *program) error {
	r := &receiver{events: p.events, progress: p.progress, one: c.Topic.code != "", dir: c.Output}
	defer r.close()
	err := c.attend(p, c.Topic.topicArg, client.JoinOptions{}, func(ctx context.Context, end context.CancelCauseFunc, t *client.Topic) error {
		defer r.progress.end()
		return serveConsoles(ctx, t, func(conn *client.Conn, console *consoleConn) error {
			err := r.serve(conn, console)
			r.settle(ctx, end, endpointOf(conn.Peer()), err)
			return err
		})
	})
	for _, f := range r.files {
		if f.whole && !p.events.json { // below the bar, which is gone
			err = errors.Join(err, f.tell(p.events))
		}
	}
	return err
}

// incoming is a file that was offered. The circuit that leads to its sender owns it, one at a time.
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
func (r *receiver) serve(conn *client.Conn, console *consoleConn) error {
	from := endpointOf(conn.Peer())
	for {
		m, err := console.receive()
		if err != nil {
			return err
		}
		for _, answer := range r.hear(from, m) {
			if err := console.send(answer); err != nil {
				return err
			}
		}
	}
}

// hear acts on a message, and returns what to say to it.
func (r *receiver) hear(from wtproto.EndpointID, m consoleMessage) []consoleMessage {
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
		r.progress.grow(f.name, f.size)
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
		r.progress.move(int64(len(m.Bytes)))
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

// safeName returns a path below a directory for a name that a stranger gave.
func safeName(name string) string {
	name = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '\\' || c == ':' {
			return '_'
		}
		return c
	}, name)
	if name = filepath.FromSlash(name); !filepath.IsLocal(name) || filepath.Base(name) == "." {
		name = filepath.Base(name)
	}
	if name == "." || name == ".." || name == string(filepath.Separator) {
		return "file"
	}
	return name
}

// numbered returns path, or one with a number before its extension.
func numbered(path string, n int) string {
	if n == 0 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), n, ext)
}

// createNew makes a file at path and suffix, or with a number if there is one.
func createNew(path, suffix string) (*os.File, error) {
	for n := 0; ; n++ {
		f, err := os.OpenFile(numbered(path, n)+suffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, os.ErrExist) || n == 1000 {
			return f, err
		}
	}
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

// settle ends the program if all files of a sender have come, or no more will: its circuit ended with err.
func (r *receiver) settle(ctx context.Context, end context.CancelCauseFunc, from wtproto.EndpointID, err error) {
	lost := isLost(err)
	result := r.result(from, lost)
	if result != nil && lost { // the sender may not know yet
		pause(ctx, linger)
		result = r.result(from, lost)
	}
	if result != nil {
		end(result)
	}
}

// result returns nil if from has sent nothing or files are still to come, errEnough if all have, or why
// some have not.
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
	return errEnough
}

// isLost reports whether nobody wanted the end of a circuit, which ended with err, so that its files
// go on.
func isLost(err error) bool {
	if errors.Is(err, io.EOF) {
		return false
	}
	code := codeOf(err)
	switch code {
	case wtproto.CodeNone, wtproto.CodePeerReset, wtproto.CodeLeft, wtproto.CodeDeclined:
		return false
	}
	return code < wtproto.CodeApplication
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
