package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A host on the LAN, or one that we have met on other topics, may be on our topics too, and is one
// round trip away. We ask it with tags, which tell nothing to a host that is not on the topic.

const (
	guessEvery = 500 * time.Millisecond // between two batches on a link
	// How many GUESS another host may send on a link a second, and at once.
	guessRate, guessBurst = 16, 64
	maxTags               = 2 * maxLinkTopics // remembered tags of one host
	maxStale              = 256               // tags of ended topics, before we forget them
	// How many tags we compute for strangers a second, and at once. Each new link needs a tag for
	// each of our topics, and links cost a stranger little.
	strangerRate, strangerBurst = 50_000, 100_000
)

// guesses are the questions and answers by tags on one link. links.mu guards it, except mine.
type guesses struct {
	kin       kinship
	since     time.Time // when kin began; zero before the first
	all       bool      // we have to ask about all topics that look up
	ask       []*topic  // or these
	askAt     time.Time // when we may ask
	timer     *time.Timer
	tags      map[wtproto.Tag]bool // the other host asked about these lately
	olderTags map[wtproto.Tag]bool // and about these before
	fresh     []wtproto.Tag        // those that we have not compared with our topics yet
	joined    []*topic             // our topics that we have not compared with tags yet

	mine map[wtproto.Tag]*topic // owned by write; our topics; set if the other host asks
	rate *rate.Limiter          // owned by run; of GUESS
}

func newGuesses() guesses {
	return guesses{tags: make(map[wtproto.Tag]bool), rate: rate.NewLimiter(guessRate, guessBurst)}
}

// handleGuess takes tags. An error ends the link.
func (l *link) handleGuess(m wtproto.Guess) error {
	g := &l.guesses
	if !g.rate.Allow() {
		return wtproto.Errorf(wtproto.CodeRateLimited, "GUESS comes too fast")
	}
	ls := l.links
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, tag := range m.Tags {
		if len(g.tags) >= maxTags/2 {
			g.tags, g.olderTags = make(map[wtproto.Tag]bool), g.tags
		}
		g.tags[tag] = true
	}
	switch {
	case g.kin == kinNone:
		ls.kinLocked(l, kinStranger)
	case len(g.fresh) < maxTags:
		g.fresh = append(g.fresh, m.Tags...)
		wake(l.more)
	}
	return nil
}

// guessWork is work by tags on a link.
type guessWork struct {
	kin    kinship
	ask    []*topic
	fresh  []wtproto.Tag
	joined []*topic
}

// guessWork takes the waiting work.
func (ls *links) guessWork(l *link) (w guessWork) {
	var looking []*topic
	ls.mu.Lock()
	all := l.guesses.all
	ls.mu.Unlock()
	if all {
		looking = ls.h.topicsThat(func(t *topic) bool {
			state := t.presence.Now()
			return state.LookUp
		})
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	g := &l.guesses
	w.kin, w.fresh, w.joined = g.kin, g.fresh, g.joined
	g.fresh, g.joined = nil, nil
	if !g.all && len(g.ask) == 0 || l.ended {
		return w
	}
	now := time.Now()
	if wait := g.askAt.Sub(now); wait > 0 {
		l.guessAfterLocked(wait)
		return w
	}
	for _, t := range append(looking, g.ask...) {
		if l.n.meetings[t.digest] == nil && len(w.ask) < maxLinkTopics {
			w.ask = append(w.ask, t)
		}
	}
	g.all, g.ask, g.askAt = false, nil, now.Add(guessEvery)
	return w
}

// guessAfterLocked makes l check for work by tags after wait.
func (l *link) guessAfterLocked(wait time.Duration) {
	g := &l.guesses
	if g.timer == nil {
		g.timer = time.AfterFunc(wait, func() { wake(l.more) })
	} else {
		g.timer.Reset(wait)
	}
}

// postponed reports whether w of l has to wait because we have computed too many tags for
// strangers.
func (ls *links) postponed(l *link, w guessWork) bool {
	if w.kin != kinStranger || ls.strangers.AllowN(time.Now(), min(ls.h.topicCount(), strangerBurst)) {
		return false
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if !l.ended {
		l.guesses.fresh = append(w.fresh, l.guesses.fresh...)
		l.guessAfterLocked(guessEvery)
	}
	return true
}

// guess asks and answers by tags, if there is work.
func (l *link) guess() error {
	h, id, g := l.links.h, l.id(), &l.guesses
	w := l.links.guessWork(l)
	var m wtproto.Guess
	for i, t := range w.ask {
		m.Tags = append(m.Tags, t.key.Guess([]byte(h.id), []byte(id), l.host.Run))
		if len(m.Tags) == wtproto.MaxTags || i == len(w.ask)-1 {
			if err := l.put(m.Append(nil)); err != nil {
				return err
			}
			m.Tags = m.Tags[:0]
		}
	}
	tagOf := func(t *topic) wtproto.Tag { return t.key.Guess([]byte(id), []byte(h.id), h.run) }
	if g.mine == nil && len(w.fresh) > 0 {
		if l.links.postponed(l, w) {
			return nil
		}
		g.mine = make(map[wtproto.Tag]*topic)
		for _, t := range h.topicsThat(func(*topic) bool { return true }) {
			g.mine[tagOf(t)] = t
		}
	}
	for _, tag := range w.fresh {
		if t := g.mine[tag]; t != nil {
			t.guessed(id)
		}
	}
	if g.mine == nil {
		return nil
	}
	for _, t := range w.joined {
		tag := tagOf(t)
		g.mine[tag] = t
		if l.links.askedAbout(l, tag) {
			t.guessed(id)
		}
	}
	if len(g.mine) > 2*h.topicCount()+maxStale {
		for tag, t := range g.mine {
			if t.ctx.Err() != nil {
				delete(g.mine, tag)
			}
		}
	}
	return nil
}

// askedAbout reports whether the other host has asked about tag.
func (ls *links) askedAbout(l *link, tag wtproto.Tag) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return l.guesses.tags[tag] || l.guesses.olderTags[tag]
}

// topicsThat returns the topics for which f is true.
func (h *Host) topicsThat(f func(*topic) bool) []*topic {
	h.mu.Lock()
	topics := make([]*topic, 0, len(h.topics))
	for _, t := range h.topics {
		topics = append(topics, t)
	}
	h.mu.Unlock()
	kept := topics[:0]
	for _, t := range topics {
		if f(t) {
			kept = append(kept, t)
		}
	}
	return kept
}

func (h *Host) topicCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.topics)
}

// guess asks the hosts that may be on t, if t looks up. If t announces, it compares t with the
// tags of these hosts.
func (ls *links) guess(t *topic, lookUp, announce bool) {
	ls.mu.Lock()
	if lookUp {
		ls.rotateKinLocked()
	}
	for _, n := range ls.hosts {
		if n.link == nil || n.link.guesses.kin == kinNone {
			continue
		}
		g := &n.link.guesses
		if lookUp && g.kin >= kinMeeting && !g.all {
			g.ask = append(g.ask, t)
			if len(g.ask) > maxLinkTopics {
				g.all, g.ask = true, nil
			}
		}
		if announce && len(g.joined) < maxLinkTopics {
			g.joined = append(g.joined, t)
		}
		wake(n.link.more)
	}
	ls.mu.Unlock()
	if lookUp {
		for _, near := range ls.h.lan.all() {
			ls.seek(near.id)
		}
	}
}

// seeking is a host of the LAN that cannot be reached.
type seeking struct {
	retry backoff.Backoff
	next  time.Time // we do not try it before that
}

// seek asks a host of the LAN about all topics that look up.
func (ls *links) seek(id peer.ID) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return
	}
	if n := ls.hosts[id]; n != nil && n.link != nil {
		ls.kinLocked(n.link, kinNear)
		ls.restLocked(n.link)
		return
	}
	if s := ls.seeks[id]; s != nil && time.Now().Before(s.next) || ls.kin[kinNear] >= maxKin[kinNear] {
		return
	}
	n := ls.neighborLocked(id)
	n.sought = true
	ls.openLocked(n, nil)
}

// soughtLocked notes whether seek has reached n.
func (ls *links) soughtLocked(n *neighbor, reached bool) {
	if !n.sought {
		return
	}
	n.sought = false
	if reached {
		delete(ls.seeks, n.id)
		return
	}
	s := ls.seeks[n.id]
	if s == nil {
		if len(ls.seeks) >= 2*maxLAN {
			clear(ls.seeks)
		}
		s = &seeking{retry: backoff.New(ls.h.RetryMin, ls.h.RetryMax)}
		ls.seeks[n.id] = s
	}
	s.next = time.Now().Add(s.retry.Next())
}
