package p2p

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

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
	log      *slog.Logger
	ctx      context.Context // ends the topic
	cancel   context.CancelFunc
	tasks    taskGroup     // of everything that the topic does
	gone     chan struct{} // closed when the topic has ended
	news     *news
	errands  *errands

	mu             sync.Mutex
	meetings       *meetings           // guarded by mu; who is met
	hosts          map[peer.ID]*remote // guarded by mu; those that meetings knows
	timer          *time.Timer         // guarded by mu; calls pump when it is time
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
		t, err := h.enter(ctx, key, presence)
		if err != nil {
			if ctx.Err() == nil {
				yield(discovery.Sighting{}, err)
			}
			return
		}
		defer h.leave(t)
		t.run(yield)
	}
}

// enter makes a topic, as soon as no other one has the key.
func (h *Host) enter(ctx context.Context, key wtproto.Topic, presence *discovery.Presence) (*topic, error) {
	digest := key.Digest()
	for {
		h.mu.Lock()
		if h.topics == nil {
			h.mu.Unlock()
			return nil, wtproto.Errorf(wtproto.CodeShutdown, "the host is closed")
		}
		other := h.topics[digest]
		if other == nil {
			break
		}
		h.mu.Unlock()
		select {
		case <-other.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer h.mu.Unlock()
	t := &topic{
		h: h, key: key, digest: digest, presence: presence, log: h.log.With("topic", key),
		gone: make(chan struct{}), news: newNews(),
		hosts: make(map[peer.ID]*remote),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.errands = newErrands(t.ctx, t, digest, &t.tasks)
	t.meetings = t.newMeetings()
	t.timer = time.AfterFunc(time.Hour, t.pump)
	t.timer.Stop()
	h.topics[digest] = t
	return t, nil
}

// leave ends t and lets the next Join of its key in.
func (h *Host) leave(t *topic) {
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
	t.timer.Stop()
	t.turn.done()
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
	t.news.push(item{sighting: discovery.Sighting{Queued: queued, Note: note}, err: err})
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
