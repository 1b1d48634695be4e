package p2p

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// A host tells of its endpoints at this rate, and may tell twice as fast.
	tellEvery = 500 * time.Millisecond
	tellBurst = 8
)

// meeting is a stream between this host and another that are both on a topic. It lives as long as they are.
type meeting struct {
	// constant
	t      *topic
	r      *remote
	s      stream
	frames *wtproto.Reader // of s
	ours   bool            // we sent MEET

	live bool                 // guarded by topic.mu; MET was sent or received
	told []wtproto.EndpointID // owned by tell, after the first frame; what the other host was told
	more bool                 // likewise
}

// choose returns at most n of all, and whether that leaves some out: those of told that are still there, and then any.
func choose(told, all []wtproto.EndpointID, n int) (chosen []wtproto.EndpointID, more bool) {
	if len(all) <= n {
		return slices.Clone(all), false
	}
	there := make(map[wtproto.EndpointID]bool, len(all))
	for _, e := range all {
		there[e] = true
	}
	for _, e := range told {
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

// endpoints notes and returns what the other host is to be told first.
func (m *meeting) endpoints() ([]wtproto.EndpointID, bool) {
	state, _ := m.t.presence.State()
	m.told, m.more = choose(nil, state.Endpoints, wtproto.MaxEndpoints)
	return m.told, m.more
}

// flags returns what we are.
func (h *Host) flags() wtproto.MeetFlags {
	if h.Gateway {
		return wtproto.MeetGateway
	}
	return 0
}

// ask sends MEET and waits for the answer.
func (m *meeting) ask() (wtproto.Met, error) {
	h, id := m.t.h, m.r.id
	e, more := m.endpoints()
	meet := wtproto.Meet{Digest: m.t.digest, Proof: h.prove(m.t.key, wtproto.ProofMeet, id), Flags: h.flags(), More: more, Endpoints: e}
	if err := m.s.write(meet.Append(nil), h.AnswerTimeout); err != nil {
		return wtproto.Met{}, answerError("MEET", err)
	}
	if err := m.s.SetReadDeadline(time.Now().Add(h.AnswerTimeout)); err != nil {
		return wtproto.Met{}, answerError("MEET", err)
	}
	payload, err := await(m.frames, wtproto.TypeMet)
	if err != nil {
		return wtproto.Met{}, answerError("MEET", err)
	}
	met, err := wtproto.ParseMet(payload)
	switch {
	case err != nil:
		return met, fmt.Errorf("p2p: %w", err)
	case met.Code != wtproto.CodeNone:
		return met, &wtproto.Error{Code: met.Code, Remote: true, Reason: "MEET was refused"}
	case !m.t.key.VerifyProof(met.Proof, wtproto.ProofMet, []byte(id), []byte(h.id)):
		return met, wtproto.Errorf(wtproto.CodeForbidden, "MET: the proof is wrong")
	}
	return met, m.s.SetReadDeadline(time.Time{})
}

// answer sends MET.
func (m *meeting) answer() error {
	h := m.t.h
	e, more := m.endpoints()
	met := wtproto.Met{Proof: h.prove(m.t.key, wtproto.ProofMet, m.r.id), Flags: h.flags(), More: more, Endpoints: e}
	return m.s.write(met.Append(nil), h.AnswerTimeout)
}

// hold keeps the meeting until one of the hosts leaves the topic.
func (m *meeting) hold() {
	ctx, cancel := context.WithCancel(m.t.ctx)
	stop := context.AfterFunc(m.t.ctx, func() { reset(m.s, wtproto.CodeLeft) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.tell(ctx); err != nil {
			reset(m.s, codeOf(err)) // ends listen
		}
	}()
	err := m.listen()
	cancel()
	reset(m.s, codeOf(err))
	<-done
	stop()
	m.t.ended(m)
}

// listen takes the other host's endpoints until the stream ends, and returns why it did.
func (m *meeting) listen() error {
	limit := rate.NewLimiter(rate.Every(tellEvery/2), 4*tellBurst)
	for {
		typ, payload, err := m.frames.Next()
		if err != nil {
			return err
		}
		if !limit.Allow() {
			return wtproto.Errorf(wtproto.CodeRateLimited, "frames come too fast")
		}
		switch {
		case typ == wtproto.TypeEndpoints:
			e, err := wtproto.ParseEndpoints(payload)
			if err != nil {
				return err
			}
			m.t.told(m, e)
		case typ.Known():
			return wtproto.Errorf(wtproto.CodeProtocol, "%v in a meeting", typ)
		}
	}
}

// tell sends our endpoints when they change, and repeats sightings while they hold, until ctx ends or a write fails.
func (m *meeting) tell(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Every(tellEvery), tellBurst)
	again := time.NewTicker(m.t.h.Hold / 2)
	defer again.Stop()
	for {
		state, changed := m.t.presence.State()
		if e, more := choose(m.told, state.Endpoints, wtproto.MaxEndpoints); more != m.more || !slices.Equal(e, m.told) {
			if err := m.s.write(wtproto.Endpoints{More: more, Endpoints: e}.Append(nil), m.t.h.AnswerTimeout); err != nil {
				return err
			}
			m.told, m.more = e, more
			if limit.Wait(ctx) != nil {
				return nil // ctx has ended
			}
			continue
		}
		select {
		case <-changed:
		case <-again.C:
			m.t.repeat(m.r)
		case <-ctx.Done():
			return nil
		}
	}
}

// serveMeet answers MEET, and stays until the meeting has ended.
func (h *Host) serveMeet(s stream, r *wtproto.Reader, meet wtproto.Meet) {
	t := h.proven(meet.Digest, wtproto.ProofMeet, meet.Proof, s.Conn().RemotePeer())
	if t == nil || !t.gate.enter() {
		h.refuseMeet(s, wtproto.CodeForbidden)
		return
	}
	defer t.gate.leave()
	m, code := t.welcome(s, r)
	if m == nil {
		h.refuseMeet(s, code)
		return
	}
	if err := m.answer(); err != nil {
		reset(s, codeOf(err))
		t.ended(m)
		return
	}
	t.met(m, meet.Flags, wtproto.Endpoints{More: meet.More, Endpoints: meet.Endpoints})
	m.hold()
}

// refuseMeet answers MEET with code, and ends the stream.
func (h *Host) refuseMeet(s stream, code wtproto.Code) {
	if err := s.write(wtproto.Met{Code: code}.Append(nil), h.AnswerTimeout); err != nil {
		reset(s, code)
		return
	}
	_ = s.Close() // after the answer
}
