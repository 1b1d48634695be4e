package server

import (
	"context"
	"log/slog"
	"sync"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// router finds the loop of a topic, starts it with its first subscriber and lets it end with the last. It owns the
// goroutines of topics, dials and circuits.
type router struct {
	// constant after newRouter
	cfg      *Config
	networks []discovery.Network
	dialer   *dialer
	memory   *memory
	meters   *meters
	remains  *remains
	log      *slog.Logger
	ctx      context.Context // ends all topics
	cancel   context.CancelCauseFunc
	wg       sync.WaitGroup // of topics and circuits

	mu     sync.Mutex
	topics map[wtproto.Topic]*topic // guarded by mu
}

func newRouter(cfg *Config, rest *remains, ctx context.Context) *router {
	ctx, cancel := context.WithCancelCause(ctx)
	return &router{
		cfg:      cfg,
		networks: cfg.Networks,
		dialer:   newDialer(newDialQueue(cfg.TopicDials, cfg.SessionDials, cfg.Dials)),
		memory:   newMemory(cfg),
		meters:   newMeters(),
		remains:  rest,
		log:      cfg.Logger,
		ctx:      ctx,
		cancel:   cancel,
		topics:   make(map[wtproto.Topic]*topic),
	}
}

// subscribe puts sub on its topic, or changes its options. It may be called again for the same sub, by its session only.
func (r *router) subscribe(sub *subscription, join wtproto.Join) {
	r.mu.Lock()
	t := sub.topic
	if t == nil {
		if t = r.topics[join.Topic]; t == nil {
			t = newTopic(r, join.Topic)
			r.topics[join.Topic] = t
			r.wg.Go(t.run)
		}
		sub.topic = t
		t.subscribers++
	}
	r.mu.Unlock()
	t.post(subscribed{sub, join})
}

// unsubscribe takes sub off its topic.
func (r *router) unsubscribe(sub *subscription) {
	if sub.topic != nil {
		sub.topic.post(unsubscribed{sub})
	}
}

// left is called by a topic's loop for each subscriber that it took off.
func (r *router) left(t *topic) {
	r.mu.Lock()
	t.subscribers--
	r.mu.Unlock()
}

// retire ends t unless somebody has subscribed meanwhile, and reports whether it did.
func (r *router) retire(t *topic) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.subscribers > 0 {
		return false
	}
	delete(r.topics, t.key)
	return true
}

// all returns the topics there are.
func (r *router) all() []*topic {
	r.mu.Lock()
	defer r.mu.Unlock()
	topics := make([]*topic, 0, len(r.topics))
	for _, t := range r.topics {
		topics = append(topics, t)
	}
	return topics
}

// close ends all topics and waits for them, their dials and their circuits, whose sessions must have ended.
func (r *router) close() {
	r.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
	r.wg.Wait()
	r.dialer.wg.Wait()
}
