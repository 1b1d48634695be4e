package server

import (
	"slices"
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// slowDials is how many times the limits of a topic and of a session its slow dials may have.
const slowDials = 4

// dialQueue decides whose turn it is to dial: round robin over the principals that want to, over
// each one's sessions, and over each session's topics, within a limit for each topic, each session
// and in all, of which a tenth is kept for principals that have none. A dial that has been called
// slow makes room for another one of its topic and session, so that peers that do not answer delay
// those that do by little. Pure accounting.
type dialQueue struct {
	perTopic, perSession, total int // negative means no limit

	principals []*principalDials // those with anything waiting, next first
	byAccount  map[account]*principalDials
	bySess     map[wtproto.SessionID]*sessionDials
	topics     map[wtproto.Topic]*topicCount
	running    int // slow ones included
	free       int // that wait for topics that are not full
}

// topicCount is what runs and waits for one topic, of all sessions.
type topicCount struct {
	dialCount
	waiting int
}

// principalDials is what one principal has.
type principalDials struct {
	account  account
	running  int             // slow ones included
	sessions []*sessionDials // those with anything waiting, next first
}

// dialCount is how many dials run.
type dialCount struct{ quick, slow int }

// of returns the count that d belongs to.
func (c *dialCount) of(d *dial) *int {
	if d.slow {
		return &c.slow
	}
	return &c.quick
}

type sessionDials struct {
	id wtproto.SessionID
	dialCount
	topics []*topicDials // those with anything waiting, next first
}

type topicDials struct {
	topic   wtproto.Topic
	waiting []*dial
}

// dial is a session's request for a turn to dial a peer of a topic. The peer is chosen when the
// turn comes.
type dial struct {
	account account
	session wtproto.SessionID
	topic   wtproto.Topic
	run     func() // called in a goroutine of its own once it is its turn
	slow    bool   // owned by the queue
	done    bool   // guarded by dialer.mu; run has returned
}

func newDialQueue(perTopic, perSession, total int) *dialQueue {
	return &dialQueue{
		perTopic: perTopic, perSession: perSession, total: total,
		byAccount: make(map[account]*principalDials),
		bySess:    make(map[wtproto.SessionID]*sessionDials),
		topics:    make(map[wtproto.Topic]*topicCount),
	}
}

// push adds d behind what its session wants already on its topic.
func (q *dialQueue) push(d *dial) {
	p := q.byAccount[d.account]
	if p == nil {
		p = &principalDials{account: d.account}
		q.byAccount[d.account] = p
	}
	s := q.bySess[d.session]
	if s == nil {
		s = &sessionDials{id: d.session}
		q.bySess[d.session] = s
	}
	if len(p.sessions) == 0 {
		q.principals = append(q.principals, p)
	}
	if len(s.topics) == 0 {
		p.sessions = append(p.sessions, s)
	}
	q.change(d.topic, func(c *topicCount) { c.waiting++ })
	for _, t := range s.topics {
		if t.topic == d.topic {
			t.waiting = append(t.waiting, d)
			return
		}
	}
	s.topics = append(s.topics, &topicDials{topic: d.topic, waiting: []*dial{d}})
}

// change changes what is counted for a topic.
func (q *dialQueue) change(topic wtproto.Topic, f func(c *topicCount)) {
	c := q.topics[topic]
	if c == nil {
		c = &topicCount{}
		q.topics[topic] = c
	}
	q.free -= q.freeOf(c)
	f(c)
	q.free += q.freeOf(c)
	if *c == (topicCount{}) {
		delete(q.topics, topic)
	}
}

// freeOf returns how many wait for a topic that is not full.
func (q *dialQueue) freeOf(c *topicCount) int {
	if !within(c.quick, q.perTopic) {
		return 0
	}
	return c.waiting
}

// next returns the dial that may start now and counts it as running, or nil.
func (q *dialQueue) next() *dial {
	if q.free == 0 || !within(q.running, q.total) {
		return nil
	}
	kept := q.total > 0 && q.running >= q.total-q.total/reserved
	for pi, p := range q.principals {
		if kept && p.running > 0 {
			continue
		}
		for si, s := range p.sessions {
			if !within(s.quick, q.perSession) {
				continue
			}
			for ti, t := range s.topics {
				if !within(q.topics[t.topic].quick, q.perTopic) {
					continue
				}
				d := t.waiting[0]
				t.waiting = t.waiting[1:]
				s.topics = rotate(s.topics, ti, len(t.waiting) > 0)
				p.sessions = rotate(p.sessions, si, len(s.topics) > 0)
				q.principals = rotate(q.principals, pi, len(p.sessions) > 0)
				p.running++
				s.quick++
				q.running++
				q.change(d.topic, func(c *topicCount) { c.waiting--; c.quick++ })
				return d
			}
		}
	}
	return nil
}

// rotate takes element i out of s and, if it is to stay, puts it last.
func rotate[T any](s []T, i int, stay bool) []T {
	e := s[i]
	s = append(s[:i], s[i+1:]...)
	if stay {
		s = append(s, e)
	}
	return s
}

// done gives back what d took from the limits.
func (q *dialQueue) done(d *dial) {
	p, s := q.byAccount[d.account], q.bySess[d.session]
	q.running--
	p.running--
	*s.of(d)--
	q.change(d.topic, func(c *topicCount) { *c.of(d)-- })
	q.forgetIdle(p, s)
}

// slow makes room for another dial beside d, which runs, and reports whether it may: if not, too
// many are slow.
func (q *dialQueue) slow(d *dial) bool {
	s := q.bySess[d.session]
	if d.slow || !within(q.topics[d.topic].slow, slowDials*q.perTopic) || !within(s.slow, slowDials*q.perSession) {
		return false
	}
	d.slow = true
	s.quick--
	s.slow++
	q.change(d.topic, func(c *topicCount) { c.quick--; c.slow++ })
	return true
}

// drop takes d out if it still waits, and reports whether it did.
func (q *dialQueue) drop(d *dial) bool {
	s := q.bySess[d.session]
	if s == nil {
		return false
	}
	ti := slices.IndexFunc(s.topics, func(t *topicDials) bool { return t.topic == d.topic })
	if ti < 0 {
		return false
	}
	t := s.topics[ti]
	i := slices.Index(t.waiting, d)
	if i < 0 {
		return false
	}
	p := q.byAccount[d.account]
	q.change(d.topic, func(c *topicCount) { c.waiting-- })
	if t.waiting = slices.Delete(t.waiting, i, i+1); len(t.waiting) == 0 {
		s.topics = slices.Delete(s.topics, ti, ti+1)
	}
	if len(s.topics) == 0 {
		p.sessions = slices.DeleteFunc(p.sessions, func(o *sessionDials) bool { return o == s })
	}
	if len(p.sessions) == 0 {
		q.principals = slices.DeleteFunc(q.principals, func(o *principalDials) bool { return o == p })
	}
	q.forgetIdle(p, s)
	return true
}

func (q *dialQueue) forgetIdle(p *principalDials, s *sessionDials) {
	if s.dialCount == (dialCount{}) && len(s.topics) == 0 {
		delete(q.bySess, s.id)
	}
	if p.running == 0 && len(p.sessions) == 0 {
		delete(q.byAccount, p.account)
	}
}

// dialer runs dials as its queue allows. It owns their goroutines.
type dialer struct {
	wg sync.WaitGroup

	mu    sync.Mutex
	queue *dialQueue // guarded by mu
}

func newDialer(q *dialQueue) *dialer { return &dialer{queue: q} }

// request runs d when it is its turn, unless cancel is called first.
func (r *dialer) request(d *dial) {
	r.mu.Lock()
	r.queue.push(d)
	r.startLocked()
	r.mu.Unlock()
}

// cancel takes a waiting dial out, and reports whether it did: if not, it has started.
func (r *dialer) cancel(d *dial) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue.drop(d)
}

// slow makes room for another dial beside d, which runs, and reports whether it did. It may be
// called after d has ended.
func (r *dialer) slow(d *dial) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok := !d.done && r.queue.slow(d)
	r.startLocked()
	return ok
}

func (r *dialer) startLocked() {
	for d := r.queue.next(); d != nil; d = r.queue.next() {
		r.wg.Go(func() {
			d.run()
			r.mu.Lock()
			r.queue.done(d)
			d.done = true
			r.startLocked()
			r.mu.Unlock()
		})
	}
}
