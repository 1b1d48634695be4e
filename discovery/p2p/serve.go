package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-yamux/v5"
	multistream "github.com/multiformats/go-multistream"

	"github.com/swarmgate/swarmgate/wtproto"
)

// stream is a stream with another host whose first frame is on its way. Use rw to read and write
// until the other host has answered.
type stream struct {
	network.Stream
	rw io.ReadWriter
}

// openStream opens a stream on the connection with id.
func (h *Host) openStream(ctx context.Context, id peer.ID) (stream, error) {
	s, err := h.libp2p.Network().NewStream(network.WithNoDial(ctx, "the hosts have met"), id)
	if err != nil {
		return stream{}, unreachable(id, err)
	}
	if err := s.SetProtocol(wtproto.HostProtocol); err != nil {
		_ = s.Reset()
		return stream{}, &wtproto.Error{Code: wtproto.CodeCircuitLimit, Reason: "there are too many streams with host " + id.String() + ": wait until circuits end", Err: err}
	}
	// The name of the protocol and the first frame go in one packet.
	return stream{s, multistream.NewMSSelect(s, protocol.ID(wtproto.HostProtocol))}, nil
}

// write writes one frame. The other side has to make room for it within d.
func (s stream) write(frame []byte, d time.Duration) error {
	if err := s.SetWriteDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if _, err := s.rw.Write(frame); err != nil {
		return err
	}
	return s.SetWriteDeadline(time.Time{})
}

// reset ends s in both directions.
func reset(s network.Stream, code wtproto.Code) {
	_ = s.ResetWithError(network.StreamErrorCode(code)) // a stream that has ended cannot be reset, and need not
}

// await reads frames until one of type want, and returns its payload. It skips unknown frames.
func await(r *wtproto.Reader, want wtproto.Type) ([]byte, error) {
	for {
		typ, payload, err := r.Next()
		switch {
		case err != nil:
			return nil, err
		case typ == want:
			return payload, nil
		case typ.Known():
			return nil, wtproto.Errorf(wtproto.CodeProtocol, "got %v, want %v", typ, want)
		}
	}
}

// answerError returns the error for an answer that did not come because of err.
func answerError(frame string, err error) error {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return fmt.Errorf("p2p: %s: %w", frame, e)
	}
	if errors.Is(err, multistream.ErrNotSupported[protocol.ID]{}) {
		return notSpoken(frame)
	}
	if errors.Is(err, yamux.ErrTimeout) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: noAnswer(frame), Err: err}
	}
	e := failure(err)
	switch uint32(e.Code) {
	case uint32(network.StreamProtocolNegotiationFailed):
		return notSpoken(frame)
	case uint32(network.StreamResourceLimitExceeded):
		e = &wtproto.Error{Code: wtproto.CodeCircuitLimit, Remote: true}
	}
	e.Reason = noAnswer(frame)
	return e
}

// noAnswer returns the reason for a missing answer to a frame.
func noAnswer(frame string) string {
	return "no answer to " + frame + ": the host is gone, or hangs, so start it again if it does not come back"
}

func notSpoken(frame string) error {
	return wtproto.Errorf(wtproto.CodeProtocol, "%s: the host does not speak %s: use programs of one version", frame, wtproto.HostProtocol)
}

// codeOf returns the code for err on the wire.
func codeOf(err error) wtproto.Code {
	switch e, ok := errors.AsType[*wtproto.Error](err); {
	case errors.Is(err, yamux.ErrTimeout):
		return wtproto.CodeIdle
	case ok:
		return e.Code
	case errors.Is(err, io.EOF):
		return wtproto.CodeNone
	default:
		return wtproto.CodeProtocol
	}
}

// serve handles a stream that another host opened, until it has become a circuit or has ended.
func (h *Host) serve(s network.Stream) {
	if !h.serves.begin() {
		reset(s, wtproto.CodeShutdown)
		return
	}
	defer h.serves.end()
	place := h.ties.addPending(s)
	known := func() { h.ties.pending.Leave(place) }
	serve, err := h.first(stream{s, s}, known)
	if err != nil {
		known()
		h.log.Debug("stream refused", "peer", s.Conn().RemotePeer().String(), "error", err)
		reset(s, codeOf(err))
		return
	}
	serve()
}

// first reads the first frame of s, and returns the function that serves s. This calls known as
// soon as it has decided what s becomes.
func (h *Host) first(s stream, known func()) (serve func(), err error) {
	if err := s.SetReadDeadline(time.Now().Add(h.AnswerTimeout)); err != nil {
		return nil, err
	}
	r := wtproto.NewReader(s.rw)
	typ, payload, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("p2p: first frame: %w", err)
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	switch typ {
	case wtproto.TypeHost:
		host, err := wtproto.ParseHost(payload)
		return func() {
			known()
			h.serveHost(s, host)
		}, err
	case wtproto.TypeOpen:
		o, err := wtproto.ParseOpen(payload)
		return func() {
			defer known()
			h.serveOpen(s, o)
		}, err
	}
	return nil, wtproto.Errorf(wtproto.CodeProtocol, "a stream cannot begin with %v", typ)
}

// topicOf returns the topic with digest, or nil if we are not on it.
func (h *Host) topicOf(digest [32]byte) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.topics[digest]
}

// proven returns the topic with digest, if we are on it and proof shows that id is on it too. It
// takes the same time if we are not on the topic.
func (h *Host) proven(digest [32]byte, label wtproto.ProofLabel, proof [32]byte, id peer.ID) *topic {
	t := h.topicOf(digest)
	key := h.decoy
	if t != nil {
		key = t.key
	}
	if !key.VerifyProof(proof, label, []byte(id), []byte(h.id)) {
		return nil
	}
	return t
}

// prove returns our proof for id.
func (h *Host) prove(key wtproto.Topic, label wtproto.ProofLabel, id peer.ID) [32]byte {
	return key.Proof(label, []byte(h.id), []byte(id))
}
