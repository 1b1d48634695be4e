package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file does what meetings decides: it has hosts asked, and lets them go.

// relieveEvery is how often a topic without a place for one more host asks another topic for one.
const relieveEvery = time.Second

// newMeetings returns the accounting of t.
func (t *topic) newMeetings() *meetings {
	m := newMeetings(t.h.RetryMin, t.h.RetryMax)
	m.busy = t.h.ties.hasCircuits
	m.room = t.h.ties.rooms.of(t)
	if t.h.Gateway {
		m.chain = newChain(t.h.id)
	}
	m.dropped = func(id peer.ID) { delete(t.hosts, id) }
	return m
}

// addTarget takes note of a host that is, or may be, on the topic.
func (t *topic) addTarget(p target) {
	if p.id == t.h.id {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.remoteLocked(p.id)
	if r == nil {
		return
	}
	t.learnLocked(r, p)
	if !r.meeting {
		t.pumpLocked()
		return
	}
	t.applyLocked(r, r.found(t.h.Hold))
	t.noticeLocked(r)
}

// retry has those asked whose turn it is, and forgets those that are found no more.
func (t *topic) retry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meetings.forget(time.Now())
	t.pumpLocked()
}

// remoteLocked returns what is known of a host, or nil if it is new and there is no room.
func (t *topic) remoteLocked(id peer.ID) *remote {
	a := t.meetings.learn(id, time.Now())
	if a == nil {
		return nil
	}
	r := t.hosts[id]
	if r == nil {
		r = t.newRemote(a)
		t.hosts[id] = r
	}
	return r
}

// pump asks those whose turn it is.
func (t *topic) pump() {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pumpLocked()
}

func (t *topic) pumpLocked() {
	state, _ := t.presence.State()
	if t.ctx.Err() != nil || !state.LookUp {
		return
	}
	if places := state.Want; t.h.Gateway && len(state.Endpoints) == 0 { // in its grace time
		t.meetings.want(1)
	} else {
		t.meetings.want(places)
	}
	now := time.Now()
	if t.turn == nil && t.meetings.asks(now) {
		t.turn = t.h.dials.want(rankOf(t.turns), payersOf(state, t.h.Gateway), func(turn *turn) bool {
			return t.tasks.start(func() { t.take(turn) })
		})
	}
	wait := t.meetings.wake(now).Sub(now)
	if t.meetings.starves(now) {
		wait = min(wait, relieveEvery) // nobody tells when there is a place
		if now.Sub(t.relieved) >= relieveEvery {
			t.relieved = now
			if rich := t.h.ties.rooms.richest(t); rich != nil {
				rich.tasks.start(rich.relieve)
			}
		}
	}
	t.timer.Reset(wait)
}

// take has a host asked, of which the dial is turn.
func (t *topic) take(turn *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn = nil
	t.turns++
	state, _ := t.presence.State()
	if t.ctx.Err() != nil || !state.LookUp {
		turn.done()
		return
	}
	if a := t.meetings.next(time.Now()); a != nil {
		t.askLocked(t.hosts[a.id], false, turn)
	} else {
		turn.done()
	}
	t.pumpLocked()
}

// pay says for whose sake the topic waits for its turn.
func (t *topic) pay(s discovery.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn.pay(rankOf(t.turns), payersOf(s, t.h.Gateway))
}

// relieve lets a host go for the sake of another topic.
func (t *topic) relieve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.letGoLocked(t.meetings.relieve(time.Now(), t.h.ties.rooms.alone))
}

// askLocked asks r to meet, to answer its GUESS or because we found it, unless the topic has ended.
// Then answered or failed is called. It ends turn, which is nil for a host with which there is a
// link.
func (t *topic) askLocked(r *remote, answersGuess bool, turn *turn) {
	if t.ctx.Err() != nil {
		turn.done()
		return
	}
	where := target{id: r.id, addrs: r.addrs, named: r.acquaintance.named}
	code := t.h.links.ask(r, where, r.asked(answersGuess), turn)
	if code != wtproto.CodeNone {
		t.failedLocked(r, wtproto.Errorf(code, "the two meet on too many topics"))
	}
}

// noticeLocked has r, which is met, told that we found it, unless it knows. That takes one frame.
func (t *topic) noticeLocked(r *remote) {
	if r.inform(time.Now()) {
		t.askLocked(r, false, nil)
	}
}

// letGoLocked tells the host called id that it is met no more, as meetings has decided. No host is
// called "".
func (t *topic) letGoLocked(id peer.ID) {
	if r := t.hosts[id]; r != nil {
		t.h.links.part(r, wtproto.CodeNone)
		t.apartLocked(r, wtproto.CodeNone)
	}
}
