package dat

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is the handshake of npm's discovery-swarm without a stream of the program's own: each
// side sends the length of its id, as a varint, and the id. Two connections with the same two ids
// are redundant, and both sides drop the same one of them.

const (
	// shakeWithin is how long a peer may take for its part of the handshake, as in the original.
	shakeWithin = 5 * time.Second
	// maxShakeID is the length of ids that is accepted. By default they have 32 bytes.
	maxShakeID = 256
)

// shake is the ids of a handshake.
type shake struct{ own, remote string }

// swarmID returns the id that a member shows in the handshakes of a topic. It says nothing about
// the member, and differs for each topic: a peer takes two connections with the same two ids for
// one that is redundant.
func (h *Host) swarmID(m member) string {
	return h.signed(string(h.mac(m.topic[:], m.endpoint[:])))
}

// isSwarmID reports whether id is one of those that [Host.swarmID] returns.
func (h *Host) isSwarmID(id string) bool {
	return len(id) == 2*macSize && hmac.Equal([]byte(id), []byte(h.signed(id[:macSize])))
}

// macSize is the length of each half of our ids. The second half shows that the first is ours.
const macSize = 16

func (h *Host) signed(half string) string { return half + string(h.mac([]byte(half))) }

func (h *Host) mac(of ...[]byte) []byte {
	mac := hmac.New(sha256.New, h.secret[:])
	for _, b := range of {
		mac.Write(b)
	}
	return mac.Sum(nil)[:macSize]
}

// greet does the handshake on s: it sends own, and returns the peer's id. It reads no byte beyond
// that.
func greet(ctx context.Context, s discovery.Stream, own string) (remote string, err error) {
	stop := context.AfterFunc(ctx, func() { s.Reset(wtproto.CodeNone) })
	defer func() {
		if !stop() && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	if err := s.SetReadDeadline(time.Now().Add(shakeWithin)); err != nil {
		return "", err
	}
	if _, err := s.Write(appendID(nil, own)); err != nil {
		return "", shakeError(err)
	}
	if remote, err = readID(s); err != nil {
		return "", shakeError(err)
	}
	return remote, s.SetReadDeadline(time.Time{})
}

// appendID appends our part of a handshake.
func appendID(b []byte, own string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(own))), own...)
}

// readID reads the other side's part of a handshake, byte by byte as far as it must.
func readID(r io.Reader) (string, error) {
	length, err := binary.ReadUvarint(byteReader{r})
	switch {
	case err != nil:
		return "", err
	case length == 0 || length > maxShakeID:
		return "", errNoHandshake
	}
	id := make([]byte, length)
	_, err = io.ReadFull(r, id)
	return string(id), err
}

// byteReader reads single bytes, and no more than it returns.
type byteReader struct{ r io.Reader }

func (b byteReader) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(b.r, one[:])
	return one[0], err
}

var (
	errNoHandshake = &wtproto.Error{Code: wtproto.CodeProtocol, Remote: true, Reason: "the peer does not begin with the handshake of discovery-swarm: join the network dat if it has a stream of its own"}
	errConnected   = &wtproto.Error{Code: wtproto.CodeDeclined, Remote: true, Reason: "another connection with the same peer is open"}
	errSelf        = wtproto.Errorf(wtproto.CodeForbidden, "the address leads to this gateway itself")
)

// shakeError gives err, by which a handshake ended, a code.
func shakeError(err error) error {
	if _, ok := errors.AsType[*wtproto.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "the peer does not finish its handshake in time: join the network dat if it has a stream of its own", Err: err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &wtproto.Error{Code: wtproto.CodePeerGone, Reason: "the peer ended the connection during the handshake: it is tried again", Err: err}
	default: // a varint that does not end
		return errNoHandshake
	}
}

// codeOf returns the code of err.
func codeOf(err error) wtproto.Code {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e.Code
	}
	return wtproto.CodeNone
}

// admit notes that c has had the handshake s, on a connection that we opened to a; a is nil if the
// peer opened it. It returns an error if c is the redundant one of two connections, which is to be
// dropped. If it is the other of the two, the older one is dropped.
//
// An id proves nothing, and each peer shows its own to all others. So two connections are those of
// one peer only if they are with one address too. Of other ones the peer itself ends what it takes
// for redundant.
func (h *Host) admit(c *circuit, s shake, a *address) error {
	h.mu.Lock()
	if a != nil {
		h.nameLocked(c.member.topic, *a, s.remote)
	}
	i := slices.IndexFunc(h.shaken[s], c.sameParty)
	if i >= 0 && redundant(s, a != nil) {
		h.mu.Unlock()
		return errConnected
	}
	c.shake = s
	if i < 0 {
		h.shaken[s] = append(h.shaken[s], c)
		h.mu.Unlock()
		return nil
	}
	old := h.shaken[s][i]
	h.shaken[s][i] = c
	h.mu.Unlock()
	old.fail(errReplaced)
	return nil
}

// sameParty reports whether c and o are with one IPv4 address or IPv6 /64.
func (c *circuit) sameParty(o *circuit) bool {
	return crowd.Groups(c.remote.Addr())[0] == crowd.Groups(o.remote.Addr())[0]
}

// redundant reports whether the newer of two connections with the ids s is dropped, and not the
// older: as discovery-swarm has it, so that both sides drop the same one.
func redundant(s shake, weOpened bool) bool {
	if weOpened {
		return s.remote < s.own
	}
	return s.remote > s.own
}

// nameLocked remembers who answered at a, while anybody is on the topic.
func (h *Host) nameLocked(topic wtproto.Topic, a address, remote string) {
	here := false
	for j := range h.present[idOf(topic)] {
		here = here || j.network.handshake && j.topic == topic && !j.over
	}
	if !here {
		return
	}
	at := h.names[topic]
	if at == nil {
		at = make(map[address]string)
		h.names[topic] = at
	}
	if len(at) >= maxFound {
		clear(at) // they are found out again
	}
	at[a] = remote
}

// isShaken reports whether m is connected with the peer that answered at a last.
func (h *Host) isShaken(m member, a address) bool {
	own := h.swarmID(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	remote, ok := h.names[m.topic][a]
	return ok && len(h.shaken[shake{own, remote}]) > 0
}

// partLocked forgets the handshake of c, which has ended.
func (h *Host) partLocked(c *circuit) {
	rest := slices.DeleteFunc(h.shaken[c.shake], func(o *circuit) bool { return o == c })
	if h.shaken[c.shake] = rest; len(rest) == 0 {
		delete(h.shaken, c.shake)
	}
}
