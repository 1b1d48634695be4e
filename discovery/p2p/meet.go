package p2p

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// A host tells of its endpoints at this rate, and may tell twice as fast.
	advertiseEvery = 500 * time.Millisecond
	advertiseBurst = 8
	// So often a host may have told of an endpoint that is not there any more when a circuit is
	// opened.
	lieEvery = 10 * time.Second
	lieBurst = 32
)

// choose returns at most n of all, and whether that leaves some out: those of told that are still
// there, and then any.
func choose(before, all []wtproto.EndpointID, n int) (chosen []wtproto.EndpointID, more bool) {
	if len(all) <= n {
		return slices.Clone(all), false
	}
	there := make(map[wtproto.EndpointID]bool, len(all))
	for _, e := range all {
		there[e] = true
	}
	for _, e := range before {
		if there[e] && len(chosen) < n {
			chosen = append(chosen, e)
			delete(there, e)
		}
	}
	for _, i := range rand.Perm(len(all)) {
		if len(chosen) == n {
			break
		}
		if e := all[i]; there[e] {
			chosen = append(chosen, e)
			delete(there, e)
		}
	}
	return chosen, true
}

// advertisement returns which of our endpoints r is told of now, what else is said of them, and
// whether that is news to it.
func (t *topic) advertisement(r *remote) (e []wtproto.EndpointID, s wtproto.EndpointsState, changed bool) {
	state, _ := t.presence.State()
	t.mu.Lock()
	defer t.mu.Unlock()
	e, more := choose(r.advertised, state.Endpoints, wtproto.MaxEndpoints)
	if more {
		s |= wtproto.EndpointsMore
	}
	if state.Need {
		s |= wtproto.EndpointsNeed
	}
	changed = s != r.advertisedState || !slices.Equal(e, r.advertised)
	r.advertised, r.advertisedState = e, s
	return e, s, changed
}

// advertise tells the hosts that are met of our endpoints when these change, and repeats sightings
// while they hold.
func (t *topic) advertise() {
	limit := rate.NewLimiter(rate.Every(advertiseEvery), advertiseBurst)
	again := time.NewTicker(t.h.Hold / 2)
	defer again.Stop()
	var before discovery.State
	for {
		state, changed := t.presence.State()
		if lookUp, announce := state.LookUp && !before.LookUp, state.Announce && !before.Announce; lookUp || announce {
			t.h.links.guess(t, lookUp, announce)
		}
		before = state
		t.mu.Lock()
		for _, r := range t.hosts {
			if r.meeting {
				t.h.links.advertise(r)
			}
		}
		t.mu.Unlock()
		if limit.Wait(t.ctx) != nil {
			return // the topic has ended
		}
		for waiting := true; waiting; {
			select {
			case <-changed:
				waiting = false
			case <-again.C:
				t.repeat()
			case <-t.ctx.Done():
				return
			}
		}
	}
}

// repeat says once more what endpoints the hosts have that are met, before that is forgotten.
func (t *topic) repeat() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.hosts {
		if r.meeting {
			t.sightLocked(r, t.h.Hold)
		}
	}
}

// welcome answers a good MEET, and returns the code that it answers with.
func (t *topic) welcome(l *link, m wtproto.Meet) wtproto.Code {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, code := t.admitLocked(l)
	answer := word{typ: wtproto.TypeMet, digest: m.Digest, code: code}
	if code == wtproto.CodeNone {
		t.attachLocked(l, r)
		state, _ := t.presence.State()
		weFound := m.Flags&wtproto.MeetGuessed != 0 && state.LookUp
		t.applyLocked(r, r.welcomed(weFound, wtproto.Endpoints{State: m.State, Endpoints: m.Endpoints}, t.h.Hold))
		answer.r = r
	}
	t.h.links.say(l, answer)
	if code == wtproto.CodeNone {
		t.noticeLocked(r)
	}
	return code
}

// admitLocked returns the host that said MEET on l, which is met now, or why not.
func (t *topic) admitLocked(l *link) (*remote, wtproto.Code) {
	r := t.remoteLocked(l.id())
	if r == nil {
		return nil, wtproto.CodeBusy
	}
	if !r.meetLimit.Allow() {
		return r, wtproto.CodeRateLimited
	}
	t.meetings.know(r.id, l.isGateway())
	code, out := t.meetings.welcome(r.id, time.Now())
	if code == wtproto.CodeNone {
		code = t.h.links.addMeeting(l, r)
	}
	if code == wtproto.CodeNone && !t.addMeetingLocked(r, false) {
		t.h.links.dropMeeting(l, r)
		code = wtproto.CodeBusy
	}
	t.letGoLocked(out)
	return r, code
}

// addMeetingLocked has r among those that are met, unless there is no room. Somebody else may have
// to go.
func (t *topic) addMeetingLocked(r *remote, ours bool) bool {
	out := t.meetings.meet(r.id, ours, time.Now())
	if out == r.id {
		return false
	}
	t.letGoLocked(out)
	return true
}

// answered takes the answer of r to MEET. An error ends the link.
func (t *topic) answered(l *link, r *remote, m wtproto.Met) error {
	if !t.tasks.begin() {
		return nil
	}
	defer t.tasks.end()
	proven := m.Code != wtproto.CodeNone || t.key.VerifyProof(m.Proof, wtproto.ProofMet, []byte(r.id), []byte(t.h.id))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[r.id] != r { // it ended a meeting before it answered, and was forgotten meanwhile
		if t.hosts[r.id] == nil && proven && m.Code == wtproto.CodeNone {
			t.h.links.say(l, word{typ: wtproto.TypePart, digest: t.digest})
		}
		return nil
	}
	t.meetings.know(r.id, l.isGateway())
	defer t.pumpLocked()
	code := m.Code
	if code == wtproto.CodeNone && proven {
		code = t.h.links.addMeeting(l, r)
		if code == wtproto.CodeNone && !t.addMeetingLocked(r, !r.guessed) {
			code = wtproto.CodeBusy
		}
	}
	switch {
	case !proven:
		err := wtproto.Errorf(wtproto.CodeForbidden, "MET: the proof is wrong: its program is faulty, or not on the topic")
		t.failedLocked(r, err)
		return err
	case m.Code != wtproto.CodeNone:
		t.failedLocked(r, &wtproto.Error{Code: code, Remote: true, Reason: "MEET was refused"})
	case code != wtproto.CodeNone:
		t.failedLocked(r, wtproto.Errorf(code, "there is no room for one more meeting"))
		t.h.links.part(r, code)
	default:
		t.attachLocked(l, r)
		t.applyLocked(r, r.accepted(wtproto.Endpoints{State: m.State, Endpoints: m.Endpoints}, t.h.Hold))
	}
	return nil
}

// guessed says that the host called id has guessed that we are on the topic. It is told so, if it
// may find us.
func (t *topic) guessed(id peer.ID) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	state, _ := t.presence.State()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !state.Announce {
		return
	}
	r := t.remoteLocked(id)
	if r == nil || !r.answersGuess() {
		return
	}
	if !r.meeting {
		code, out := t.meetings.welcome(id, time.Now())
		if code != wtproto.CodeNone {
			return
		}
		t.letGoLocked(out)
		if !t.meetings.answer(id, time.Now()) {
			return
		}
		_, r.acquaintance.near = t.h.lan.target(id)
	}
	t.askLocked(r, true, nil)
}

// failed says that r could not be asked, or did not answer.
func (t *topic) failed(r *remote, err error) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[r.id] != r { // it was forgotten meanwhile
		return
	}
	t.failedLocked(r, err)
	t.pumpLocked()
}

// handleEndpoints takes what endpoints the host of l has now. An error ends the link.
func (t *topic) handleEndpoints(l *link, e wtproto.Endpoints) error {
	if !t.tasks.begin() {
		return nil
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.hosts[l.id()]
	if r == nil || r.link != l { // it has not seen our PART yet
		return nil
	}
	if !r.endpointsLimit.Allow() {
		return wtproto.Errorf(wtproto.CodeRateLimited, "ENDPOINTS come too fast")
	}
	t.applyLocked(r, r.updated(e, t.h.Hold))
	return nil
}

// parted says that the host of l has ended the meeting.
func (t *topic) parted(l *link, code wtproto.Code) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.hosts[l.id()]
	if r == nil || r.link != l {
		return
	}
	t.h.links.dropMeeting(l, r)
	t.endedLocked(r, code)
}

// lost says that the link with r has ended. Nobody knows whether r has left.
func (t *topic) lost(l *link, r *remote) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.link == l {
		t.endedLocked(r, wtproto.CodePeerGone)
	}
}

// reborn says that the program of r's host has been started anew: all that was known of it is
// gone.
func (t *topic) reborn(r *remote) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applyLocked(r, r.reborn())
}

// part tells all hosts that we leave the topic. Nothing else of the topic runs any more.
func (t *topic) part() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.hosts {
		t.h.links.part(r, wtproto.CodeLeft)
		t.meetings.leave(r.acquaintance)
	}
}
