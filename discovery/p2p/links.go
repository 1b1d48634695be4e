package p2p

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

// linkIdle is how long a link stays that no topic needs.
const linkIdle = time.Minute

// links owns the link with each other host, and knows which topics need it. Topics ask for hosts,
// and links calls them with the result. It calls topics without its lock. They may hold theirs
// when they call links.
type links struct {
	h         *Host         // constant
	strangers *rate.Limiter // constant; of tags that are computed for strangers

	mu      sync.Mutex
	hosts   map[peer.ID]*neighbor // guarded by mu; those with a link, and those with which one is wanted
	closed  bool                  // guarded by mu
	kin     [len(maxKin)]int      // guarded by mu; links of each kind
	kinFull time.Time             // guarded by mu; until then no host that is met can get the place of another one
	seeks   map[peer.ID]*seeking  // guarded by mu; hosts of the LAN that cannot be reached
	faulty  map[peer.ID]*faulty   // guarded by mu; hosts that broke the rules
}

func newLinks(h *Host) *links {
	return &links{
		h: h, strangers: rate.NewLimiter(strangerRate, strangerBurst),
		hosts: make(map[peer.ID]*neighbor), seeks: make(map[peer.ID]*seeking), faulty: make(map[peer.ID]*faulty),
	}
}

// ask sends MEET to r, and makes a link first if there is none. It calls answered or failed of r's
// topic once with the result, unless the topic calls part before. If it returns a code other than
// NONE, it sends nothing and calls nothing. It ends turn, the topic's turn to dial.
func (ls *links) ask(r *remote, where target, flags wtproto.MeetFlags, turn *turn) wtproto.Code {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		turn.done()
		return wtproto.CodeShutdown
	}
	n := ls.neighborLocked(r.id)
	if n.meetings[r.t.digest] == nil && n.usedLocked() >= maxLinkTopics {
		turn.done()
		return wtproto.CodeTopicLimit
	}
	n.wants[r.t.digest] = want{r, where, flags}
	if n.link != nil {
		turn.done()
		ls.pumpLocked(n)
	} else {
		ls.openLocked(n, turn)
	}
	return wtproto.CodeNone
}

// pumpLocked queues MEET for the topics that want it, as many as are allowed. A topic whose MEET
// is under way has to wait.
func (ls *links) pumpLocked(n *neighbor) {
	for digest, w := range n.wants {
		if len(n.asked) >= maxUnanswered {
			return
		}
		if _, underway := n.asked[digest]; underway {
			continue
		}
		delete(n.wants, digest)
		n.asked[digest] = w.r
		n.link.late.Reset(ls.h.AnswerTimeout)
		ls.sayLocked(n.link, word{typ: wtproto.TypeMeet, digest: digest, r: w.r, flags: w.flags})
	}
}

// say queues w on l. It never blocks.
func (ls *links) say(l *link, w word) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.sayLocked(l, w)
}

func (ls *links) sayLocked(l *link, w word) {
	if l.ended || l.closing {
		return
	}
	if len(l.queue) < maxUnread {
		l.queue = append(l.queue, w)
	} else {
		l.full = true
	}
	wake(l.more)
}

// take returns the frames that l has to write next, and whether the end of the stream follows. It
// fails if the queue was full. The frames count as written, so it returns few at once.
func (ls *links) take(l *link) (words []word, end bool, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.full {
		return nil, false, wtproto.Errorf(wtproto.CodeBusy, "the host does not read its frames")
	}
	n := min(len(l.queue), chunkFrames)
	words, l.queue = l.queue[:n:n], l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	for _, w := range words {
		switch w.typ {
		case wtproto.TypeMet:
			delete(l.owed, w.digest)
		case wtproto.TypeEndpoints:
			w.r.advertising = false
		}
	}
	return words, l.closing && len(l.queue) == 0, nil
}

// progress notes that the other host reads, and gives its answers more time.
func (ls *links) progress(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.progressLocked(l)
}

func (ls *links) progressLocked(l *link) {
	switch {
	case l.ended: // the other host has to end it as well
	case len(l.n.asked) > 0:
		l.late.Reset(ls.h.AnswerTimeout)
	default:
		l.late.Stop()
	}
}

// owe notes that we have to answer with MET, or returns why the other host must not ask now.
func (ls *links) owe(l *link, digest [32]byte) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	switch {
	case l.owed[digest]:
		return wtproto.Errorf(wtproto.CodeProtocol, "MEET again before MET")
	case len(l.owed) >= maxUnanswered:
		return wtproto.Errorf(wtproto.CodeRateLimited, "too many MEETs before their answers were read")
	}
	l.owed[digest] = true
	return nil
}

// answered takes the answer to our MEET. It returns the host on the topic, nil if the topic was
// left meanwhile, and whether there was such a MEET.
func (ls *links) answered(l *link, digest [32]byte) (r *remote, due bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := l.n
	if n.link != l {
		return nil, true // the topic knows that the link has ended
	}
	r, due = n.asked[digest]
	delete(n.asked, digest)
	ls.progressLocked(l)
	ls.pumpLocked(n)
	ls.restLocked(l)
	return r, due
}

// part ends the meeting with r, and the wait for one. After it, links does not call r's topic.
func (ls *links) part(r *remote, code wtproto.Code) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := ls.hosts[r.id]
	if n == nil {
		return
	}
	digest := r.t.digest
	if n.wants[digest].r == r {
		delete(n.wants, digest)
	}
	if n.former[digest] == r {
		delete(n.former, digest)
	}
	known := ls.dropMeetingLocked(n, r)
	if n.asked[digest] == r {
		n.asked[digest] = nil
		known = true // the other host will meet us when MEET arrives
	}
	if known && n.link != nil {
		ls.sayLocked(n.link, word{typ: wtproto.TypePart, digest: digest, code: code})
		ls.restLocked(n.link)
	}
	ls.forgetLocked(n)
}

// advertise sends our endpoints to the host of r, if they differ from those that it knows.
func (ls *links) advertise(r *remote) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := ls.hosts[r.id]
	if n == nil || n.link == nil || n.meetings[r.t.digest] != r || r.advertising {
		return
	}
	r.advertising = true
	ls.sayLocked(n.link, word{typ: wtproto.TypeEndpoints, digest: r.t.digest, r: r})
}

// yield decides which link stays if both hosts have opened one, and reports whether it is l, which
// the other host has opened. If ours does not stay, yield resets it before we answer l.
func (ls *links) yield(l *link) bool {
	ls.mu.Lock()
	n := ls.hosts[l.id()]
	if n == nil || n.trying == nil {
		ls.mu.Unlock()
		return true
	}
	if ls.h.id < l.id() {
		ls.mu.Unlock()
		return false
	}
	ours := n.trying
	n.trying = nil
	ls.mu.Unlock()
	reset(ours.s, wtproto.CodeReplaced)
	return true
}

// establish makes l the link with its host, and reports whether that is possible. Both hosts have
// sent HOST on l. An older link has ended for the other host, or will end soon.
func (ls *links) establish(l *link) bool {
	ls.mu.Lock()
	if ls.closed {
		ls.mu.Unlock()
		return false
	}
	n := ls.neighborLocked(l.id())
	if l.ours && n.trying != l { // another link has replaced it meanwhile
		ls.mu.Unlock()
		return false
	}
	l.n = n
	older := n.link
	var over ended
	if older != nil {
		over = ls.detachLocked(older)
	}
	if n.trying == l {
		n.trying = nil
	}
	if l.ours {
		n.opening = false
	}
	var reborn []*remote
	if n.run != l.host.Run {
		for _, r := range n.former {
			reborn = append(reborn, r)
		}
	}
	clear(n.former)
	n.link, n.run = l, l.host.Run
	close(n.arrived)
	n.arrived = make(chan struct{})
	ls.soughtLocked(n, true)
	if _, near := ls.h.lan.target(n.id); near {
		ls.kinLocked(l, kinNear)
	}
	ls.pumpLocked(n)
	ls.restLocked(l)
	ls.mu.Unlock()

	if older != nil {
		reset(older.s, wtproto.CodeReplaced)
		over.notify(older, wtproto.Errorf(wtproto.CodeReplaced, "a newer link replaces this one"))
	}
	for _, r := range reborn {
		r.t.reborn(r)
	}
	return true
}

// ended lists the topics that needed a link that has ended.
type ended struct{ asked, meetings []*remote }

// notify tells topics that l has ended.
func (e ended) notify(l *link, err error) {
	for _, r := range e.asked {
		r.t.failed(r, answerError("MEET", err))
	}
	for _, r := range e.meetings {
		r.t.lost(l, r)
	}
}

// detachLocked takes l out of use.
func (ls *links) detachLocked(l *link) (e ended) {
	n := l.n
	n.link, l.ended = nil, true
	ls.kinEndLocked(l)
	l.late.Stop()
	l.idle.Stop()
	for _, r := range n.asked {
		if r != nil {
			e.asked = append(e.asked, r)
		}
	}
	clear(n.asked)
	for digest, r := range n.meetings {
		e.meetings = append(e.meetings, r)
		n.former[digest] = r
	}
	if len(n.meetings) > 0 {
		ls.h.ties.dropMeeting(n.id)
	}
	clear(n.meetings)
	for _, w := range l.queue {
		if w.typ == wtproto.TypeEndpoints {
			w.r.advertising = false
		}
	}
	l.queue = nil
	return e
}

// end takes l out of use, and tells the topics that needed it. It may be called more than once.
func (ls *links) end(l *link, err error) {
	ls.mu.Lock()
	if l.ended {
		ls.mu.Unlock()
		return
	}
	n := l.n
	if l.cause != nil {
		err = l.cause
	}
	if isFault(err) {
		ls.blameLocked(n.id, err)
	}
	e := ls.detachLocked(l)
	if len(n.former) > 0 {
		time.AfterFunc(lostHold, func() { ls.forgetFormer(n) })
	}
	if len(n.wants) > 0 {
		ls.openLocked(n, nil)
	}
	ls.forgetLocked(n)
	ls.mu.Unlock()
	ls.h.log.Debug("link ended", "peer", n.id.String(), "error", err)
	e.notify(l, err)
}

// restLocked lets l end after a while if no topic needs it.
func (ls *links) restLocked(l *link) {
	unused := l.n.usedLocked() == 0
	switch {
	case unused && !l.resting:
		l.idle.Reset(linkIdle)
	case !unused:
		l.idle.Stop()
	}
	l.resting = unused
}

// rest ends l if no topic needs it.
func (ls *links) rest(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := l.n
	if n.link != l || n.usedLocked() > 0 {
		return
	}
	if _, near := ls.h.lan.target(n.id); near && l.guesses.kin == kinNear {
		l.idle.Reset(linkIdle) // it may be on topics that we join later
	} else {
		ls.detachLocked(l)
		ls.forgetLocked(n)
		l.closing = true
		wake(l.more)
		l.late.Reset(ls.h.AnswerTimeout) // the other host has to end the stream by then
	}
}

// close ends all links after their queues. It returns when everything is written, or when ctx
// ends. links refuses links that come later.
func (ls *links) close(ctx context.Context) {
	ls.mu.Lock()
	ls.closed = true
	var all []*link
	for _, n := range ls.hosts {
		if n.link != nil {
			n.link.closing = true
			wake(n.link.more)
			all = append(all, n.link)
		}
	}
	ls.mu.Unlock()
	for _, l := range all {
		select {
		case <-l.wrote:
		case <-ctx.Done():
			return
		}
	}
}
