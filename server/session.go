package server

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// session speaks the protocol with one client. Its goroutines: run, which takes streams; one for
// each stream whose first frame has not come yet, of which that of HELLO goes on to read the
// control stream, and that of a CONNECT runs a direction of its circuit; and the writer of the
// control stream, while there is something to send.
type session struct {
	// constant after newSession
	server *Server
	cfg    *Config
	link   link
	from   *principal // the address that it comes from
	id     wtproto.SessionID
	ctx    context.Context // ends with the session; its cause is an [*wtproto.Error]
	cancel context.CancelCauseFunc
	admit  func() // gives back the place of a connection without a session; may be called again
	rates  *frameRates
	paced  sync.Once     // an observer was told that the principal sends too many frames
	clear  chan struct{} // closed when the session has left its topics for good, and its circuits have ended

	// constant after the HELLO
	secret   wtproto.Secret
	endpoint wtproto.EndpointID
	credit   uint64 // bytes of credit that a circuit starts with
	agent    string

	// constant after the Authorizer's answer
	grant                  auth.Grant
	principal              *principal // nil before it holds a session
	allowance              *allowance // nil if its bytes are not limited
	maxTopics, maxCircuits int        // at once; negative for no limit
	maxPairCircuits        int        // further ones with one peer on a topic; negative for no limit
	level                  slog.Level // of the lines of log about its start and end

	control sync.WaitGroup // of the control stream's reader and writer; grows while mu is held and ctx goes on

	mu      sync.Mutex
	str     stream                          // guarded by mu; the control stream, once the session has started
	writing bool                            // guarded by mu; write runs
	out     outbox                          // guarded by mu
	joined  map[wtproto.Topic]*subscription // guarded by mu
	legs    map[wtproto.CircuitID]*leg      // guarded by mu
	late    int                             // guarded by mu; CREDITs that may still come for circuits that have ended
	places  int                             // guarded by mu; legs reserved
	leaving bool                            // guarded by mu; the session has left its topics for good, and clear is open
	lastID  wtproto.CircuitID               // guarded by mu
	goaway  bool                            // guarded by mu; nothing new is given
	silence silence                         // guarded by mu; from WELCOME on
	look    *time.Timer                     // guarded by mu; calls checkSilence; nil before run
	pings   uint64                          // guarded by mu; how many were sent
	greeted bool                            // guarded by mu; a HELLO came
}

func newSession(s *Server, l link, admit func()) *session {
	ctx, cancel := context.WithCancelCause(s.ctx)
	ses := &session{
		server: s, cfg: &s.cfg, link: l, from: s.cfg.principal(&auth.Grant{}, l.remoteAddr()), admit: admit, ctx: ctx, cancel: cancel,
		clear:     make(chan struct{}),
		rates:     newFrameRates(&s.cfg),
		out:       outbox{limit: s.cfg.MaxControlBytes},
		joined:    make(map[wtproto.Topic]*subscription),
		maxTopics: s.cfg.MaxTopics, maxCircuits: s.cfg.MaxCircuits, maxPairCircuits: s.cfg.MaxPairCircuits,
		legs: make(map[wtproto.CircuitID]*leg),
	}
	rand.Read(ses.id[:])
	return ses
}

// isEnding reports whether the session ends. With its server that of another session may come first,
// and be acted on before ctx is told.
func (s *session) isEnding() bool { return s.ctx.Err() != nil || s.server.ctx.Err() != nil }

// run serves the session until it ends, tells the client why, and returns the cause. The others
// come first: their ends of its circuits are reset before the client is told, which may take
// seconds.
func (s *session) run() *wtproto.Error {
	var wg sync.WaitGroup
	s.server.remains.enter(remainsSession)
	defer s.server.remains.leave(remainsSession)
	s.serve(&wg)
	s.mu.Lock() // after this, control does not grow
	started := s.str != nil
	s.look.Stop()
	s.mu.Unlock()
	s.control.Wait() // the reader joins topics
	cause := asError(context.Cause(s.ctx))
	s.abortAll()
	s.leaveAll()
	s.server.remains.enter(remainsFarewell)
	s.link.close(cause.Code, clip(cause.Reason, wtproto.MaxReason))
	s.server.remains.leave(remainsFarewell)
	wg.Wait()
	s.server.forget(s)
	if s.principal != nil {
		s.server.ledger.give(s.principal, resourceSessions, 1)
	}
	if started {
		s.cfg.Observer.sessionEnded(s.info(), cause.Code)
		s.log(s.level, "session ended", "code", cause.Code, "reason", cause.Reason, "remote", cause.Remote)
	} else {
		s.cfg.Observer.sessionRefused(cause.Code)
		s.log(slog.LevelDebug, "session refused", "code", cause.Code, "reason", cause.Reason, "address", s.link.remoteAddr())
	}
	return cause
}

// serve takes the client's streams until the session ends. Each says in its first frame what it
// is.
func (s *session) serve(wg *sync.WaitGroup) {
	s.mu.Lock()
	s.look = time.AfterFunc(s.cfg.HelloTimeout, s.checkSilence)
	s.mu.Unlock()
	if from := s.link.page(); !s.server.pages.allow(from, s.server.port()) {
		s.cancel(wtproto.Errorf(wtproto.CodeForbidden, "origin %q is not allowed here", clip(from.origin, 128)))
	}
	for s.ctx.Err() == nil {
		str, err := s.link.accept(s.ctx)
		if err != nil {
			s.cancel(&wtproto.Error{Code: wtproto.CodeNone, Remote: true, Reason: "the client is gone", Err: err})
			return
		}
		wg.Go(func() {
			if way := s.firstFrame(str); way != nil {
				way.run()
			}
		})
	}
}

// start does what HELLO asks for, and sends WELCOME.
func (s *session) start(str stream, hello wtproto.Hello) error {
	s.secret, s.credit, s.agent = hello.Secret, hello.Credit, hello.Agent
	s.endpoint = s.secret.Endpoint()
	if err := s.authorize(hello.Token); err != nil {
		return err
	}
	s.limitCircuits(hello.Circuits)
	welcome := wtproto.Welcome{
		Version:     min(hello.Version, wtproto.Version),
		Session:     s.id,
		MaxTopics:   advertised(s.maxTopics),
		MaxCircuits: advertised(s.maxCircuits),
		Agent:       s.cfg.Agent,
	}
	if s.cfg.Hashes != nil {
		welcome.Hashes = s.cfg.Hashes()
	}
	s.mu.Lock()
	s.silence = newSilence(s.cfg, time.Now())
	s.mu.Unlock()
	s.send(welcome.Append(nil))
	if err := s.server.register(s); err != nil {
		return err
	}
	s.cfg.Observer.sessionStarted(s.info())
	if r := s.server.ledger.spend(s.principal, flowLogLines, 1, time.Now()); r != nil {
		s.level = slog.LevelDebug
		s.cfg.Observer.refused(r)
	}
	s.log(s.level, "session started", "endpoint", s.endpoint, "agent", s.agent, "name", s.grant.Name)
	s.open(str)
	return nil
}

// limitCircuits sets the session's limits of circuits to what the client wants, if that is less
// than what it may have. One peer leaves places to others then too.
func (s *session) limitCircuits(wanted uint64) {
	s.maxCircuits = tighter(s.maxCircuits, int(min(wanted, math.MaxInt)))
	if n := s.maxCircuits; n > 0 && n != s.cfg.MaxCircuits {
		s.maxPairCircuits = tighter(s.maxPairCircuits, n-n/8)
	}
}

// firstFrame reads the first frame of a stream, which says what the stream is. If that is a circuit
// now, it may return a direction to run. A stream that is reset or silent ends alone; a wrong frame
// ends the session.
func (s *session) firstFrame(str stream) (way *direction) {
	str.SetReadDeadline(time.Now().Add(s.cfg.FirstFrameTimeout))
	typ, payload, err := wtproto.NewReader(str).Next()
	if err == nil {
		str.SetReadDeadline(time.Time{})
		switch typ {
		case wtproto.TypeHello:
			if err = s.handleHello(str, payload); err == nil {
				return nil
			}
		case wtproto.TypeAccept:
			if err = s.accepted(str, payload); err == nil {
				return nil
			}
		case wtproto.TypeConnect:
			if way, err = s.connect(str, payload); err == nil {
				return way
			}
		default:
			err = wtproto.Errorf(wtproto.CodeProtocol, "frame 0x%x cannot be the first of a stream", uint64(typ))
		}
	}
	if e := s.rates.count(len(payload)); e != nil {
		s.cancel(e)
	}
	if err != nil {
		s.pace(s.from, 1)
	}
	e, decided := errors.AsType[*wtproto.Error](err)
	switch {
	case err == nil:
	case errors.Is(err, errWithdrawn):
		reset(str, wtproto.CodeWithdrawn)
	case decided && !e.Remote && e.Code != wtproto.CodePeerGone:
		s.cancel(e)
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.cancel(wtproto.Errorf(wtproto.CodeProtocol, "a stream ended within its first frame"))
	case errors.Is(err, os.ErrDeadlineExceeded):
		reset(str, wtproto.CodeIdle)
	default:
		reset(str, wtproto.CodeNone)
	}
	return nil
}

// handleHello begins the session with HELLO, the first frame of str, and reads str until the
// session ends.
func (s *session) handleHello(str stream, payload []byte) error {
	msg, err := wtproto.ParseHello(payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	second, over := s.greeted, s.ctx.Err() != nil
	s.greeted = true
	if !second && !over {
		s.control.Add(1)
	}
	s.mu.Unlock()
	switch {
	case second:
		return wtproto.Errorf(wtproto.CodeProtocol, "a second HELLO")
	case over:
		return context.Cause(s.ctx)
	}
	defer s.control.Done()
	if q, ok := str.(*quicStream); ok {
		q.goFirst()
	}
	stop := context.AfterFunc(s.ctx, func() {
		str.SetReadDeadline(past)
		str.SetWriteDeadline(past)
	})
	defer stop()
	if err = s.rates.count(len(payload)); err == nil {
		err = s.start(str, msg)
	}
	if err == nil {
		err = s.readLoop(str)
	}
	s.cancel(err)
	return nil
}

// errWithdrawn is the error of an ACCEPT for an offer that is gone.
var errWithdrawn = errors.New("server: the offer is gone")

// accepted gives a stream to the circuit that it is for.
func (s *session) accepted(str stream, payload []byte) error {
	msg, err := wtproto.ParseAccept(payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.givenLocked(msg.Circuit)
	if err != nil {
		return err
	}
	if l == nil || l.state != offered {
		return errWithdrawn
	}
	l.state = answered
	l.answer <- answer{stream: str}
	return nil
}

// givenLocked returns the leg of a circuit, nil if it has ended, or an error if the id was never
// given.
func (s *session) givenLocked(id wtproto.CircuitID) (*leg, error) {
	if id == 0 || id > s.lastID {
		return nil, wtproto.Errorf(wtproto.CodeProtocol, "the gateway has not opened circuit %d", id)
	}
	return s.legs[id], nil
}

// readSize is how much of the control stream is read at once, if a frame is not longer.
const readSize = 512

// readLoop reads the control stream.
func (s *session) readLoop(str stream) error {
	r := wtproto.NewReader(bufio.NewReaderSize(str, readSize))
	for s.ctx.Err() == nil {
		typ, payload, err := r.Next()
		if err != nil {
			return controlError(err)
		}
		s.mu.Lock()
		s.silence.hear(time.Now())
		s.mu.Unlock()
		if err := s.handle(typ, payload); err != nil {
			return err
		}
	}
	return context.Cause(s.ctx)
}

func controlError(err error) error {
	if e, ok := errors.AsType[*wtproto.Error](err); ok && !e.Remote && e.Code != wtproto.CodePeerGone {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return wtproto.Errorf(wtproto.CodeProtocol, "the control stream ended within a frame")
	}
	return clientDone(err)
}

// handle acts on one control frame.
func (s *session) handle(typ wtproto.Type, payload []byte) error {
	if typ != wtproto.TypeCredit { // which counts if it was not due
		if err := s.rates.count(len(payload)); err != nil {
			return err
		}
		s.pace(s.principal, 1)
	}
	if asks(typ) {
		if err := s.rates.ask(); err != nil {
			return err
		}
		s.pace(s.principal, framesOfEachAsk) // it makes as much work
	}
	switch typ {
	case wtproto.TypeJoin:
		m, err := wtproto.ParseJoin(payload)
		if err != nil {
			return err
		}
		s.join(m)
	case wtproto.TypeLeave:
		m, err := wtproto.ParseLeave(payload)
		if err != nil {
			return err
		}
		s.leave(m.Topic)
	case wtproto.TypeDecline:
		m, err := wtproto.ParseDecline(payload)
		if err != nil {
			return err
		}
		return s.declined(m)
	case wtproto.TypeCredit:
		m, err := wtproto.ParseCredit(payload)
		if err != nil {
			return err
		}
		return s.credited(m, len(payload))
	case wtproto.TypeGoaway:
		if _, err := wtproto.ParseGoaway(payload); err != nil {
			return err
		}
		s.finish()
	case wtproto.TypePing:
		m, err := wtproto.ParsePing(payload)
		if err != nil {
			return err
		}
		s.queue(func(o *outbox) bool { return o.setPong(wtproto.Pong(m)) })
	case wtproto.TypePong:
		_, err := wtproto.ParsePong(payload)
		return err
	case wtproto.TypeHello:
		return wtproto.Errorf(wtproto.CodeProtocol, "a second HELLO")
	case wtproto.TypeAccept:
		return wtproto.Errorf(wtproto.CodeProtocol, "ACCEPT on the control stream")
	case wtproto.TypeConnect:
		return wtproto.Errorf(wtproto.CodeProtocol, "CONNECT on the control stream")
	default:
		if typ.Known() {
			return wtproto.Errorf(wtproto.CodeProtocol, "%v does not come from clients", typ)
		}
	}
	return nil
}

// declined refuses an offer, or ends an open circuit for a client whose platform cannot send the
// code in a reset.
func (s *session) declined(m wtproto.Decline) error {
	s.mu.Lock()
	l, err := s.givenLocked(m.Circuit)
	waits := l != nil && l.state == offered
	if waits {
		l.state = answered
		l.answer <- answer{code: m.Code}
	}
	s.mu.Unlock()
	if l != nil && !waits {
		l.circuit.over.end(remoteReset(m.Code, nil))
	}
	return err
}

func (s *session) info() SessionInfo {
	return SessionInfo{ID: s.id, Transport: s.link.transport(), Agent: s.agent}
}

// log writes a line of log about s. A logger of its own would cost each session memory for lines
// that are not written.
func (s *session) log(level slog.Level, msg string, args ...any) {
	if l := s.cfg.Logger; l.Enabled(s.ctx, level) {
		l.With("session", s.id, "transport", s.link.transport()).Log(s.ctx, level, msg, args...)
	}
}

// asError returns err as an [*wtproto.Error].
func asError(err error) *wtproto.Error {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e
	}
	return &wtproto.Error{Code: wtproto.CodeInternal, Err: err}
}

// clip cuts s to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
