package server

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// open asks for a circuit from an endpoint of t's host to one of another host.
func (t *simTopic) open(ctx context.Context, to *simHost, from, e wtproto.EndpointID) (discovery.Stream, error) {
	n := t.h.net
	in := &simInbound{pair: simPair{t.key, e, from, t.h}, host: to, answer: make(chan simAnswer, 1)}
	n.mu.Lock()
	n.send(t.h, to, "OPEN", func() { in.arrive() })
	n.mu.Unlock()
	select {
	case a := <-in.answer:
		if a.code == wtproto.CodeNone {
			return a.stream, nil
		}
		return nil, &wtproto.Error{Code: a.code, Remote: true}
	case <-ctx.Done():
		n.mu.Lock()
		in.withdrawn = true
		n.mu.Unlock()
		select {
		case a := <-in.answer:
			if a.stream != nil {
				a.stream.Reset(wtproto.CodeWithdrawn)
			}
		default:
		}
		return nil, context.Cause(ctx)
	}
}

// simInbound is a circuit that another host asks for.
type simInbound struct {
	pair      simPair // as the host that is asked sees it
	host      *simHost
	answer    chan simAnswer // takes one
	withdrawn bool           // guarded by net.mu
}

type simAnswer struct {
	code   wtproto.Code
	stream *simStream
}

// arrive is OPEN at the host that is asked.
func (i *simInbound) arrive() {
	n := i.host.net
	if i.withdrawn || i.pair.host.life != simAlive {
		return
	}
	switch i.host.life {
	case simKilled:
		i.answer <- simAnswer{code: wtproto.CodePeerUnreachable}
		return
	case simVanished:
		return // until the dial's time is over
	}
	t := i.host.topics[i.pair.topic]
	if t == nil {
		i.reply(wtproto.CodeForbidden, nil)
		return
	}
	if s, _ := t.presence.State(); !slices.Contains(s.Endpoints, i.pair.near) {
		i.reply(wtproto.CodePeerUnreachable, nil)
		return
	}
	if old := i.host.streams[i.pair]; old != nil {
		n.sent["replaced"]++
		old.detach()
		old.end(&wtproto.Error{Code: wtproto.CodeReplaced, Remote: true})
	}
	s := discovery.Sighting{Peer: i.pair.host.peer(i.pair.far), Inbound: i, PeerFoundUs: true}
	if c := t.contacts[i.pair.host]; c != nil {
		s.PeerFoundUs, s.Need = c.foundUs, c.stand == simMet && c.state&wtproto.EndpointsNeed != 0
	}
	t.push(s)
}

// reply is OPENED.
func (i *simInbound) reply(code wtproto.Code, s *simStream) {
	i.host.net.send(i.host, i.pair.host, "OPENED", func() {
		if i.withdrawn && s != nil {
			s.resetLocked(wtproto.CodeWithdrawn)
			return
		}
		i.answer <- simAnswer{code, s}
	})
}

func (i *simInbound) To() wtproto.EndpointID { return i.pair.near }
func (i *simInbound) Further() bool          { return false }

func (i *simInbound) Accept() (discovery.Stream, error) {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	if i.withdrawn || i.host.life != simAlive {
		return nil, &wtproto.Error{Code: wtproto.CodeWithdrawn, Remote: true}
	}
	if i.pair.host.life != simAlive {
		return nil, &wtproto.Error{Code: wtproto.CodePeerGone}
	}
	p := i.pair
	near := newSimStream(i.host, p)
	far := newSimStream(p.host, simPair{p.topic, p.far, p.near, i.host})
	near.other, far.other = far, near
	i.host.streams[near.pair], p.host.streams[far.pair] = near, far
	i.reply(wtproto.CodeNone, far)
	return near, nil
}

func (i *simInbound) Refuse(code wtproto.Code) {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	i.reply(code, nil)
}

// simStream is one side of a circuit between two hosts, on which nothing is ever sent.
type simStream struct {
	host  *simHost // whose side it is
	pair  simPair
	other *simStream

	mu      sync.Mutex
	changed *sync.Cond
	err     error     // guarded by mu; why it ended
	fin     bool      // guarded by mu; the other side has ended what it sends
	readBy  time.Time // guarded by mu
}

func newSimStream(h *simHost, p simPair) *simStream {
	s := &simStream{host: h, pair: p}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *simStream) set(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	s.changed.Broadcast()
}

// end makes Read and Write fail, if they do not yet.
func (s *simStream) end(err error) {
	s.set(func() {
		if s.err == nil {
			s.err = err
		}
	})
}

func (s *simStream) Read([]byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.err != nil:
			return 0, s.err
		case s.fin:
			return 0, io.EOF
		case passed(s.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		s.changed.Wait()
	}
}

func (s *simStream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(b), s.err
}

func (s *simStream) CloseWrite() error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	s.host.net.send(s.host, s.other.host, "FIN", func() { s.other.set(func() { s.other.fin = true }) })
	return nil
}

func (s *simStream) Reset(code wtproto.Code) {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	s.resetLocked(code)
}

func (s *simStream) resetLocked(code wtproto.Code) {
	s.end(errLocal)
	s.detach()
	if code == wtproto.CodeNone {
		code = wtproto.CodePeerReset
	}
	s.host.net.send(s.host, s.other.host, "reset", func() {
		s.other.detach()
		s.other.end(&wtproto.Error{Code: code, Remote: true})
	})
}

// detach has its host know nothing of s any more. A dead host keeps it, so that the other one
// learns of the death.
func (s *simStream) detach() {
	if s.host.life == simAlive && s.host.streams[s.pair] == s {
		delete(s.host.streams, s.pair)
	}
}

// Close is called when both directions have ended.
func (s *simStream) Close() error {
	s.mu.Lock()
	over := s.err != nil || s.fin
	s.mu.Unlock()
	if over {
		s.host.net.mu.Lock()
		s.detach()
		s.host.net.mu.Unlock()
	} else {
		s.Reset(wtproto.CodeNone)
	}
	return nil
}

func (s *simStream) SetReadDeadline(t time.Time) error {
	s.set(func() { s.readBy = t })
	return nil
}
