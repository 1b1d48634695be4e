package p2p

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	linkIdle = time.Minute // a link that nobody needs is kept
	lostKept = time.Minute // what was known of a host whose link was lost is believed
)

// links has the link with each other host, and knows who needs it: topics ask for hosts, not the
// other way round. It calls topics without its lock, and they call it with theirs.
type links struct {
	h         *Host         // constant
	strangers *rate.Limiter // constant; of tags that are computed because strangers ask

	mu      sync.Mutex
	hosts   map[peer.ID]*neighbor // guarded by mu; those with a link, and those with which one is wanted
	closed  bool                  // guarded by mu
	kin     [len(maxKin)]int      // guarded by mu; links of each kind
	kinFull time.Time             // guarded by mu; before, no place of those that are met is to be had from another one
	seeks   map[peer.ID]*seeking  // guarded by mu; hosts of the LAN that cannot be reached
	faulty  map[peer.ID]*faulty   // guarded by mu; hosts that broke the rules
}

// neighbor is another host, as far as all topics together are concerned. links.mu guards it.
type neighbor struct {
	id      peer.ID
	link    *link         // nil without one
	trying  *link         // ours, on which the other host has not said HOST yet
	opening bool          // a goroutine is getting a link, or will
	turn    *turn         // to dial, while that is waited for and no topic has brought one
	sought  bool          // for the sake of GUESS
	arrived chan struct{} // closed by the next link

	wants    map[[32]byte]want    // topics on which MEET is to be sent
	asked    map[[32]byte]*remote // topics whose MEET is under way; nil if the topic was left meanwhile
	meetings map[[32]byte]*remote // topics on which the two have met
	lost     map[[32]byte]*remote // topics on which they had, on the link before
	run      wtproto.Run          // of the last link
}

// want is a host that a topic wants to meet.
type want struct {
	r     *remote
	where target
	flags wtproto.MeetFlags
}

func newLinks(h *Host) *links {
	return &links{
		h: h, strangers: rate.NewLimiter(strangerRate, strangerBurst),
		hosts: make(map[peer.ID]*neighbor), seeks: make(map[peer.ID]*seeking), faulty: make(map[peer.ID]*faulty),
	}
}

func (ls *links) neighborLocked(id peer.ID) *neighbor {
	n := ls.hosts[id]
	if n == nil {
		n = &neighbor{
			id: id, arrived: make(chan struct{}), wants: make(map[[32]byte]want),
			asked: make(map[[32]byte]*remote), meetings: make(map[[32]byte]*remote), lost: make(map[[32]byte]*remote),
		}
		ls.hosts[id] = n
	}
	return n
}

// forgetLocked drops n if nothing is known of it.
func (ls *links) forgetLocked(n *neighbor) {
	if n.link == nil && n.trying == nil && !n.opening && len(n.wants)+len(n.lost) == 0 {
		delete(ls.hosts, n.id)
	}
}

// usedLocked returns on how many topics n is needed.
func (n *neighbor) usedLocked() int { return len(n.wants) + len(n.asked) + len(n.meetings) }

// ask has MEET sent to r, over a link that is made if there is none. What comes of it is told to
// r's topic: answered or failed is called once, unless part is called before. With a code other
// than NONE it is not sent, and nothing is called. It ends turn, which is the topic's to dial.
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

// pumpLocked queues MEET for the topics that want it, but for those on which one is under way, and
// for as many as may be.
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

// take returns what l has to write next, and whether the end of the stream follows, or that there
// was too much. What it returns counts as written, so it is not much.
func (ls *links) take(l *link) (words []word, end bool, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.full {
		return nil, false, wtproto.Errorf(wtproto.CodeBusy, "frames are not read")
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

// progress notes that the other host reads, so that its answers may take a while again.
func (ls *links) progress(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.progressLocked(l)
}

func (ls *links) progressLocked(l *link) {
	switch {
	case l.ended: // the other host is to end it as well
	case len(l.n.asked) > 0:
		l.late.Reset(ls.h.AnswerTimeout)
	default:
		l.late.Stop()
	}
}

// owe notes that MET is due, or returns why the other host must not ask now.
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

// answered returns whose MEET is answered, nil if its topic was left meanwhile, and whether there
// was one.
func (ls *links) answered(l *link, digest [32]byte) (r *remote, due bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := l.n
	if n.link != l {
		return nil, true // whoever asked was told that the link has ended
	}
	r, due = n.asked[digest]
	delete(n.asked, digest)
	ls.progressLocked(l)
	ls.pumpLocked(n)
	ls.restLocked(l)
	return r, due
}

// addMeeting notes that r is met over l, or returns why it cannot be.
func (ls *links) addMeeting(l *link, r *remote) wtproto.Code {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := l.n
	switch {
	case n.link != l:
		return wtproto.CodeBusy // the link has ended
	case n.meetings[r.t.digest] == nil && len(n.meetings) >= maxLinkTopics:
		return wtproto.CodeTopicLimit
	}
	if len(n.meetings) == 0 {
		ls.h.ties.addMeeting(n.id)
	}
	n.meetings[r.t.digest] = r
	delete(n.lost, r.t.digest)
	ls.kinLocked(l, kinMeeting)
	return wtproto.CodeNone
}

// dropMeetingLocked notes that r is met no more, and reports whether it was.
func (ls *links) dropMeetingLocked(n *neighbor, r *remote) bool {
	if n.meetings[r.t.digest] != r {
		return false
	}
	delete(n.meetings, r.t.digest)
	if len(n.meetings) == 0 {
		ls.h.ties.dropMeeting(n.id)
	}
	return true
}

// dropMeeting notes that the other host has ended the meeting with r.
func (ls *links) dropMeeting(l *link, r *remote) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.dropMeetingLocked(l.n, r)
	ls.restLocked(l)
}

// part says that r is met no more, and calls its topic no more.
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
	if n.lost[digest] == r {
		delete(n.lost, digest)
	}
	known := ls.dropMeetingLocked(n, r)
	if n.asked[digest] == r {
		n.asked[digest] = nil
		known = true // it will be, when MEET arrives
	}
	if known && n.link != nil {
		ls.sayLocked(n.link, word{typ: wtproto.TypePart, digest: digest, code: code})
		ls.restLocked(n.link)
	}
	ls.forgetLocked(n)
}

// advertise has the host of r told of our endpoints, if they are not what it was told.
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

// yield decides which link stays if both hosts have opened one, and reports whether it is l,
// which is theirs. Ours, if it does not stay, is reset before l is answered.
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

// establish makes l, on which both hosts have said HOST, the link with its host, and reports
// whether that is possible. An older link has ended for the other host, or will.
func (ls *links) establish(l *link) bool {
	ls.mu.Lock()
	if ls.closed {
		ls.mu.Unlock()
		return false
	}
	n := ls.neighborLocked(l.id())
	if l.ours && n.trying != l { // it was replaced meanwhile
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
		for _, r := range n.lost {
			reborn = append(reborn, r)
		}
	}
	clear(n.lost)
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
		over.notify(older, wtproto.Errorf(wtproto.CodeReplaced, "there is a newer link"))
	}
	for _, r := range reborn {
		r.t.reborn(r)
	}
	return true
}

// ended is what a link that has ended was needed for.
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
		n.lost[digest] = r
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

// end takes l out of use, unless that was done before, and tells those who needed it.
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
	if len(n.lost) > 0 {
		time.AfterFunc(lostKept, func() { ls.forgetLost(n) })
	}
	if len(n.wants) > 0 {
		ls.openLocked(n, nil)
	}
	ls.forgetLocked(n)
	ls.mu.Unlock()
	ls.h.log.Debug("link ended", "peer", n.id.String(), "error", err)
	e.notify(l, err)
}

// forgetLost drops on what topics n was met, if there is no newer link.
func (ls *links) forgetLost(n *neighbor) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if n.link == nil && ls.hosts[n.id] == n {
		clear(n.lost)
		ls.forgetLocked(n)
	}
}

// restLocked has l end after a while if nobody needs it.
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

// rest ends l if nobody needs it.
func (ls *links) rest(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := l.n
	if n.link != l || n.usedLocked() > 0 {
		return
	}
	if _, near := ls.h.lan.target(n.id); near && l.guesses.kin == kinNear {
		l.idle.Reset(linkIdle) // it is asked about topics that come
	} else {
		ls.detachLocked(l)
		ls.forgetLocked(n)
		l.closing = true
		wake(l.more)
		l.late.Reset(ls.h.AnswerTimeout) // for the other host's end
	}
}

// close says what is to be said, and ends all links. It returns when all was written, or when ctx
// ends. Links that come later are refused.
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
