package server

import (
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// simTopic is a simulated host on a topic. net.mu guards all fields that are not constant.
type simTopic struct {
	h        *simHost            // constant
	key      wtproto.Topic       // constant
	presence *discovery.Presence // constant
	wake     chan struct{}       // takes one
	news     []discovery.Sighting
	over     bool
	wants    int
	need     bool
	contacts map[*simHost]*simContact
	order    []*simContact // the same
	meetings int
	asking   int
	own      int // meetings that this side chose
	swaps    *rate.Limiter
	climbs   *rate.Limiter // of asks to hosts that may be the next greater one
	lookUps  int           // numbers them
	pace     time.Duration
	sentAt   time.Time
	telling  bool
	pumping  bool
}

type simStand int

const (
	simApart simStand = iota
	simAsked
	simMet
)

// simContact is the state of another host on a topic.
type simContact struct {
	host      *simHost
	stand     simStand
	ours      bool // there is a meeting, and this side chose it
	found     bool // this side has found it
	foundUs   bool
	failures  int
	next      time.Time // this side does not ask it before that
	since     time.Time
	sent      []wtproto.EndpointID // the last list for it
	sentState wtproto.EndpointsState
	endpoints []wtproto.EndpointID // the last list from it
	state     wtproto.EndpointsState
}

func (h *simHost) enter(key wtproto.Topic, p *discovery.Presence) *simTopic {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if old := h.topics[key]; old != nil {
		old.leaveLocked()
	}
	t := &simTopic{
		h: h, key: key, presence: p, wake: make(chan struct{}, 1), contacts: make(map[*simHost]*simContact),
		swaps: rate.NewLimiter(rate.Every(10*time.Second), 8), climbs: rate.NewLimiter(rate.Every(10*time.Second), 8),
		pace: simLookUpMin,
	}
	h.topics[key] = t
	h.net.after(h.net.between(300*time.Millisecond, 3*time.Second), t.announce)
	t.lookUpIn(0)
	return t
}

func (t *simTopic) leave() {
	t.h.net.mu.Lock()
	defer t.h.net.mu.Unlock()
	t.leaveLocked()
}

func (t *simTopic) leaveLocked() {
	if t.over {
		return
	}
	t.over = true
	if t.h.topics[t.key] == t {
		delete(t.h.topics, t.key)
	}
	for _, c := range t.order {
		if c.stand == simMet {
			t.part(c, true)
		}
	}
}

// announce puts t into the DHT.
func (t *simTopic) announce() {
	all := t.h.net.announced[t.key]
	if !t.over && t.h.life == simAlive && !slices.Contains(all, t.h) {
		t.h.net.sent["announcements"]++
		t.h.net.announced[t.key] = append(all, t.h)
	}
}

func (t *simTopic) lookUpIn(d time.Duration) {
	t.lookUps++
	number := t.lookUps
	t.h.net.after(d+t.h.net.between(300*time.Millisecond, 3*time.Second), func() {
		if number == t.lookUps && !t.over && t.h.life == simAlive {
			t.lookUp()
		}
	})
}

// lookUp is the end of a look-up.
func (t *simTopic) lookUp() {
	n := t.h.net
	n.sent["look-ups"]++
	all := n.announced[t.key]
	for _, i := range n.rand.Perm(len(all))[:min(len(all), simFound)] {
		if all[i] != t.h {
			t.contact(all[i])
		}
	}
	t.pump()
	most := simLookUpIdle
	if t.lacks() > 0 || t.need {
		most = simLookUpMax
	}
	t.pace = min(2*t.pace, most)
	t.lookUpIn(t.pace)
}

func (t *simTopic) contact(h *simHost) *simContact {
	c := t.contacts[h]
	if c == nil {
		c = &simContact{host: h}
		t.contacts[h] = c
		t.order = append(t.order, c)
	}
	return c
}

// wanted, most and lacks are those of meetings.
func (t *simTopic) wanted() int {
	if t.wants == 0 {
		return simMost
	}
	return min(max(t.wants+t.wants/4+2, simLeast), simMost)
}

func (t *simTopic) most() int { return t.wanted() + max(t.wanted()/2, simMore) }

func (t *simTopic) lacks() int {
	return min(max(t.wanted()-t.meetings, simOwn-t.own), t.most()-t.meetings) - t.asking
}

// pump asks the hosts whose turn it is.
func (t *simTopic) pump() {
	if t.over || t.h.life != simAlive {
		return
	}
	n, now := t.h.net, time.Now()
	next := t.greater()
	if next != nil && t.climbs.Allow() {
		t.ask(next)
	}
	for t.lacks() > 0 && t.asking < simAsking {
		c := t.choose(func(c *simContact) bool { return c.stand == simApart && !now.Before(c.next) })
		if c == nil {
			break
		}
		t.ask(c)
	}
	if (t.lacks() > 0 || t.greater() != nil) && !t.pumping {
		t.pumping = true
		n.after(time.Second, func() { t.pumping = false; t.pump() })
	}
}

// greater returns the host to ask because it is the next greater one, or nil.
func (t *simTopic) greater() *simContact {
	var next *simContact
	for _, c := range t.order {
		if c.host.id > t.h.id && (c.stand != simApart || !time.Now().Before(c.next)) && (next == nil || c.host.id < next.host.id) {
			next = c
		}
	}
	if next == nil || next.stand != simApart {
		return nil
	}
	return next
}

// nextTo reports whether t has met no host whose id is between its own and that of h.
func (t *simTopic) nextTo(h *simHost) bool {
	for _, c := range t.order {
		if id := c.host.id; c.stand == simMet && (t.h.id < id && id < h.id || h.id < id && id < t.h.id) {
			return false
		}
	}
	return true
}

// choose returns a suitable contact at random, or nil.
func (t *simTopic) choose(suits func(*simContact) bool) *simContact {
	from := 0
	if len(t.order) > 0 {
		from = t.h.net.rand.IntN(len(t.order))
	}
	for i := range t.order {
		if c := t.order[(from+i)%len(t.order)]; suits(c) {
			return c
		}
	}
	return nil
}

// tell updates the list for c, and reports whether it has changed.
func (t *simTopic) tell(c *simContact) (changed bool) {
	s, _ := t.presence.State()
	e, more := sample(t.h.net.rand, c.sent, s.Endpoints)
	var state wtproto.EndpointsState
	if more {
		state |= wtproto.EndpointsMore
	}
	if s.Need {
		state |= wtproto.EndpointsNeed
	}
	changed = state != c.sentState || !slices.Equal(e, c.sent)
	c.sent, c.sentState = e, state
	return changed
}

// sample returns simTold of all, first those of the last list.
func sample(r *rand.Rand, sent, all []wtproto.EndpointID) (chosen []wtproto.EndpointID, more bool) {
	if len(all) <= simTold {
		return all, false
	}
	there := make(map[wtproto.EndpointID]bool, len(all))
	for _, e := range all {
		there[e] = true
	}
	for _, e := range sent {
		if there[e] && len(chosen) < simTold {
			chosen = append(chosen, e)
			delete(there, e)
		}
	}
	for _, i := range r.Perm(len(all)) {
		if len(chosen) < simTold && there[all[i]] {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, true
}

// ask sends MEET.
func (t *simTopic) ask(c *simContact) {
	n := t.h.net
	c.stand = simAsked
	t.asking++
	t.tell(c)
	sent, state := c.sent, c.sentState
	n.send(t.h, c.host, "MEET", func() {
		switch c.host.life {
		case simKilled:
			n.after(10*time.Millisecond, func() { t.refused(c, wtproto.CodePeerUnreachable) })
			return
		case simVanished:
			n.after(simGiveUp, func() { t.refused(c, wtproto.CodePeerUnreachable) })
			return
		}
		if t.h.life != simAlive {
			return
		}
		o := c.host.topics[t.key]
		code := wtproto.CodeForbidden
		if o != nil {
			code = o.welcome(t.h)
		}
		if code != wtproto.CodeNone {
			n.send(c.host, t.h, "MET", func() { t.refused(c, code) })
			return
		}
		back := o.contact(t.h)
		back.foundUs = true
		o.meet(back, false)
		o.hear(back, sent, state, true)
		o.tell(back)
		theirs, theirState := back.sent, back.sentState
		n.send(c.host, t.h, "MET", func() {
			if c.host.life != simAlive {
				t.refused(c, wtproto.CodePeerGone)
			}
			if c.stand == simApart { // c has sent PART meanwhile
				return
			}
			c.found = true
			t.meet(c, true)
			t.hear(c, theirs, theirState, true)
			if t.over {
				t.part(c, true)
			} else if o.over {
				t.ended(c, true)
			}
		})
	})
}

// refused is MET with a code, or silence.
func (t *simTopic) refused(c *simContact, code wtproto.Code) {
	if c.stand != simAsked {
		return
	}
	c.stand = simApart
	t.asking--
	c.failures++
	wait := time.Second << min(c.failures, 9)
	if code == wtproto.CodeBusy && t.meetings > 0 {
		wait = max(wait, t.h.net.between(time.Minute, 2*time.Minute))
	}
	c.next = time.Now().Add(wait)
	t.pump()
}

// welcome decides about h, which asks, and ends another meeting for it if necessary.
func (t *simTopic) welcome(h *simHost) wtproto.Code {
	if c := t.contacts[h]; c != nil && c.stand != simApart || t.meetings+t.asking < t.most() || h.id < t.h.id && t.nextTo(h) {
		return wtproto.CodeNone
	}
	if !t.swaps.Allow() {
		return wtproto.CodeBusy
	}
	busy := make(map[*simHost]bool)
	for p := range t.h.streams {
		busy[p.host] = busy[p.host] || p.topic == t.key
	}
	now := time.Now()
	c := t.choose(func(c *simContact) bool {
		return c.stand == simMet && !c.ours && !busy[c.host] && !t.nextTo(c.host) && now.Sub(c.since) >= 10*time.Second
	})
	if c == nil {
		return wtproto.CodeBusy
	}
	t.part(c, false)
	return wtproto.CodeNone
}

func (t *simTopic) meet(c *simContact, ours bool) {
	switch c.stand {
	case simMet:
		return
	case simAsked:
		t.asking--
	}
	c.stand, c.ours, c.since, c.failures = simMet, ours, time.Now(), 0
	t.meetings++
	if ours {
		t.own++
	}
}

// part ends a meeting, and sends PART.
func (t *simTopic) part(c *simContact, left bool) {
	t.apart(c)
	t.h.net.send(t.h, c.host, "PART", func() {
		if o := c.host.topics[t.key]; o != nil {
			if back := o.contacts[t.h]; back != nil && back.stand != simApart {
				o.ended(back, left)
			}
		}
	})
}

func (t *simTopic) apart(c *simContact) {
	switch c.stand {
	case simApart:
		return
	case simAsked:
		t.asking--
	case simMet:
		t.meetings--
		if c.ours {
			t.own--
		}
	}
	c.stand, c.ours, c.since = simApart, false, time.Now()
	c.next = c.since.Add(t.h.net.between(time.Second, 2*time.Second))
	c.sent, c.sentState = nil, 0
}

// ended is PART from c.
func (t *simTopic) ended(c *simContact, left bool) {
	t.apart(c)
	if left {
		t.hear(c, nil, 0, false)
		c.found, c.foundUs = false, false
	}
	t.pump()
}

// lost is the loss of the connection with c.
func (t *simTopic) lost(c *simContact) {
	if c.stand != simMet {
		return
	}
	t.apart(c)
	c.state &^= wtproto.EndpointsNeed
	for _, e := range c.endpoints {
		t.sight(c, e, simForget)
	}
	t.pace = simLookUpMin
	t.lookUpIn(0)
	t.pump()
}

// hear takes the list of c in MEET or MET (fresh), or in ENDPOINTS.
func (t *simTopic) hear(c *simContact, all []wtproto.EndpointID, state wtproto.EndpointsState, fresh bool) {
	if t.over {
		return
	}
	before := make(map[wtproto.EndpointID]bool)
	for _, e := range c.endpoints {
		before[e] = true
	}
	fresh = fresh || state != c.state
	c.endpoints, c.state = all, state
	for _, e := range all {
		if !before[e] || fresh {
			t.sight(c, e, -1)
		}
		delete(before, e)
	}
	if state&wtproto.EndpointsMore == 0 {
		for e := range before {
			t.push(discovery.Sighting{Peer: c.host.peer(e), Gone: true})
		}
	}
}

// changed is a change of the presence. Others hear of it at least half a second after the change
// before.
func (t *simTopic) changed(s discovery.State) {
	n := t.h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.Need && !t.need {
		t.pace = min(t.pace, simLookUpMax)
		t.lookUpIn(t.pace)
	}
	t.wants, t.need = s.Want, s.Need
	t.pump()
	if t.telling {
		return
	}
	t.telling = true
	n.after(max(simTellEvery-time.Since(t.sentAt), time.Millisecond), func() {
		t.telling, t.sentAt = false, time.Now()
		for _, c := range t.order {
			if t.over || c.stand != simMet || !t.tell(c) {
				continue
			}
			sent, state := c.sent, c.sentState
			n.send(t.h, c.host, "ENDPOINTS", func() {
				if o := c.host.topics[t.key]; o != nil {
					if back := o.contacts[t.h]; back != nil && back.stand == simMet {
						o.hear(back, sent, state, false)
					}
				}
			})
		}
	})
}
