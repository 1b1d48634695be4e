package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// farewell is how long a sender waits for a receiver that has all files to say goodbye.
const farewell = 3 * time.Second

// sendCmd is swarm send.
type sendCmd struct {
	Args []string `arg:"" name:"file" predictor:"file" help:"FILE… TOPIC: files and directories, and the topic, which is left out with --code and --new."`
	Code bool     `xor:"topic" help:"Take a topic with a short code such as 42-tulip-lantern-parade, and print it. One receiver gets the files, then the code is worthless."`
	New  bool     `xor:"topic" help:"Take a topic that nobody guesses, and print the string by which the other side finds it."`
	gatewayFlags

	topic topicArg
}

// Help is printed below the options.
func (sendCmd) Help() string {
	return "The other side runs swarm receive with the same topic, or has the gateway's console open on it. The first that has " +
		"got all files ends the program. After a lost connection it goes on where it was.\n\n" +
		"With --code the other side runs swarm receive CODE, with the same gateway or another one of its swarm. Only the first " +
		"receiver who comes gets anything: if that is not the one whom you told the code, you see that yours gets nothing. " +
		"To guess a code takes about 2^45 tries, each of them slow. A code does not hide the files from the gateways, which " +
		"pass them on, nor from somebody who overhears it and is faster." +
		examples(
			"swarm send photos/ --code",
			"swarm send a.pdf b.pdf wowcool --gateway https://gateway.example:4433",
		)
}

// Validate tells files and topic apart.
func (c *sendCmd) Validate() error {
	switch {
	case len(c.Args) == 0: // kong comes here before it says that FILE is missing, or after the help
	case c.New:
		c.topic = newTopic()
	case c.Code:
		var err error
		if c.topic, err = newCodeTopic(); err != nil {
			return err
		}
	default:
		last := len(c.Args) - 1
		if err := c.topic.UnmarshalText([]byte(c.Args[last])); err != nil {
			return err
		}
		c.Args = c.Args[:last]
	}
	if len(c.Args) == 0 {
		return errors.New("want FILE… TOPIC, --code FILE… or --new FILE…")
	}
	return c.need(c.topic)
}

// Run sends the files.
func (c *sendCmd) Run(p *program) error {
	s := &sender{events: p.events, progress: p.progress, one: c.Code, offers: make(map[wtproto.EndpointID]*offers)}
	for _, path := range c.Args {
		if err := s.add(path); err != nil {
			return err
		}
	}
	err := c.attend(p, c.topic, client.JoinOptions{}, func(ctx context.Context, end context.CancelCauseFunc, t *client.Topic) error {
		s.end = end
		defer s.progress.end()
		return serveConsoles(ctx, t, func(conn *client.Conn, console *consoleConn) error { return s.serve(ctx, conn, console) })
	})
	if err != nil || p.ctx.Err() != nil {
		return err
	}
	for _, f := range s.files {
		sum, err := hashFile(f.path)
		if err != nil {
			return err
		}
		if err := p.events.file("sent", f.name, f.size, sum); err != nil {
			return err
		}
	}
	return nil
}

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
	shown       bool // in the progress; owned by feed
	begun       bool // FILE was sent
	waits       bool // AGAIN was sent, and FROM has not come
	accepted    bool
	over        bool
	reason      string // why it was refused
	sent        int64
	granted     int64
}

// to returns the offers to the endpoint, nil if it may not have any.
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

// errCodeUsed says that the one receiver has ended too early.
var errCodeUsed = errors.New("the receiver has left before it had all files, and the code is worthless now")

// serve offers the files to a console, and sends those that it takes.
func (s *sender) serve(ctx context.Context, conn *client.Conn, console *consoleConn) (err error) {
	o := s.to(endpointOf(conn.Peer()))
	if o == nil {
		conn.Reset(errOne.Code)
		return errOne
	}
	o.mu.Lock()
	o.conn = console
	for _, f := range o.all {
		f.waits = false
	}
	for i, f := range o.all { // who was met before is asked how far it came
		if f.begun && !f.over {
			f.waits = true
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
		over, err := s.feed(o, console)
		switch {
		case err != nil:
			conn.Reset(codeOf(err))
			s.end(err)
		case over: // the other side ends its direction once it has read this
			all.Store(true)
			_ = conn.CloseWrite() // receive says why
			_ = conn.SetReadDeadline(time.Now().Add(farewell))
		}
	})
	for {
		m, err := console.receive()
		if err != nil {
			return err
		}
		s.hear(o, m)
	}
}

// hear notes what the console says of an offer. Files that it offers itself are not wanted.
func (s *sender) hear(o *offers, m consoleMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if int64(m.ID) >= int64(len(o.all)) {
		return
	}
	f := o.all[m.ID]
	switch {
	case f.over || !f.begun:
		return
	case m.Kind == fromKind && m.Answer == f.answer && f.waits:
		s.progress.move(m.Number - f.sent)
		f.waits, f.sent, f.granted = false, m.Number, m.Number
	case f.waits && m.Kind == refuseKind && !f.accepted: // the offer itself was lost
		f.waits, f.begun = false, false
	case f.waits && m.Kind != refuseKind:
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

// feed sends what may be sent on a circuit until all files are over, which it reports, or the circuit
// is. An error is that of a file.
func (s *sender) feed(o *offers, console *consoleConn) (over bool, err error) {
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
				s.progress.grow(file.name, file.size)
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
		s.progress.move(n) // next has counted it, whatever becomes of it
		if console.send(consoleMessage{Kind: dataKind, ID: uint32(i), Bytes: buf[:n]}) != nil {
			return false, nil
		}
	}
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
			if !f.begun {
				f.begun = true
				return i, -1, 0, true
			}
			if n := min(f.granted, files[i].size) - f.sent; n > 0 && f.accepted && !f.waits {
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

// outcome returns errEnough, or which files were refused.
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
	return errEnough
}

// serveConsoles runs serve for each console that is met, until the topic ends, and waits for all.
// The circuits of other programs are closed.
func serveConsoles(ctx context.Context, t *client.Topic, serve func(*client.Conn, *consoleConn) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for conn, err := range t.Conns(ctx) {
		if err != nil {
			return err
		}
		if !conn.Peer().Client {
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer conn.Close()
			if console, err := meetConsole(conn, conn.Peer().Initiator); err == nil {
				_ = serve(conn, console) // another circuit may follow
			}
		})
	}
	return t.Err()
}

// endpointOf returns what stays the same of a client in all its sessions, at whatever gateway.
func endpointOf(p client.Peer) (id wtproto.EndpointID) {
	if n := len(p.ID); n >= len(id) {
		copy(id[:], p.ID[n-len(id):])
	}
	return id
}

// hashFile returns the SHA-256 of a file.
func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}
