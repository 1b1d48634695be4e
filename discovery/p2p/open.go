package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// pair identifies the first circuit of two endpoints that another host opened.
type pair struct {
	digest   [32]byte
	host     peer.ID
	from, to wtproto.EndpointID
}

// opens reports whether host a opens the first circuits between a and b: a gateway toward a native
// peer, and among equals the one with the smaller id. Either opens further ones.
func opens(aGateway bool, a peer.ID, bGateway bool, b peer.ID) bool {
	if aGateway != bGateway {
		return aGateway
	}
	return a < b
}

// open opens a circuit with host id, between the endpoints and with the flags of ask.
func (h *Host) open(ctx context.Context, key wtproto.Topic, id peer.ID, ask wtproto.Open) (discovery.Stream, error) {
	if !h.ties.addCircuit(id) {
		return nil, wtproto.Errorf(wtproto.CodeCircuitLimit, "there are too many circuits with host %s: wait until some end", id)
	}
	c, err := h.openCircuit(ctx, key, id, ask)
	if err != nil {
		h.ties.dropCircuit(id)
		return nil, err
	}
	return c, nil
}

func (h *Host) openCircuit(ctx context.Context, key wtproto.Topic, id peer.ID, ask wtproto.Open) (*circuit, error) {
	ctx, cancel := context.WithTimeout(ctx, h.AnswerTimeout)
	defer cancel()
	s, err := h.openStream(ctx, id)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			reset(s, wtproto.CodeIdle)
		} else {
			reset(s, wtproto.CodeWithdrawn)
		}
	})
	err = h.askOpen(s, key, id, ask)
	if !stop() {
		return nil, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: noAnswer("OPEN"), Err: ctx.Err()}
	}
	if err != nil {
		reset(s, codeOf(err))
		return nil, err
	}
	return newCircuit(s.Stream, func() { h.ties.dropCircuit(id) }), nil
}

// askOpen sends OPEN and waits for the answer.
func (h *Host) askOpen(s stream, key wtproto.Topic, id peer.ID, ask wtproto.Open) error {
	ask.Digest, ask.Proof = key.Digest(), h.prove(key, wtproto.ProofOpen, id)
	if err := s.write(ask.Append(nil), h.AnswerTimeout); err != nil {
		return answerError("OPEN", err)
	}
	payload, err := await(wtproto.NewReader(s.rw), wtproto.TypeOpened)
	if err != nil {
		return answerError("OPEN", err)
	}
	answer, err := wtproto.ParseOpened(payload)
	switch {
	case err != nil:
		return fmt.Errorf("p2p: %w", err)
	case answer.Code != wtproto.CodeNone:
		return &wtproto.Error{Code: answer.Code, Remote: true, Reason: "OPEN was refused"}
	case !key.VerifyProof(answer.Proof, wtproto.ProofOpened, []byte(id), []byte(h.id)):
		return wtproto.Errorf(wtproto.CodeForbidden, "OPENED: the proof is wrong: its program is faulty, or not on the topic")
	}
	return nil
}

// serveOpen answers OPEN as the caller of Join decides.
func (h *Host) serveOpen(s stream, o wtproto.Open) {
	id := s.Conn().RemotePeer()
	t := h.proven(o.Digest, wtproto.ProofOpen, o.Proof, id)
	if t == nil || !t.tasks.begin() {
		h.refuseOpen(s, wtproto.CodeForbidden)
		return
	}
	defer t.tasks.end()
	state := t.presence.Now()
	further := o.Flags&wtproto.OpenFurther != 0
	switch gateway := o.From != (wtproto.EndpointID{}); {
	case h.links.shunned(id) != nil:
		h.refuseOpen(s, wtproto.CodeBusy)
		return
	case !further && opens(h.Gateway, h.id, gateway, id):
		h.refuseOpen(s, wtproto.CodeProtocol)
		h.links.blame(id, wtproto.Errorf(wtproto.CodeProtocol, "OPEN out of turn"))
		return
	case !slices.Contains(state.Endpoints, o.To):
		h.refuseOpen(s, wtproto.CodePeerUnreachable)
		return
	case !h.ties.addCircuit(id):
		h.refuseOpen(s, wtproto.CodeCircuitLimit)
		return
	}
	in := &inbound{
		h: h, s: s, key: t.key, pair: pair{o.Digest, id, o.From, o.To}, further: further,
		answered: make(chan struct{}),
	}
	if older := h.replace(in); older != nil {
		older.end(wtproto.CodeReplaced)
	}
	t.opened(in)
	timer := time.NewTimer(h.AnswerTimeout)
	defer timer.Stop()
	select {
	case <-in.answered:
	case <-timer.C:
		in.Refuse(wtproto.CodeBusy)
	case <-t.ctx.Done():
		in.Refuse(wtproto.CodeLeft)
	}
	if code, refused := in.refusal(); refused {
		h.forget(in)
		h.ties.dropCircuit(id)
		h.refuseOpen(s, code)
	}
}

// refuseOpen answers OPEN with code, and ends the stream.
func (h *Host) refuseOpen(s stream, code wtproto.Code) {
	if err := s.write(wtproto.Opened{Code: code}.Append(nil), h.AnswerTimeout); err != nil {
		reset(s, code)
		return
	}
	_ = s.Close() // after the answer
}

// replace makes in the first circuit of its pair, and returns the former one. A further circuit
// replaces nothing.
func (h *Host) replace(in *inbound) *inbound {
	if in.further {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	older := h.circuits[in.pair]
	h.circuits[in.pair] = in
	return older
}

// forget notes that in has ended.
func (h *Host) forget(in *inbound) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.circuits[in.pair] == in {
		delete(h.circuits, in.pair)
	}
}

// inbound is a circuit that another host asks for. It is a [discovery.Inbound].
type inbound struct {
	h        *Host
	s        stream
	key      wtproto.Topic
	pair     pair
	further  bool
	answered chan struct{} // closed by the first answer

	mu      sync.Mutex
	done    bool         // guarded by mu; it is answered
	refused bool         // guarded by mu; the answer was no
	code    wtproto.Code // guarded by mu; with this code
}

var _ discovery.Inbound = (*inbound)(nil)

// answer notes the answer, and reports whether it is the first.
func (in *inbound) answer(refused bool, code wtproto.Code) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.done {
		return false
	}
	in.done, in.refused, in.code = true, refused, code
	close(in.answered)
	return true
}

// refusal returns the code of a refusal, and whether there was one.
func (in *inbound) refusal() (wtproto.Code, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.code, in.refused
}

// To returns our endpoint.
func (in *inbound) To() wtproto.EndpointID { return in.pair.to }

// Further reports whether the peer wants a circuit beside others.
func (in *inbound) Further() bool { return in.further }

// Refuse says no, unless the circuit is answered already. It does not block.
func (in *inbound) Refuse(code wtproto.Code) { in.answer(true, code) }

// Accept says yes, unless the circuit is answered already.
func (in *inbound) Accept() (discovery.Stream, error) {
	if !in.answer(false, wtproto.CodeNone) {
		code, _ := in.refusal()
		return nil, wtproto.Errorf(code, "the circuit was answered before")
	}
	c := newCircuit(in.s.Stream, func() {
		in.h.ties.dropCircuit(in.pair.host)
		in.h.forget(in)
	})
	yes := wtproto.Opened{Proof: in.h.prove(in.key, wtproto.ProofOpened, in.pair.host)}
	if err := in.s.write(yes.Append(nil), in.h.AnswerTimeout); err != nil {
		err = answerError("OPENED", err)
		c.Reset(codeOf(err))
		return nil, err
	}
	return c, nil
}

// end ends the circuit, whether it is answered or not.
func (in *inbound) end(code wtproto.Code) {
	if !in.answer(true, code) {
		reset(in.s, code)
	}
}
