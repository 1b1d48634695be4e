package client

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// firstFrameTimeout is how long a stream may take to say which circuit it is.
const firstFrameTimeout = 5 * time.Second

// farewell is how long a session that is finished waits for the gateway to end it, which does so when
// the peers have everything.
const farewell = time.Minute

// session is one connection to a gateway and its circuits. Its goroutines: run, which watches over
// the gateway's silence, the reader and the writer of the control stream, the acceptor of streams,
// one for each stream that has not said yet what it is, and one for each circuit that was closed
// and whose peer still sends.
type session struct {
	// constant after newSession
	client   *Client
	cfg      *Config
	attempt  *attempt // that it came from
	link     link     // closed by run
	control  stream
	ctx      context.Context         // ends with the session; its cause is net.ErrClosed, errEnded or an *wtproto.Error
	cancel   context.CancelCauseFunc // the first cause counts
	wake     chan struct{}           // takes one; the outbox has something
	recheck  chan struct{}           // takes one; it is time for another look
	emptied  chan struct{}           // takes one; the last circuit has ended
	welcomed chan struct{}           // closed by the control reader, once it is the client's session
	wg       sync.WaitGroup          // of all goroutines but run

	// owned by the control reader
	log      *slog.Logger
	greeted  bool
	declined time.Time // up to when DECLINE is paid for

	flight map[wtproto.Topic]wtproto.Join // guarded by client.mu; sent together with HELLO, nil after WELCOME
	over   bool                           // guarded by client.mu; it has ended, and its circuits with it

	mu       sync.Mutex
	retired  bool                        // guarded by mu; another session has taken its place
	going    bool                        // guarded by mu; GOAWAY came
	ended    bool                        // guarded by mu; no goroutine is added to wg
	out      outbox                      // guarded by mu
	circuits map[wtproto.CircuitID]*Conn // guarded by mu; those that have not ended both ways
	asked    int                         // guarded by mu; CONNECTs that wait for their answer
	budget   budget                      // guarded by mu, with the accounts of all circuits
	life     liveness                    // guarded by mu
	used     bool                        // guarded by mu; there has been a circuit
	finished time.Time                   // guarded by mu; when the gateway was told that the session needs nothing more; zero before
}

// newSession opens the control stream and queues HELLO with a token, and with it the JOINs of all
// topics. After an error l is the caller's to close.
func newSession(c *Client, a *attempt, l link, token []byte) (*session, error) {
	control, err := l.tryOpen()
	if err != nil {
		return nil, sessionError(err)
	}
	if q, ok := control.(quicStream); ok {
		q.goFirst()
	}
	ctx, cancel := context.WithCancelCause(a.ctx)
	s := &session{
		client: c, cfg: &c.cfg, attempt: a, link: l, log: c.cfg.Logger, control: control, ctx: ctx, cancel: cancel,
		wake:     make(chan struct{}, 1),
		recheck:  make(chan struct{}, 1),
		emptied:  make(chan struct{}, 1),
		welcomed: make(chan struct{}),
		circuits: make(map[wtproto.CircuitID]*Conn),
		budget:   newBudget(c.cfg.Budget),
		life:     liveness{silence: c.cfg.Silence, heard: time.Now()},
	}
	s.out.frames = wtproto.Hello{
		Version:  wtproto.Version,
		Credit:   uint64(s.budget.reserve),
		Secret:   *c.cfg.Secret,
		Token:    token,
		Agent:    c.cfg.Agent,
		Circuits: min(uint64(c.cfg.MaxCircuits), 1<<62-1),
	}.Append(nil)
	s.flight = c.wanted()
	for _, m := range s.flight { // as many as there are: all of them are known to be wanted
		s.out.frames = m.Append(s.out.frames)
	}
	s.wakeUp()
	return s, nil
}

// run serves the session until it ends, tells the gateway why, and returns the cause.
func (s *session) run() error {
	s.wg.Go(func() { s.cancel(s.readLoop()) })
	s.wg.Go(func() { s.cancel(s.writeLoop()) })
	s.wg.Go(func() { s.cancel(s.acceptLoop()) })
	s.cancel(s.watch())
	cause := context.Cause(s.ctx)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	code, reason := codeOf(cause)
	s.link.close(code, reason)
	s.wg.Wait()
	return cause
}

// watch asks the gateway for signs of life, and finishes a session that was left, once it has no
// circuits; after GOAWAY the gateway ends it by itself. It returns why the session ended.
func (s *session) watch() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.recheck:
		case <-s.link.nobodyListens():
			s.mu.Lock()
			s.life.refused = true
			s.mu.Unlock()
		case <-s.link.tooNarrow():
			s.wg.Go(s.migrate)
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		s.mu.Lock()
		now := time.Now()
		if s.retired && !s.going && len(s.circuits)+s.asked == 0 {
			s.finishLocked()
		}
		finished := !s.finished.IsZero()
		found := s.life.check(now, len(s.circuits)+s.asked > 0)
		next, late := s.life.deadline, s.finished.Add(farewell)
		s.mu.Unlock()
		switch {
		case !finished:
		case !now.Before(late):
			return errEnded
		case late.Before(next):
			next = late
		}
		timer.Reset(next.Sub(now))
		switch found {
		case lost:
			return wtproto.Errorf(wtproto.CodeIdle, "no sign of life from the gateway for %v", s.cfg.Silence)
		case quiet:
			s.answer(paddedPing{})
		case refused, silent:
			if found == refused {
				s.answer(paddedPing{})
			}
			s.reportSilence()
			s.wg.Go(s.migrate)
		case heard:
			s.reportSilence()
		}
	}
}

// migrate looks for another path to a gateway that does not answer.
func (s *session) migrate() {
	if !s.link.migrate(s.ctx) {
		return
	}
	s.log.Info("the session goes on over another path")
	// The gateway follows when it has checked that path, which needs packets in more than one round
	// trip; and QUIC itself may wait for seconds until it sends the next one.
	for range 5 {
		s.answer(paddedPing{})
		select {
		case <-time.After(200 * time.Millisecond):
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		followed := !s.life.suspected
		s.mu.Unlock()
		if followed {
			return
		}
	}
}

// reportSilence tells the client whether the gateway is silent now. watch and the control reader
// may call it in either order.
func (s *session) reportSilence() {
	s.client.tell(s, func(m *machine, now time.Time) {
		s.mu.Lock()
		suspected := s.life.suspected
		s.mu.Unlock()
		if suspected {
			m.silent(now)
		} else {
			m.heard(now)
		}
	})
}

// finishLocked has the gateway end the session once the peers have all that was written. There must
// be no circuits.
func (s *session) finishLocked() {
	if s.finished.IsZero() {
		s.finished = time.Now()
		s.out.frames = wtproto.Goaway{Reason: "done"}.Append(s.out.frames)
		s.wakeUp()
		s.nudge()
	}
}

// retire tells that another session has taken the place of s, which ends with its last circuit.
func (s *session) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	s.nudge()
}

// nudge tells watch that circuits have come or gone.
func (s *session) nudge() {
	select {
	case s.recheck <- struct{}{}:
	default:
	}
}

// acceptLoop takes the streams that the gateway opens. It returns why there are no more.
func (s *session) acceptLoop() error {
	for {
		stream, err := s.link.accept(s.ctx)
		if err != nil {
			return err
		}
		s.wg.Go(func() { s.firstFrame(stream) })
	}
}

// firstFrame makes a circuit of a stream that the gateway opened. One that ends, is reset or says
// nothing in time ends alone, and so does one that is not for circuits; a malformed frame ends the
// session.
func (s *session) firstFrame(st stream) {
	st.SetReadDeadline(time.Now().Add(firstFrameTimeout))
	typ, payload, err := wtproto.NewReader(st).Next()
	if err != nil {
		code := wtproto.CodeNone
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = wtproto.CodeIdle
		}
		if e, ok := errors.AsType[*wtproto.Error](err); ok {
			code = e.Code
			s.cancel(e)
		}
		st.reset(code)
		return
	}
	st.SetReadDeadline(time.Time{})
	if typ != wtproto.TypePeer {
		st.reset(wtproto.CodeProtocol)
		return
	}
	peer, err := wtproto.ParsePeer(payload)
	if err != nil {
		s.cancel(err)
		return
	}
	select {
	case <-s.welcomed: // which it may have overtaken
	case <-s.ctx.Done():
		return
	}
	if code := s.admit(peer, st); code != wtproto.CodeNone {
		st.reset(code)
	}
}

// admit queues a circuit for its topic, on st or, if that is nil, on a stream that it opens to
// accept the offer. A code other than CodeNone says why it did not; the offer is not accepted
// then, and st is the caller's.
func (s *session) admit(m wtproto.Peer, st stream) wtproto.Code {
	t, filter := s.client.joinedTopic(s, m.Topic)
	if t == nil {
		return wtproto.CodeLeft
	}
	c := newConn(s, t, m)
	c.stream, c.offered = st, st == nil
	if filter != nil && !filter(c.Peer()) {
		return wtproto.CodeDeclined
	}
	if code := s.add(c); code != wtproto.CodeNone {
		return code
	}
	if c.offered {
		if err := s.accept(c); err != nil {
			s.remove(c)
			return wtproto.CodeBusy
		}
	}
	if code := t.push(c); code != wtproto.CodeNone {
		c.Reset(code)
	}
	return wtproto.CodeNone
}

// accept opens the stream of an offered circuit. It does not block: a small frame waits in the
// stream until it can be sent.
func (s *session) accept(c *Conn) error {
	stream, err := s.link.tryOpen()
	if err != nil {
		return err
	}
	c.stream = stream
	_, err = stream.Write(wtproto.Accept{Circuit: c.id}.Append(nil))
	stream.secure()
	return err
}

// add gives c a place, if there is one.
func (s *session) add(c *Conn) wtproto.Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished.IsZero() {
		return wtproto.CodeLeft
	}
	var ok bool
	if c.account, ok = s.budget.open(time.Now()); !ok {
		return wtproto.CodeCircuitLimit
	}
	return s.placeLocked(c)
}

// reserve keeps a place for c, which has no id yet, if there is one.
func (s *session) reserve(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ok bool
	if c.account, ok = s.budget.open(time.Now()); ok {
		if s.asked++; len(s.circuits) == 0 {
			s.nudge()
		}
	}
	return ok
}

// place gives c the place that was kept for it.
func (s *session) place(c *Conn) wtproto.Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.placeLocked(c)
}

func (s *session) placeLocked(c *Conn) wtproto.Code {
	if s.circuits[c.id] != nil {
		s.settleLocked(c)
		s.cancel(wtproto.Errorf(wtproto.CodeProtocol, "circuit %d came twice", c.id))
		return wtproto.CodeProtocol
	}
	s.circuits[c.id], s.used = c, true
	if len(s.circuits) == 1 {
		s.nudge()
	}
	return wtproto.CodeNone
}

// settled notes that a CONNECT was answered, or will not be.
func (s *session) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked--; s.asked == 0 && len(s.circuits) == 0 {
		s.nudge()
	}
}

// placed reports whether c has a place still.
func (s *session) placed(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.circuits[c.id] == c
}

// remove takes the place of c back. It may be called again.
func (s *session) remove(c *Conn) {
	s.mu.Lock()
	s.settleLocked(c)
	placed := s.circuits[c.id] == c
	if placed {
		delete(s.circuits, c.id)
		if len(s.circuits) == 0 {
			select {
			case s.emptied <- struct{}{}:
			default:
			}
			if s.retired {
				s.nudge()
			}
		}
	}
	s.mu.Unlock()
	if placed {
		c.topic.part(c, c.ending())
	}
}

// consumed counts n bytes that were read from c, and grants credit for more.
func (s *session) consumed(c *Conn, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.account.count(n) && c.account.open {
		s.cancel(wtproto.Errorf(wtproto.CodeProtocol, "the gateway sent more than its credit on circuit %d", c.id))
		return
	}
	if c.account.due() && s.budget.grant(&c.account, time.Now(), s.link.rtt()) {
		s.out.credit(c)
		s.wakeUp()
	}
}

// settle takes back the credit of a circuit whose gateway has sent all.
func (s *session) settle(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleLocked(c)
}

func (s *session) settleLocked(c *Conn) {
	s.budget.close(&c.account)
	s.out.drop(c)
}

// closeCircuits closes all circuits, each in its way.
func (s *session) closeCircuits() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.circuits))
	s.mu.Unlock()
	for _, c := range all {
		c.shut()
	}
}

// drain waits until all circuits have ended, finishes the session, and waits for its end. The error
// is ctx's cause.
func (s *session) drain(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.circuits) == 0 && s.used {
			s.finishLocked()
		}
		used := s.used
		s.mu.Unlock()
		if !used { // no peer waits for anything
			return nil
		}
		select {
		case <-s.emptied:
		case <-s.ctx.Done():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// of returns the circuits of topic that have not ended.
func (s *session) of(topic wtproto.Topic) (all []*Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.circuits {
		if c.topic.key == topic {
			all = append(all, c)
		}
	}
	return all
}

// spawn runs f on a goroutine of the session, if there still is one.
func (s *session) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.wg.Go(f)
	}
}

// fail ends the session with err, the error of one of its streams, unless it has ended already,
// and returns the error of its circuits.
func (s *session) fail(err error) error {
	s.cancel(sessionError(err))
	return circuitError(context.Cause(s.ctx))
}
