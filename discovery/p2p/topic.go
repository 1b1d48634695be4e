package p2p

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// complainEvery bounds how often a topic logs above debug that it cannot meet a host. Anybody
	// can make up hosts.
	complainEvery = time.Minute
)

// topic is the work and the state of a host on one topic, from Join to its end.
type topic struct {
	// constant after newTopic
	h        *Host
	key      wtproto.Topic
	digest   [32]byte
	presence *discovery.Presence
	ctx      context.Context // ends the topic
	cancel   context.CancelFunc
	gone     chan struct{}                   // closed when the topic has ended
	yield    func(discovery.Sighting, error) // takes the news; nil if Join pulls them
	ended    func()                          // of Follow; nil for Join
	more     chan struct{}                   // has an element when there may be news; nil if yield takes them
	errands  *errands

	tasks       taskGroup // of everything that the topic does
	news        news
	delivering  spurt // deliver
	heeding     spurt // heed
	advertising spurt // advertise

	// owned by advertise
	advertised          bool          // it has run
	lookedUp, announced bool          // as of its last run
	advertiseLimit      *rate.Limiter // nil before its second run

	mu             sync.Mutex
	began, over    bool                // guarded by mu; Follow has begun it; it is to end, or has
	meetings       *meetings           // guarded by mu; who is met
	hosts          map[peer.ID]*remote // guarded by mu; those that meetings knows
	timer          *time.Timer         // guarded by mu; calls pump when it is time; nil before the first host
	again          *time.Timer         // guarded by mu; calls repeat; nil while nobody is met
	turn           *turn               // guarded by mu; to ask a host, while the topic waits for it
	turns          int                 // guarded by mu; turns that it had
	relieved       time.Time           // guarded by mu; when it last asked another topic for a place
	reported       bool                // guarded by mu; Join has yielded trouble, or that there is none
	trouble        error               // guarded by mu; the last yielded error, nil if nothing was wrong
	queued         bool                // guarded by mu; the first walk waits for its turn
	reportedQueued bool                // guarded by mu; Join has yielded that it waits
	note           error               // guarded by mu; the last yielded note

	complained time.Time // guarded by mu; when it last logged that it cannot meet a host
}

// Join is on topic until ctx ends or the caller breaks. At most one Join of a topic runs: another
// one waits for the end of the first. It yields an error if it cannot reach the DHT, and if it
// finds hosts but can meet none of them.
func (h *Host) Join(ctx context.Context, key wtproto.Topic, presence *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		t := h.newTopic(ctx, key, presence)
		if err := h.enter(t); err != nil {
			t.cancel()
			if ctx.Err() == nil {
				yield(discovery.Sighting{}, err)
			}
			return
		}
		defer h.leave(t)
		t.run(yield)
	}
}

// Follow is Join for a caller that is called back.
func (h *Host) Follow(key wtproto.Topic, presence *discovery.Presence, yield func(discovery.Sighting, error), ended func()) (leave func()) {
	t := h.newTopic(h.ctx, key, presence)
	t.yield, t.ended, t.more = yield, ended, nil
	go func() { // another topic with that key may be about to end
		if err := h.enter(t); err != nil {
			t.cancel()
			if h.ctx.Err() != nil {
				yield(discovery.Sighting{}, err)
			}
			ended()
			return
		}
		t.begin()
		t.mu.Lock()
		t.began = true
		over := t.over
		t.mu.Unlock()
		if over {
			t.finish()
		}
	}()
	return t.abandon
}

// abandon ends a topic of Follow. It does not wait.
func (t *topic) abandon() {
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began && !t.over {
		go t.finish()
	}
	t.over = true
}

// finish ends a topic of Follow that has begun, and says so.
func (t *topic) finish() {
	t.h.leave(t)
	t.ended()
}

// newTopic makes a topic. ctx ends it. The caller has it enter.
func (h *Host) newTopic(ctx context.Context, key wtproto.Topic, presence *discovery.Presence) *topic {
	t := &topic{
		h: h, key: key, digest: key.Digest(), presence: presence,
		gone: make(chan struct{}), more: make(chan struct{}, 1),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.errands = newErrands(t, t.digest, &t.tasks)
	t.meetings = t.newMeetings()
	return t
}

// enter makes t the topic with its key, as soon as there is no other one.
func (h *Host) enter(t *topic) error {
	for {
		h.mu.Lock()
		if h.topics == nil {
			h.mu.Unlock()
			return wtproto.Errorf(wtproto.CodeShutdown, "the host is closed")
		}
		other := h.topics[t.digest]
		if other == nil {
			h.topics[t.digest] = t
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock()
		select {
		case <-other.gone:
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
}

// leave ends t and lets the next Join of its key in.
func (h *Host) leave(t *topic) {
	t.presence.Unwatch(t)
	h.planner.leave(t.errands)
	t.end()
	t.part()
	h.mu.Lock()
	delete(h.topics, t.digest)
	h.mu.Unlock()
	close(t.gone)
}

// end ends all work of t and waits for it. It may be called more than once.
func (t *topic) end() {
	t.cancel()
	t.tasks.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, timer := range []*time.Timer{t.timer, t.again} {
		if timer != nil {
			timer.Stop()
		}
	}
	t.turn.done()
}

// log writes a line of log about t. A logger of its own would cost each topic memory for lines that
// are not written.
func (t *topic) log(level slog.Level, msg string, args ...any) {
	if l := t.h.log; l.Enabled(t.ctx, level) {
		l.With("topic", t.key).Log(t.ctx, level, msg, args...)
	}
}

// push has i yielded. It never blocks.
func (t *topic) push(i item) {
	t.news.push(i)
	if t.yield == nil {
		wake(t.more)
	} else {
		t.delivering.wake(&t.tasks, t.deliver)
	}
}

// deliver passes the news to yield.
func (t *topic) deliver() {
	for t.ctx.Err() == nil {
		i, ok := t.news.pull()
		if !ok {
			return
		}
		t.yield(i.sighting, i.err)
	}
}

// reportLocked yields the trouble of the topic, or that there is none, or that the topic waits for
// its turn in the DHT, if that is news.
func (t *topic) reportLocked() {
	err := t.troubleLocked()
	queued := t.queued && err == nil
	var note error
	if t.h.table != nil && err == nil {
		note = t.h.table.caveat()
	}
	if t.reported && text(err) == text(t.trouble) && queued == t.reportedQueued && text(note) == text(t.note) {
		return
	}
	if err == nil && t.h.table != nil {
		if works, _, _ := t.h.table.status.get(); !works { // not known yet
			return
		}
	}
	t.reported, t.trouble, t.reportedQueued, t.note = true, err, queued, note
	t.push(item{sighting: discovery.Sighting{Queued: queued, Note: note}, err: err})
}

// troubleLocked returns the error of the DHT, or an error if none of the found hosts can be met.
func (t *topic) troubleLocked() error {
	if t.h.table != nil {
		if err := t.h.table.trouble(); err != nil {
			return err
		}
	}
	var last *remote
	for _, r := range t.hosts {
		if r.meeting {
			return nil
		}
		if r.failure != nil && !(r.full && t.meetings.asking > 0) && (last == nil || r.failedAt.After(last.failedAt)) {
			last = r
		}
	}
	if err := t.h.copies.trouble(); err != nil || last == nil {
		return err
	}
	return fmt.Errorf("p2p: cannot meet any host that was found, such as %s: %w", last.id, last.failure)
}
