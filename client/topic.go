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
	joiners int // calls of Join that wait for JOINED
	opts    JoinOptions
	queue   []*Conn // not yet accepted; each has a place in its session
	err     error
	roster  roster
	status  Status
	said    uint64        // how often status has changed
	changed chan struct{} // closed when anything of this, or held, changes
}

func newTopic(c *Client, key wtproto.Topic) *Topic {
	return &Topic{
		client: c, key: key,
		left:    make(chan struct{}),
		done:    make(chan struct{}),
		joined:  make(chan struct{}),
		ready:   make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
}

// Key returns the key that was joined.
func (t *Topic) Key() wtproto.Topic { return t.key }

// Accept waits for the next circuit and returns it; it is the caller's to close. As with a
// listener of TCP, the circuit may have ended since it came. A session that is lost does not end
// Accept: it goes on with the circuits of the next one. The error is ctx's cause, or, once there
// are no more circuits, that of [Topic.Err].
func (t *Topic) Accept(ctx context.Context) (*Conn, error) {
	for {
		t.client.mu.Lock()
		if len(t.queue) > 0 {
			c := t.queue[0]
			t.queue = slices.Delete(t.queue, 0, 1)
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

// Peers returns who is here: the peers that the client has open circuits with on the topic,
// accepted or not, in the order in which they came. It is empty once the topic has ended.
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
		t.roster.remove(func(*Conn) bool { return true })
		close(t.done)
		t.changedLocked()
	}
}

// push queues c. It reports false when the topic has ended.
func (t *Topic) push(c *Conn) bool {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	if t.err != nil {
		return false
	}
	t.queue = append(t.queue, c)
	t.signalLocked()
	t.meetLocked(c)
	return true
}

// meetLocked notes that c is open, unless it has ended already.
func (t *Topic) meetLocked(c *Conn) {
	if c.session.placed(c) && t.roster.add(c) {
		t.changedLocked()
	}
}

// part notes that circuits have ended: those of which ended reports true.
func (t *Topic) part(ended func(*Conn) bool) {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	t.partLocked(ended)
}

func (t *Topic) partLocked(ended func(*Conn) bool) {
	if t.roster.remove(ended) {
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
	ended := func(q *Conn) bool { return q.session == s }
	t.queue = slices.DeleteFunc(t.queue, ended)
	t.partLocked(ended)
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
