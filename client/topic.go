package client

import (
	"context"
	"iter"
	"net"
	"slices"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Topic is a topic that a [Client] has joined. It is joined again in each session that takes the
// place of the one before, until it ends. Any number of goroutines may use it.
type Topic struct {
	client *Client       // constant
	key    wtproto.Topic // constant
	left   chan struct{} // closed when the topic has ended and no gateway knows of it any more
	done   chan struct{} // closed when err is set
	joined chan struct{} // closed when JOINED came for the first time
	ready  chan struct{} // takes one; the queue is not empty

	// guarded by client.mu; what the gateway of client.session knows
	unanswered int  // JOINs that wait for JOINED or LEFT
	held       bool // JOINED came, and no LEFT since
	leaving    bool // LEAVE was sent

	// guarded by client.mu; what the caller knows
	joiners   int // calls of Join that wait for JOINED
	opts      JoinOptions
	streams   bool    // the program has asked for JoinOptions.Streams; opts says what the gateway is told
	queue     []*Conn // not yet accepted; each has a place in its session
	err       error
	roster    roster
	heir      *Topic // that was joined anew after this one has ended; it has the circuits that stayed
	accepts   bool   // somebody has asked for circuits: with Accept, or with Listen
	direct    bool   // with Accept
	listened  bool   // with Listen
	listeners int    // that are open
	status    Status
	said      uint64        // how often status has changed
	changed   chan struct{} // closed when anything of this, or held, changes

	// guarded by client.mu; of DialContext
	discards     bool // it was called
	candidates   candidates
	newCandidate chan struct{} // closed when there is another candidate
}

func newTopic(c *Client, key wtproto.Topic) *Topic {
	return &Topic{
		client: c, key: key,
		left:         make(chan struct{}),
		done:         make(chan struct{}),
		joined:       make(chan struct{}),
		ready:        make(chan struct{}, 1),
		changed:      make(chan struct{}),
		newCandidate: make(chan struct{}),
	}
}

// Key returns the key that was joined.
func (t *Topic) Key() wtproto.Topic { return t.key }

// Accept waits for the next circuit and returns it; it is the caller's to close. As with a
// listener of TCP, the circuit may have ended since it came. A session that is lost does not end
// Accept: it goes on with the circuits of the next one. The error is ctx's cause, or, once there
// are no more circuits, that of [Topic.Err].
func (t *Topic) Accept(ctx context.Context) (*Conn, error) {
	t.client.mu.Lock()
	if !t.direct {
		t.accepts, t.direct = true, true
		t.welcomeLocked()
	}
	t.client.mu.Unlock()
	return t.accept(ctx)
}

// accept is Accept, of listeners too.
func (t *Topic) accept(ctx context.Context) (*Conn, error) {
	for {
		t.client.mu.Lock()
		if len(t.queue) > 0 {
			c := t.queue[0]
			t.queue = slices.Delete(t.queue, 0, 1)
			t.takeLocked(c)
			t.signalLocked()
			t.client.mu.Unlock()
			return c, nil
		}
		err := t.err
		t.client.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-t.ready:
		case <-t.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Conns returns an iterator over the circuits that [Topic.Accept] returns. It ends with the
// caller's break, after Leave, Close or [Client.Close], and otherwise with the error of Accept,
// which is ctx's cause if that has ended.
//
//	for conn, err := range topic.Conns(ctx) {
//		if err != nil {
//			return err
//		}
//		go talk(conn)
//	}
func (t *Topic) Conns(ctx context.Context) iter.Seq2[*Conn, error] {
	return func(yield func(*Conn, error) bool) {
		for {
			c, err := t.Accept(ctx)
			if err == net.ErrClosed {
				return
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// Peers returns who is here, in the order in which they came: first of all the peers that the
// client has open circuits with on the topic, accepted or not. A peer is on the list until
//   - it has ended the last circuit with it, or the connection with it was lost,
//   - [Topic.Open] was told that it cannot be reached, or
//   - the session or the topic has ended.
//
// If a peer crashes or loses its network, its gateway notices after up to 25 s. Until then the
// peer is on the list, and nobody answers on streams with it.
//
// A circuit that this end closes does not take its peer from the list, and gateways do not tell
// when a peer leaves that there is no circuit with: whoever needs to know keeps the first circuit
// open, or leaves it to the topic and does not accept it. Peers come after [Client.Join] has
// returned: at once, or in a while; [Topic.Events] waits for them. If a topic was left and is
// joined again, the peers of the circuits that are still open from before are here at once.
func (t *Topic) Peers() []Peer {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	var all []Peer
	for _, m := range t.roster.members() {
		all = append(all, m.peer)
	}
	return all
}

// Status returns what the gateway said last of the topic. Until it has said anything, and while
// there is no session, that is the zero Status.
func (t *Topic) Status() Status {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	return t.status.clone()
}

// Leave ends the join and waits until the gateway has said so, or ctx ends; the topic is left in
// either case. Circuits that were accepted stay, others are reset with CodeLeft. A topic that has
// ended already is no error.
func (t *Topic) Leave(ctx context.Context) error {
	t.client.mu.Lock()
	queue := t.leaveLocked()
	t.client.mu.Unlock()
	resetAll(queue, wtproto.CodeLeft)
	select {
	case <-t.left:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close is [Topic.Leave] without the wait for the gateway. It may be called more than once. The
// error is always nil.
func (t *Topic) Close() error {
	t.client.mu.Lock()
	queue := t.leaveLocked()
	t.client.mu.Unlock()
	resetAll(queue, wtproto.CodeLeft)
	return nil
}

// Done returns a channel that is closed when the topic was left, was refused or taken away by a
// gateway for good, or ended with the client.
func (t *Topic) Done() <-chan struct{} { return t.done }

// Err returns nil before Done is closed; then net.ErrClosed after Leave, Close and
// [Client.Close], else an [*wtproto.Error]: with Remote and the gateway's code where the gateway
// ended it, or the error of [Client.Err].
func (t *Topic) Err() error {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	return t.err
}

func resetAll(circuits []*Conn, code wtproto.Code) {
	for _, c := range circuits {
		c.Reset(code)
	}
}

// knownLocked reports whether the gateway may know of the topic.
func (t *Topic) knownLocked() bool { return t.held || t.unanswered > 0 }

// leaveLocked leaves the topic, unless it has ended, and returns the circuits that are to be
// reset.
func (t *Topic) leaveLocked() []*Conn {
	if t.err == nil {
		t.endLocked(net.ErrClosed)
		if t.knownLocked() {
			t.sendLeaveLocked()
		} else {
			delete(t.client.topics, t.key)
			close(t.left)
		}
	}
	queue := t.queue
	t.queue = nil
	return queue
}

// sendLeaveLocked sends LEAVE once. No JOIN follows it before the gateway has answered.
func (t *Topic) sendLeaveLocked() {
	if !t.leaving {
		t.leaving = true
		t.client.session.answer(wtproto.Leave{Topic: t.key})
	}
}

// sendJoinLocked sends JOIN, now or later.
func (t *Topic) sendJoinLocked() {
	if t.client.session.send(t.opts.frame(t.key)) {
		t.unanswered++
	} else {
		t.client.rejoinLaterLocked()
	}
}

// endLocked makes err the topic's end. Circuits that wait can still be accepted.
func (t *Topic) endLocked(err error) {
	if t.err == nil {
		t.err = err
		t.roster.drop(func(*stay) bool { return true })
		close(t.done)
		t.changedLocked()
	}
}

// push queues c, or throws away what comes on it if only [Topic.DialContext] is interested in who
// is there. A code other than CodeNone says why it did neither.
func (t *Topic) push(c *Conn) wtproto.Code {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	switch {
	case t.err != nil:
		return wtproto.CodeLeft
	case c.peer.Further && !t.welcomesLocked(t.streams):
		return wtproto.CodeDeclined // it was on its way when the last listener was closed
	}
	if t.discards && !t.accepts && !c.peer.Further {
		c.session.spawn(c.discard)
	} else {
		t.queue = append(t.queue, c)
		t.signalLocked()
	}
	t.meetLocked(c)
	c.stream.onReset(c.wasReset)
	return wtproto.CodeNone
}

// takeLocked makes c, which has left the queue, the program's.
func (t *Topic) takeLocked(c *Conn) {
	c.taken = true
	t.meetLocked(c)
}

// meetLocked notes that c is open, unless it has ended already.
func (t *Topic) meetLocked(c *Conn) {
	t = t.heirLocked()
	if c.session.placed(c) && t.roster.add(c) {
		t.candidates.add(c.peer)
		close(t.newCandidate)
		t.newCandidate = make(chan struct{})
		t.changedLocked()
	}
}

// part notes how c has ended.
func (t *Topic) part(c *Conn, how ending) {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	t.endedLocked(c, how)
}

// heirLocked returns the topic that has the circuits of t now.
func (t *Topic) heirLocked() *Topic {
	for t.heir != nil {
		t = t.heir
	}
	return t
}

// endedLocked notes how c has ended.
func (t *Topic) endedLocked(c *Conn, how ending) {
	t = t.heirLocked()
	t.goneLocked(t.roster.end(c, how))
}

// maxOver is how many circuits that were reset wait to be accepted, for what they hold.
const maxOver = 64

// resetOf says what is to be done about a circuit that the peer has reset.
type resetOf int

const (
	resetTaken  resetOf = iota // nothing: it is the program's
	resetWaits                 // it holds bytes and waits to be accepted, without its place
	resetUnread                // nobody will read it
)

// wasReset notes that the peer has reset c, and reports whether that is the program's.
func (t *Topic) wasReset(c *Conn, code wtproto.Code) bool {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	t.endedLocked(c, endingOf(code))
	return c.taken
}

// keep decides about c, which was reset: it stays in the queue if it holds bytes.
func (t *Topic) keep(c *Conn, holds bool) resetOf {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	i := slices.Index(t.queue, c)
	switch {
	case c.taken:
		return resetTaken
	case i >= 0 && holds:
		c.over = true
		t.trimLocked()
		return resetWaits
	case i >= 0:
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	return resetUnread
}

// trimLocked drops the oldest of the circuits that were reset, if there are too many.
func (t *Topic) trimLocked() {
	oldest, n := -1, 0
	for i, q := range t.queue {
		if q.over {
			if n++; oldest < 0 {
				oldest = i
			}
		}
	}
	if n > maxOver {
		t.queue[oldest].stream.reset(wtproto.CodeNone)
		t.queue = slices.Delete(t.queue, oldest, oldest+1)
	}
}

// unreachable notes that the gateway does not reach p.
func (t *Topic) unreachable(p Peer) {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	if t.roster.unreachable(p) {
		t.goneLocked([]Peer{p})
	}
}

// goneLocked notes that peers were taken off the roster.
func (t *Topic) goneLocked(peers []Peer) {
	for _, p := range peers {
		t.candidates.fail(p)
	}
	if len(peers) > 0 {
		t.changedLocked()
	}
}

// drop takes c, which has ended, out of the queue.
func (t *Topic) drop(c *Conn) {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	t.queue = slices.DeleteFunc(t.queue, func(q *Conn) bool { return q == c })
}

// dropLocked takes the circuits of s, which has ended, out of the queue and the roster.
func (t *Topic) dropLocked(s *session) {
	t.queue = slices.DeleteFunc(t.queue, func(q *Conn) bool { return q.session == s })
	t.goneLocked(t.roster.lose(s))
}

// statusLocked takes another status.
func (t *Topic) statusLocked(s Status) {
	t.status = s
	t.said++
	t.changedLocked()
}

// changedLocked wakes all that wait for a change.
func (t *Topic) changedLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// signalLocked wakes one Accept if there is something for it.
func (t *Topic) signalLocked() {
	if len(t.queue) == 0 {
		return
	}
	select {
	case t.ready <- struct{}{}:
	default:
	}
}
