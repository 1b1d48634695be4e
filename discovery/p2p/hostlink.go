package p2p

import (
	"bufio"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// maxLinkTopics is the largest number of topics on which two hosts meet, or ask to meet.
	maxLinkTopics = 4096
	// maxUnanswered is how many unanswered MEETs each of two hosts may have on a link. So the
	// answers, mostly refusals, take little room if the other host does not read.
	maxUnanswered = 512
	// maxUnread is how many frames may wait for a host that does not read them.
	maxUnread = 4 * maxLinkTopics
	// How many frames another host may send on a link a second, and at once.
	frameRate, frameBurst = 5000, 20_000
	// How many of its MEETs we may refuse a second, and at once. Some are no breach, because
	// records of a host live on for a while after it has left a topic.
	refusedRate, refusedBurst = 100, 3 * maxLinkTopics
	// writeChunk is about how many bytes of frames are written at once, of at most chunkFrames
	// frames.
	writeChunk  = 16 << 10
	chunkFrames = 256
)

// link is the control stream with another host: one for a pair of hosts, whatever number of topics
// they share. It belongs to two goroutines, run and write. The first to fail ends both. links.mu
// guards all fields that are not constant.
type link struct {
	// constant; host before the link is established
	links *links
	n     *neighbor
	s     stream
	ours  bool // we opened the stream
	host  wtproto.Host
	more  chan struct{} // has an element when there is something to write
	gone  chan struct{} // closed by run when the stream has ended
	wrote chan struct{} // closed by write when nothing will be written any more

	frames  *rate.Limiter // of what comes
	refused *rate.Limiter // of MEETs that we refuse
	guesses guesses

	queue   []word
	full    bool              // the queue was too long
	owed    map[[32]byte]bool // topics with a MEET for which MET is not written yet
	closing bool              // the end of the stream follows the queue
	ended   bool              // no topic uses it any more
	cause   error             // why this side ended it
	late    *time.Timer       // ends the link if no answer to MEET comes
	idle    *time.Timer       // ends the link if nobody needs it
	resting bool              // idle runs
}

// word is a frame that waits to be written. Its list of endpoints is made when it is written.
type word struct {
	typ    wtproto.Type
	digest [32]byte
	code   wtproto.Code // of MET and PART
	flags  wtproto.MeetFlags
	r      *remote // the remote for whose topic endpoints are listed; nil in a refusal and in PART
}

// newLink returns a link on a stream that we have opened, or on which HOST came.
func (ls *links) newLink(s stream, ours bool) *link {
	l := &link{
		links: ls, s: s, ours: ours, owed: make(map[[32]byte]bool), guesses: newGuesses(),
		frames: rate.NewLimiter(frameRate, frameBurst), refused: rate.NewLimiter(refusedRate, refusedBurst),
		more: make(chan struct{}, 1), gone: make(chan struct{}), wrote: make(chan struct{}),
	}
	l.late = time.AfterFunc(time.Hour, func() {
		l.fail(&wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: noAnswer("MEET")}, wtproto.CodeIdle)
	})
	l.idle = time.AfterFunc(time.Hour, func() { ls.rest(l) })
	l.late.Stop()
	l.idle.Stop()
	return l
}

// id returns the other host's.
func (l *link) id() peer.ID { return l.s.Conn().RemotePeer() }

// isGateway reports whether the other host says that it is one.
func (l *link) isGateway() bool { return l.host.Flags&wtproto.HostGateway != 0 }

// fail ends l because of err. The other host gets code.
func (l *link) fail(err error, code wtproto.Code) {
	l.links.mu.Lock()
	if l.cause == nil {
		l.cause = err
	}
	l.links.mu.Unlock()
	reset(l.s, code) // ends run
}

// run reads and writes frames until the link ends.
func (l *link) run() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.write(); err != nil {
			l.fail(err, codeOf(err))
		}
	}()
	err := l.read()
	close(l.gone)
	l.links.end(l, err)
	reset(l.s, codeOf(err))
	<-done
}

// read takes frames until the stream ends, and returns why it did.
func (l *link) read() error {
	frames := wtproto.NewReader(bufio.NewReaderSize(l.s.rw, 4<<10)) // nothing but frames comes
	for {
		typ, payload, err := frames.Next()
		if err != nil {
			return err
		}
		if !l.frames.Allow() {
			return wtproto.Errorf(wtproto.CodeRateLimited, "frames come too fast")
		}
		if err := l.handle(typ, payload); err != nil {
			return err
		}
	}
}

// handle acts on one frame. An error ends the link.
func (l *link) handle(typ wtproto.Type, payload []byte) error {
	h := l.links.h
	switch typ {
	case wtproto.TypeMeet:
		m, err := wtproto.ParseMeet(payload)
		if err != nil {
			return err
		}
		return l.handleMeet(m)
	case wtproto.TypeMet:
		m, err := wtproto.ParseMet(payload)
		if err != nil {
			return err
		}
		return l.handleMet(m)
	case wtproto.TypeEndpoints:
		e, err := wtproto.ParseEndpoints(payload)
		if err != nil {
			return err
		}
		if t := h.topicOf(e.Digest); t != nil {
			return t.handleEndpoints(l, e)
		}
	case wtproto.TypePart:
		p, err := wtproto.ParsePart(payload)
		if err != nil {
			return err
		}
		if t := h.topicOf(p.Digest); t != nil {
			t.parted(l, p.Code)
		}
	case wtproto.TypeGuess:
		m, err := wtproto.ParseGuess(payload)
		if err != nil {
			return err
		}
		return l.handleGuess(m)
	default:
		if typ.Known() {
			return wtproto.Errorf(wtproto.CodeProtocol, "%v on a control stream", typ)
		}
	}
	return nil
}

// handleMeet answers MEET.
func (l *link) handleMeet(m wtproto.Meet) error {
	if err := l.links.owe(l, m.Digest); err != nil {
		return err
	}
	t := l.links.h.proven(m.Digest, wtproto.ProofMeet, m.Proof, l.id())
	code := wtproto.CodeForbidden
	if t != nil && t.tasks.begin() {
		code = t.welcome(l, m)
		t.tasks.end()
	} else {
		l.links.say(l, word{typ: wtproto.TypeMet, digest: m.Digest, code: code})
	}
	if code != wtproto.CodeNone && !l.refused.Allow() {
		return wtproto.Errorf(wtproto.CodeRateLimited, "MEET comes too often")
	}
	return nil
}

// handleMet takes the answer to MEET.
func (l *link) handleMet(m wtproto.Met) error {
	r, due := l.links.answered(l, m.Digest)
	switch {
	case !due:
		return wtproto.Errorf(wtproto.CodeProtocol, "MET without MEET")
	case r == nil: // the topic was left meanwhile
		return nil
	}
	return r.t.answered(l, r, m)
}

// write writes the queue, many frames at once, until the link ends.
func (l *link) write() error {
	defer close(l.wrote)
	var b []byte
	for {
		words, end, err := l.links.take(l)
		if err != nil {
			return err
		}
		b = b[:0]
		for i, w := range words {
			if b = l.compose(b, w); len(b) < writeChunk && i < len(words)-1 {
				continue
			}
			if err := l.put(b); err != nil {
				return err
			}
			b = b[:0]
		}
		if err := l.guess(); err != nil {
			return err
		}
		switch {
		case end:
			// The other host answers this with its end, which ends run.
			return l.s.CloseWrite()
		case len(words) > 0:
			continue
		}
		select {
		case <-l.more:
		case <-l.gone:
			return nil
		}
	}
}

// put writes frames. The other host has to make room for them in time.
func (l *link) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := l.s.write(b, l.links.h.AnswerTimeout); err != nil {
		return err
	}
	l.links.progress(l)
	return nil
}

// compose appends the frame of w to b.
func (l *link) compose(b []byte, w word) []byte {
	h, id := l.links.h, l.id()
	switch w.typ {
	case wtproto.TypeMeet:
		e, state, _ := w.r.t.advertisement(w.r)
		proof := h.prove(w.r.t.key, wtproto.ProofMeet, id)
		return wtproto.Meet{Digest: w.digest, Proof: proof, Flags: w.flags, State: state, Endpoints: e}.Append(b)
	case wtproto.TypeMet:
		m := wtproto.Met{Digest: w.digest, Code: w.code}
		if w.r != nil {
			m.Endpoints, m.State, _ = w.r.t.advertisement(w.r)
			m.Proof = h.prove(w.r.t.key, wtproto.ProofMet, id)
		}
		return m.Append(b)
	case wtproto.TypeEndpoints:
		if e, state, changed := w.r.t.advertisement(w.r); changed {
			return wtproto.Endpoints{Digest: w.digest, State: state, Endpoints: e}.Append(b)
		}
	case wtproto.TypePart:
		return wtproto.Part{Digest: w.digest, Code: w.code}.Append(b)
	}
	return b
}

// hello sends HOST on our stream, and waits for the other host's.
func (l *link) hello() error {
	h := l.links.h
	if err := l.s.write(h.hostFrame(), h.AnswerTimeout); err != nil {
		return answerError("HOST", err)
	}
	if err := l.s.SetReadDeadline(time.Now().Add(h.AnswerTimeout)); err != nil {
		return answerError("HOST", err)
	}
	payload, err := await(wtproto.NewReader(l.s.rw), wtproto.TypeHost)
	if err != nil {
		return answerError("HOST", err)
	}
	if l.host, err = wtproto.ParseHost(payload); err != nil {
		return err
	}
	return l.s.SetReadDeadline(time.Time{})
}

// hostFrame returns our first frame.
func (h *Host) hostFrame() []byte {
	m := wtproto.Host{Run: h.run}
	if h.Gateway {
		m.Flags = wtproto.HostGateway
	}
	return m.Append(nil)
}

// serveHost makes a stream on which another host sent HOST the link with it, and serves the link
// until it ends.
func (h *Host) serveHost(s stream, host wtproto.Host) {
	id := s.Conn().RemotePeer()
	if h.links.shunned(id) != nil {
		reset(s, wtproto.CodeBusy)
		return
	}
	l := h.links.newLink(s, false)
	l.host = host
	if !h.links.yield(l) { // both hosts have opened a link, and ours stays
		reset(s, wtproto.CodeReplaced)
		return
	}
	if err := s.write(h.hostFrame(), h.AnswerTimeout); err != nil {
		reset(s, codeOf(err))
		return
	}
	if !h.links.establish(l) {
		reset(s, wtproto.CodeShutdown)
		return
	}
	l.run()
}

// isReplaced reports whether err says that another link has replaced this one.
func isReplaced(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Code == wtproto.CodeReplaced
}
