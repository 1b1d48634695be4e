package p2p

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// We send our endpoints at this rate. Another host may send its own twice as fast.
	advertiseEvery = 500 * time.Millisecond
	advertiseBurst = 8
	// How often a host may lack an endpoint that it has listed, when we open a circuit. The
	// endpoint may just have left.
	lieEvery = 10 * time.Second
	lieBurst = 32
)

// choose returns at most n of all: first those of before that are still there, then any. more says
// that it leaves some out.
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

// advertisement returns the list of our endpoints for r, which are those that want its network,
// their state, and whether that differs from the last list.
func (t *topic) advertisement(r *remote) (e []wtproto.EndpointID, s wtproto.EndpointsState, changed bool) {
	state := t.presence.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	network := r.network
	if network == "" {
		network = t.h.networkOf(t.key, r.id)
	}
	e, more := choose(r.advertised, state.EndpointsFor(network), wtproto.MaxEndpoints)
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

// advertise sends our endpoints to met hosts if they have changed. It returns when it may run again.
func (t *topic) advertise() {
	state := t.presence.Now()
	if lookUp, announce := state.LookUp && !t.lookedUp, state.Announce && !t.announced; lookUp || announce {
		t.h.links.guess(t, lookUp, announce)
	}
	t.lookedUp, t.announced = state.LookUp, state.Announce
	t.mu.Lock()
	for _, r := range t.hosts {
		if r.meeting {
			t.h.links.advertise(r)
		}
	}
	t.mu.Unlock()
	if !t.advertised { // most topics never change
		t.advertised = true
		return
	}
	if t.advertiseLimit == nil {
		t.advertiseLimit = rate.NewLimiter(rate.Every(advertiseEvery), advertiseBurst)
	}
	_ = t.advertiseLimit.Wait(t.ctx) // fails if the topic has ended
}

// repeat yields the endpoints of met hosts again, before their sightings expire.
func (t *topic) repeat() {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = nil
	for _, r := range t.hosts {
		if !r.meeting {
			continue
		}
		t.sightLocked(r, t.h.Hold)
		if t.again == nil {
			t.again = time.AfterFunc(t.h.Hold/2, t.repeat)
		}
	}
}

// welcome decides about a valid MEET, and returns the code of the answer.
func (t *topic) welcome(l *link, m wtproto.Meet) wtproto.Code {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, code := t.admitLocked(l)
	answer := word{typ: wtproto.TypeMet, digest: m.Digest, code: code}
	if code == wtproto.CodeNone {
		t.attachLocked(l, r)
		state := t.presence.Now()
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

// admitLocked begins the meeting with the host that sent MEET on l, and returns it, or a code that
// says why not.
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

// addMeetingLocked adds r to the met hosts, unless there is no room. Another meeting may have to
// end for it.
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
	if t.hosts[r.id] != r { // it ended a meeting before it answered, and we have forgotten it
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

// guessed notes that the host id has asked by tags for the topic. If we announce, it answers with
// MEET.
func (t *topic) guessed(id peer.ID) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	state := t.presence.Now()
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

// failed notes that r could not be asked, or did not answer.
func (t *topic) failed(r *remote, err error) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[r.id] != r { // we have forgotten it meanwhile
		return
	}
	t.failedLocked(r, err)
	t.pumpLocked()
}

// handleEndpoints takes the new endpoints of the host of l. An error ends the link.
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

// parted notes that the host of l has ended the meeting.
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

// lost notes that the link with r has ended. We do not know whether r has left the topic.
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

// reborn notes that the program of r's host has started anew. Everything known of the old run is
// void.
func (t *topic) reborn(r *remote) {
	if !t.tasks.begin() {
		return
	}
	defer t.tasks.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applyLocked(r, r.reborn())
}

// part tells all hosts that we leave the topic. All other work of the topic has ended before.
func (t *topic) part() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.hosts {
		t.h.links.part(r, wtproto.CodeLeft)
		t.meetings.leave(r.acquaintance)
	}
}
