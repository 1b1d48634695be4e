package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// router finds the loop of a topic. It starts the loop with the topic's first subscriber and lets
// it end with the last. It owns the goroutines of topics, dials and circuits.
type router struct {
	// constant after newRouter
	cfg      *Config
	networks []*gatewayNetwork
	dialer   *dialer
	furthers *dialer // of further circuits
	memory   *memory
	ledger   *ledger
	meters   *meters
	failures failures
	remains  *remains
	log      *slog.Logger
	ctx      context.Context // ends all topics
	cancel   context.CancelCauseFunc
	wg       sync.WaitGroup // of topics and circuits

	troubles troubles

	mu     sync.Mutex
	topics map[wtproto.Topic]*topic // guarded by mu
	graces []*topic                 // guarded by mu; those in their grace time that somebody is charged for, the oldest first
}

// fewTopics is how many topics a principal may make in short time that ask the networks at once.
// Others wait for a second, and if everybody has left them before, the networks never hear of
// them.
const fewTopics = 64

func newRouter(cfg *Config, l *ledger, rest *remains, ctx context.Context) *router {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &router{
		cfg:      cfg,
		ledger:   l,
		dialer:   newDialer(newDialQueue(cfg.TopicDials, cfg.SessionDials, cfg.Dials)),
		furthers: newDialer(newDialQueue(-1, slowDials*cfg.SessionDials, cfg.Dials-cfg.Dials/2)),
		memory:   newMemory(cfg),
		meters:   newMeters(),
		remains:  rest,
		log:      cfg.Logger,
		ctx:      ctx,
		cancel:   cancel,
		topics:   make(map[wtproto.Topic]*topic),
	}
	for _, n := range cfg.Networks {
		r.networks = append(r.networks, newGatewayNetwork(n))
	}
	context.AfterFunc(ctx, func() {
		for _, t := range r.all() {
			t.post(closing{})
		}
	})
	return r
}

// enter takes note that sub is on a topic from now on, charges its principal for it, and starts
// the topic if nobody is on it. It says which limit is in the way, if one is. It is called by
// sub's session, once, before subscribe.
func (r *router) enter(sub *subscription, key wtproto.Topic) *refusal {
	who := sub.session.principal
	refused := r.ledger.take(who, resourceTopics, 1)
	for refused != nil && r.cutGrace(who) {
		refused = r.ledger.take(who, resourceTopics, 1)
	}
	if refused != nil {
		return refused
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[key]
	if t == nil {
		now := time.Now()
		few := r.ledger.used(who, flowNewTopics, now) < fewTopics
		if refused = r.ledger.spend(who, flowNewTopics, 1, now); refused != nil {
			r.ledger.give(who, resourceTopics, 1)
			return refused
		}
		t = newTopic(r, key)
		t.askAtOnce = few
		r.topics[key] = t
		r.wg.Add(1)
		t.begin(r.wg.Done)
		if r.ctx.Err() != nil { // else newRouter has it told
			t.post(closing{})
		}
	}
	r.freeLocked(t)
	t.subscribers++
	sub.topic = t
	return nil
}

// withdraw takes back that sub has entered its topic, instead of subscribe.
func (r *router) withdraw(sub *subscription) {
	r.left(sub.topic, sub)
	sub.topic.post(graceCut{}) // nobody else tells the loop, if nobody is there
}

// subscribe says what sub, which has entered its topic, wants there. It may be called again, by
// its session only.
func (r *router) subscribe(sub *subscription, join wtproto.Join) {
	sub.topic.post(subscribed{sub, join})
}

// unsubscribe takes sub off its topic.
func (r *router) unsubscribe(sub *subscription) { sub.topic.post(unsubscribed{sub}) }

// left is called by a topic's loop for each subscriber that it took off. The last one stays
// charged for the topic in its grace time.
func (r *router) left(t *topic, sub *subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.subscribers--; t.subscribers > 0 {
		r.ledger.give(sub.session.principal, resourceTopics, 1)
		return
	}
	t.charged = sub.session.principal
	r.graces = append(r.graces, t)
}

// freeLocked takes the charge for a topic in its grace time back, if there is one.
func (r *router) freeLocked(t *topic) {
	if t.charged != nil {
		r.ledger.give(t.charged, resourceTopics, 1)
		t.charged = nil
		r.graces = slices.DeleteFunc(r.graces, func(o *topic) bool { return o == t })
	}
}

// cutGrace ends the grace time of the topic that p left first, and reports whether there is one.
// So a limit of topics is not in the way of who leaves one for another.
func (r *router) cutGrace(p *principal) bool {
	r.mu.Lock()
	i := slices.IndexFunc(r.graces, func(t *topic) bool { return t.charged.accounts[0] == p.accounts[0] })
	if i < 0 {
		r.mu.Unlock()
		return false
	}
	t := r.graces[i]
	r.freeLocked(t)
	r.mu.Unlock()
	t.post(graceCut{})
	return true
}

// retire ends t unless somebody has subscribed meanwhile, and reports whether it did.
func (r *router) retire(t *topic) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.subscribers > 0 {
		return false
	}
	r.freeLocked(t)
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

// close ends all topics and waits for them, their dials and their circuits. All sessions must have
// ended before.
func (r *router) close() {
	r.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
	r.wg.Wait()
	r.dialer.wg.Wait()
	r.furthers.wg.Wait()
}
