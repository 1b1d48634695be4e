package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file carries out what meetings decides: it asks hosts, and ends meetings.

// relieveEvery is how often a topic without a free place asks another topic for one.
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

// retry asks the hosts whose time has come, and forgets those that are not found any more.
func (t *topic) retry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meetings.forget(time.Now())
	t.pumpLocked()
}

// remoteLocked returns the remote of a host, or nil if the host is new and there is no room.
func (t *topic) remoteLocked(id peer.ID) *remote {
	a := t.meetings.learn(id, time.Now())
	if a == nil {
		return nil
	}
	r := t.hosts[id]
	if r == nil {
		if t.hosts == nil {
			t.hosts = make(map[peer.ID]*remote)
		}
		r = t.newRemote(a)
		t.hosts[id] = r
	}
	return r
}

// pump asks the hosts whose turn it is.
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
	state := t.presence.Now()
	if t.ctx.Err() != nil || !state.LookUp {
		return
	}
	if places := state.Want; t.h.Gateway && len(state.Endpoints) == 0 { // in its grace time
		t.meetings.want(1)
	} else {
		t.meetings.want(places)
	}
	if len(t.hosts) == 0 {
		return
	}
	now := time.Now()
	if t.turn == nil && t.meetings.asks(now) {
		t.turn = t.h.dials.want(fair.RankOf(t.turns), payersOf(state, t.h.Gateway), func(turn *turn) bool {
			return t.tasks.start(func() { t.take(turn) })
		})
	}
	wait := t.meetings.wake(now).Sub(now)
	if t.meetings.starves(now) {
		wait = min(wait, relieveEvery) // there is no event when a place becomes free
		if now.Sub(t.relieved) >= relieveEvery {
			t.relieved = now
			if rich := t.h.ties.rooms.richest(t); rich != nil {
				rich.tasks.start(rich.relieve)
			}
		}
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.pump)
	} else {
		t.timer.Reset(wait)
	}
}

// take asks a host with the turn to dial that has come.
func (t *topic) take(turn *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn = nil
	t.turns++
	state := t.presence.Now()
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

// pay updates the payers for which the topic waits for its turn.
func (t *topic) pay(s discovery.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn.pay(fair.RankOf(t.turns), payersOf(s, t.h.Gateway))
}

// relieve ends a meeting so that another topic gets the place.
func (t *topic) relieve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.letGoLocked(t.meetings.relieve(time.Now(), t.h.ties.rooms.alone))
}

// askLocked sends MEET to r, to answer its GUESS or because we found it, unless the topic has
// ended. The result comes by answered or failed. It ends turn, which is nil for a host with which
// we have a link.
func (t *topic) askLocked(r *remote, answersGuess bool, turn *turn) {
	if t.ctx.Err() != nil {
		turn.done()
		return
	}
	where := target{id: r.id, addrs: r.addrs, named: r.acquaintance.named}
	code := t.h.links.ask(r, where, r.asked(answersGuess), turn)
	if code != wtproto.CodeNone {
		t.failedLocked(r, wtproto.Errorf(code, "the two hosts share too many topics"))
	}
}

// noticeLocked tells r, which we have met, by one frame that we found it, unless it knows.
func (t *topic) noticeLocked(r *remote) {
	if r.inform(time.Now()) {
		t.askLocked(r, false, nil)
	}
}

// letGoLocked tells the host id that the meeting is over, as meetings has decided. It does nothing
// for "".
func (t *topic) letGoLocked(id peer.ID) {
	if r := t.hosts[id]; r != nil {
		t.h.links.part(r, wtproto.CodeNone)
		t.apartLocked(r, wtproto.CodeNone)
	}
}
