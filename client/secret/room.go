package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// handshakeTime is how long the two ends have for the handshake.
const handshakeTime = 10 * time.Second

// Circuit is what a room seals: a [*client.Conn], or a stream of a network.
type Circuit interface {
	io.ReadWriteCloser
	// CloseWrite ends this end's direction: the peer's Read returns io.EOF.
	CloseWrite() error
	// Reset ends both directions at once, and with them calls of the other methods.
	Reset(code wtproto.Code)
	// SetReadDeadline makes a blocked or later Read fail at t with an error that is an
	// os.ErrDeadlineExceeded; the zero time means never.
	SetReadDeadline(t time.Time) error
}

// Room is a secret and the identity that this program has among those who know it. It does not
// change; any number of goroutines may use it.
type Room struct {
	topic    wtproto.Topic
	psk      [32]byte
	identity *Identity
	interval uint64 // records between two keys of a direction
}

// NewRoom returns the room of s. Without an identity it has a new one.
func NewRoom(s Secret, identity *Identity) *Room {
	if identity == nil {
		identity = NewIdentity()
	}
	return &Room{topic: s.Topic(), psk: s.psk(), identity: identity, interval: rekeyInterval}
}

// Topic returns the topic on which those in the room meet.
func (r *Room) Topic() wtproto.Topic { return r.topic }

// Key returns the static key that others see.
func (r *Room) Key() Key { return r.identity.Key() }

// Seal makes the handshake on a circuit of the room's topic, first or further, of which nothing
// was read and to which nothing was written; conn is the sealed circuit's then. The handshake takes
// one and a half round trips.
//
// If it fails, conn is reset. The chain of the error holds an [*wtproto.Error]: with Remote and
// the code that came if the peer or the gateway has reset the circuit; with CodeProtocol if the
// other end does not know the secret, is this program itself, does not follow docs/SECRET.md, or
// has not finished within 10 s; or it is ctx's cause. ctx does not matter after Seal.
func (r *Room) Seal(ctx context.Context, conn *client.Conn) (*Conn, error) {
	return r.SealCircuit(ctx, conn, conn.Peer().Initiator)
}

// SealCircuit is [Room.Seal] for any circuit. Exactly one of its two ends is the initiator.
func (r *Room) SealCircuit(ctx context.Context, c Circuit, initiator bool) (*Conn, error) {
	return r.seal(ctx, c, initiator, nil)
}

// errTooSlow says that the handshake took too long.
var errTooSlow = errors.New("it took longer than 10 s")

// seal is SealCircuit. random makes the ephemeral key; nil is crypto/rand.
func (r *Room) seal(ctx context.Context, c Circuit, initiator bool, random io.Reader) (*Conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, handshakeTime, errTooSlow)
	defer cancel()
	stop := context.AfterFunc(limited, func() { // which ends Read and Write
		if ctx.Err() != nil {
			c.Reset(wtproto.CodeNone)
		} else {
			c.Reset(wtproto.CodeProtocol)
		}
	})
	s, err := r.shake(c, initiator, random)
	switch inTime := stop(); {
	case !inTime && ctx.Err() != nil:
		return nil, fmt.Errorf("secret: handshake: %w", context.Cause(ctx))
	case !inTime:
		err = errTooSlow
	case err == nil:
		return newConn(c, initiator, s, r.interval), nil
	}
	if _, ok := errors.AsType[*wtproto.Error](err); !ok {
		err = &wtproto.Error{Code: wtproto.CodeProtocol, Reason: "the secret handshake failed", Err: err}
	}
	c.Reset(wtproto.CodeProtocol)
	return nil, fmt.Errorf("secret: %w", err)
}
