package server

import (
	"sync"

	"github.com/swarmgate/swarmgate/wtproto"
)

// slowDials is how many times the limits of a topic and of a session its slow dials may have.
const slowDials = 4

// dialQueue decides whose turn it is to dial: round robin over the sessions that want to, and over each session's topics, within
// a limit for each topic, each session and in all. A dial that has been called slow makes room for another one of its topic
// and session, so that peers that do not answer delay those that do by little. Pure accounting.
type dialQueue struct {
	perTopic, perSession, total int // negative means no limit

	sessions []*sessionDials // those with anything waiting, next first
	bySess   map[wtproto.SessionID]*sessionDials
	topics   map[wtproto.Topic]*dialCount
	running  int // slow ones included
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

// dial is the wish of a session to dial a peer of a topic, whichever is the best when it is its turn.
type dial struct {
	session wtproto.SessionID
	topic   wtproto.Topic
	run     func() // called in a goroutine of its own once it is its turn
	slow    bool   // owned by the queue
	done    bool   // guarded by dialer.mu; run has returned
}

func newDialQueue(perTopic, perSession, total int) *dialQueue {
	return &dialQueue{
		perTopic: perTopic, perSession: perSession, total: total,
		bySess: make(map[wtproto.SessionID]*sessionDials),
		topics: make(map[wtproto.Topic]*dialCount),
	}
}

// push adds d behind what its session wants already on its topic.
func (q *dialQueue) push(d *dial) {
	s := q.bySess[d.session]
	if s == nil {
		s = &sessionDials{id: d.session}
		q.bySess[d.session] = s
	}
	if len(s.topics) == 0 {
		q.sessions = append(q.sessions, s)
	}
	for _, t := range s.topics {
		if t.topic == d.topic {
			t.waiting = append(t.waiting, d)
			return
		}
	}
	s.topics = append(s.topics, &topicDials{topic: d.topic, waiting: []*dial{d}})
}

// next returns the dial that may start now and counts it as running, or nil.
func (q *dialQueue) next() *dial {
	if !within(q.running, q.total) {
		return nil
	}
	for si, s := range q.sessions {
		if !within(s.quick, q.perSession) {
			continue
		}
		for ti, t := range s.topics {
			count := q.topics[t.topic]
			if count == nil {
				count = &dialCount{}
			}
			if !within(count.quick, q.perTopic) {
				continue
			}
			d := t.waiting[0]
			t.waiting = t.waiting[1:]
			s.topics = rotate(s.topics, ti, len(t.waiting) > 0)
			q.sessions = rotate(q.sessions, si, len(s.topics) > 0)
			s.quick++
			count.quick++
			q.topics[t.topic] = count
			q.running++
			return d
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
	q.running--
	count, s := q.topics[d.topic], q.bySess[d.session]
	*count.of(d)--
	if *count == (dialCount{}) {
		delete(q.topics, d.topic)
	}
	*s.of(d)--
	q.forgetIdle(s)
}

// slow makes room for another dial beside d, which runs, and reports whether it may: if not, too many are slow.
func (q *dialQueue) slow(d *dial) bool {
	count, s := q.topics[d.topic], q.bySess[d.session]
	if d.slow || !within(count.slow, slowDials*q.perTopic) || !within(s.slow, slowDials*q.perSession) {
		return false
	}
	*count.of(d)--
	*s.of(d)--
	d.slow = true
	*count.of(d)++
	*s.of(d)++
	return true
}

// drop takes d out where it still waits, and reports whether it did.
func (q *dialQueue) drop(d *dial) bool {
	s := q.bySess[d.session]
	if s == nil {
		return false
	}
	for ti, t := range s.topics {
		if t.topic != d.topic {
			continue
		}
		for i, w := range t.waiting {
			if w != d {
				continue
			}
			if t.waiting = append(t.waiting[:i], t.waiting[i+1:]...); len(t.waiting) == 0 {
				s.topics = append(s.topics[:ti], s.topics[ti+1:]...)
			}
			if len(s.topics) == 0 {
				for si := range q.sessions {
					if q.sessions[si] == s {
						q.sessions = append(q.sessions[:si], q.sessions[si+1:]...)
						break
					}
				}
			}
			q.forgetIdle(s)
			return true
		}
	}
	return false
}

func (q *dialQueue) forgetIdle(s *sessionDials) {
	if s.dialCount == (dialCount{}) && len(s.topics) == 0 {
		delete(q.bySess, s.id)
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

// slow makes room for another dial beside d, which runs, and reports whether it did. It may be called after d has ended.
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
