package client

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Join joins a topic, and returns when a gateway has taken it. A topic that was taken before and
// has not ended is returned again at once, with its options changed to opts. If ctx ends first,
// the topic is left. While there is no session, or a gateway that is going away or busy refuses
// the topic for now, Join waits; with [Config.NoReconnect] such a refusal is an error.
//
// Peers come later: [Topic.Peers] may be empty when Join returns. [Topic.Accept], [Topic.Events]
// and [Topic.DialContext] wait for them.
//
// The chain of an error holds an [*wtproto.Error] with Remote and the gateway's code where it
// refused (CodeForbidden, CodeTopicLimit), or the error of [Client.Err].
func (c *Client) Join(ctx context.Context, topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	t, err := c.join(ctx, topic, opts)
	if err != nil {
		return nil, fmt.Errorf("client: join: %w", err)
	}
	return t, nil
}

func (c *Client) join(ctx context.Context, topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	t, err := c.startJoin(ctx, topic, opts)
	if err != nil {
		return nil, err
	}
	var cause error
	select {
	case <-t.joined:
	case <-t.done:
		cause = t.Err()
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	var early []*Conn
	c.mu.Lock()
	t.joiners--
	switch {
	case t.err == nil && closed(t.joined):
		cause = nil // ctx ended too late
	case t.joiners == 0 && cause != nil:
		early = t.leaveLocked()
	}
	c.mu.Unlock()
	resetAll(early, wtproto.CodeLeft)
	return t, cause
}

// startJoin sends JOIN once the gateway has answered a LEAVE that came before, and counts the
// caller among t.joiners.
func (c *Client) startJoin(ctx context.Context, topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	for {
		c.mu.Lock()
		before := c.topics[topic]
		t, started, err := c.startJoinLocked(topic, opts)
		var stayed []*Conn
		if started && before == nil {
			stayed = c.stayedLocked(t)
		}
		c.mu.Unlock()
		if started || err != nil {
			t.inherit(stayed, opts.Filter)
			return t, err
		}
		select {
		case <-t.left:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// stayedLocked returns the open circuits of those that had t's topic before t, which take their
// ends to t from now on.
func (c *Client) stayedLocked(t *Topic) (stayed []*Conn) {
	for s := range c.sessions {
		for _, o := range s.of(t.key) {
			o.topic.heir = t
			stayed = append(stayed, o)
		}
	}
	slices.SortFunc(stayed, func(a, b *Conn) int { return cmp.Compare(a.id, b.id) })
	return stayed
}

// inherit puts the peers of circuits of earlier topics into the roster: those that filter lets in,
// and that this end has not closed.
func (t *Topic) inherit(stayed []*Conn, filter func(Peer) bool) {
	for _, c := range stayed {
		if c.isClosed() || filter != nil && !filter(c.peer) {
			continue
		}
		t.client.mu.Lock()
		t.meetLocked(c)
		t.client.mu.Unlock()
	}
}

// startJoinLocked has started nothing if the topic has ended and its LEFT is awaited.
func (c *Client) startJoinLocked(topic wtproto.Topic, opts JoinOptions) (t *Topic, started bool, err error) {
	t = c.topics[topic]
	streams := opts.Streams
	if t != nil {
		opts.Streams = t.welcomesLocked(streams)
	}
	switch {
	case c.err != nil:
		return nil, false, c.err
	case c.leaves:
		return nil, false, net.ErrClosed
	case t != nil && t.err != nil:
		return t, false, nil
	case c.session != nil && !c.session.send(opts.frame(topic)):
		return nil, false, wtproto.Errorf(wtproto.CodeBusy, "the gateway does not read its control stream")
	case t == nil:
		t = newTopic(c, topic)
		c.topics[topic] = t
	}
	t.opts, t.streams = opts, streams
	t.opts.Networks = slices.Clone(opts.Networks)
	t.joiners++
	if c.session != nil {
		t.unanswered++
	}
	return t, true, nil
}

// wanted returns the JOINs of all topics.
func (c *Client) wanted() map[wtproto.Topic]wtproto.Join {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[wtproto.Topic]wtproto.Join)
	for key, t := range c.topics {
		if t.err == nil {
			all[key] = t.opts.frame(key)
		}
	}
	return all
}

// adoptLocked makes s the session of all topics. It sends what has changed since its HELLO.
func (c *Client) adoptLocked(s *session) {
	if old := c.session; old != nil {
		for _, t := range c.topics {
			if t.knownLocked() && !t.leaving {
				old.send(wtproto.Leave{Topic: t.key})
			}
		}
		old.retire()
	}
	c.session = s
	c.forgetLocked()
	for key := range s.flight {
		t := c.topics[key]
		if t == nil { // it was left meanwhile, and has a LEFT to come
			t = newTopic(c, key)
			t.endLocked(net.ErrClosed)
			c.topics[key] = t
		}
		t.unanswered = 1
		if t.err != nil {
			t.sendLeaveLocked()
		}
	}
	for key, t := range c.topics {
		if t.err == nil && !reflect.DeepEqual(s.flight[key], t.opts.frame(key)) {
			t.sendJoinLocked()
		}
	}
	s.flight = nil
}

// forgetLocked takes back what a gateway knew. The session of topics is another one, or none.
func (c *Client) forgetLocked() {
	for key, t := range c.topics {
		t.unanswered, t.held, t.leaving = 0, false, false
		if t.said > 0 {
			t.statusLocked(Status{})
		}
		if t.err != nil {
			delete(c.topics, key)
			close(t.left)
		}
	}
	c.rejoinAt, c.rejoined = time.Time{}, time.Time{}
}

// rejoinLocked sends JOIN again for topics that were refused for a while. A gateway that goes
// away is not asked again.
func (c *Client) rejoinLocked() {
	c.rejoinAt, c.rejoined = time.Time{}, time.Now()
	if c.session == nil || c.going {
		return
	}
	for _, t := range c.topics {
		if t.err == nil && !t.knownLocked() {
			t.sendJoinLocked()
		}
	}
}

// rejoinLaterLocked has rejoinLocked called, after a delay that grows.
func (c *Client) rejoinLaterLocked() {
	if !c.rejoinAt.IsZero() {
		return
	}
	now := time.Now()
	if now.Sub(c.rejoined) >= proven {
		c.rejoins.Reset()
	}
	c.rejoinAt = now.Add(c.rejoins.Next())
	c.wakeUp()
}

// joinedTopic returns the topic that JOIN was sent for on s and LEAVE was not, or nil, and its
// filter.
func (c *Client) joinedTopic(s *session, topic wtproto.Topic) (*Topic, func(Peer) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[topic]
	if c.session != s || t == nil || t.err != nil || !t.knownLocked() {
		return nil, nil
	}
	return t, t.opts.Filter
}

// withTopic calls act with a topic of s, if that is the client's session and the gateway may know
// the topic.
func (s *session) withTopic(topic wtproto.Topic, act func(t *Topic)) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if t := s.client.topics[topic]; t != nil && s.client.session == s {
		act(t)
	}
}

// joined takes JOINED. Where the topic has ended meanwhile, a LEAVE follows the JOIN.
func (s *session) joined(m wtproto.Joined) {
	s.withTopic(m.Topic, func(t *Topic) {
		t.held = true
		t.changedLocked()
		t.unanswered = max(0, t.unanswered-1)
		switch {
		case t.err != nil:
			t.sendLeaveLocked()
		case !closed(t.joined):
			close(t.joined)
		}
	})
}

// left takes LEFT: after LEAVE, instead of JOINED, or when the gateway wants no more. It is the
// last word on the topic unless a JOIN was under way, that the gateway takes for a new one, or
// the refusal is for a while.
func (s *session) left(m wtproto.Left) {
	s.withTopic(m.Topic, func(t *Topic) {
		if !t.held {
			t.unanswered = max(0, t.unanswered-1) // it is the answer to a JOIN
		}
		t.held = false
		switch {
		case t.err != nil:
		case forNow(m.Code) && !s.cfg.NoReconnect:
			s.log.Info("topic refused for now", "topic", m.Topic, "code", m.Code, "reason", m.Reason)
			s.client.rejoinLaterLocked()
		default:
			s.log.Info("topic refused or taken away", "topic", m.Topic, "code", m.Code, "reason", m.Reason)
			t.endLocked(&wtproto.Error{Code: m.Code, Remote: true, Reason: m.Reason})
		}
		if t.err != nil && t.unanswered == 0 {
			delete(s.client.topics, m.Topic)
			close(t.left)
		}
	})
}

// forNow reports whether a topic that was refused with code is asked for again.
func forNow(code wtproto.Code) bool {
	return code == wtproto.CodeShutdown || code == wtproto.CodeBusy || code == wtproto.CodeRateLimited
}

// status takes STATUS.
func (s *session) status(m wtproto.Status) {
	s.withTopic(m.Topic, func(t *Topic) { t.statusLocked(newStatus(m)) })
}
