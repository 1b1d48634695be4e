package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/flynn/noise"
)

// maxMessage is what the length of a message can say, and the most that Noise allows.
const maxMessage = 65535

// The shortest messages of the handshake, which are those without a payload.
const (
	minMessage1 = 32 + tagSize
	minMessage2 = 32 + 32 + tagSize + tagSize
	minMessage3 = 32 + tagSize + tagSize
)

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)

// secured is what a handshake gives.
type secured struct {
	send, receive *noise.CipherState
	key           Key
	binding       [32]byte
}

// errOwnKey says that something joins a program with itself.
var errOwnKey = errors.New("the other end has this end's own key")

// shake is the handshake of one end of a circuit. random makes the ephemeral key. It reads nothing
// behind the handshake.
func (r *Room) shake(rw io.ReadWriter, initiator bool, random io.Reader) (s secured, err error) {
	topic := r.Topic()
	own := r.identity.Key()
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeXX, Initiator: initiator, Random: random,
		Prologue:     append([]byte(label), topic[:]...),
		PresharedKey: r.psk[:], PresharedKeyPlacement: 0,
		StaticKeypair: noise.DHKey{Private: r.identity.Bytes(), Public: own[:]},
	})
	if err != nil {
		return s, err
	}
	var first, second *noise.CipherState // of the initiator's direction, and of the responder's
	for i, least := range []int{minMessage1, minMessage2, minMessage3} {
		if initiator == (i%2 == 0) {
			wire := make([]byte, 2, 2+least)
			if wire, first, second, err = hs.WriteMessage(wire, nil); err != nil {
				return s, fmt.Errorf("message %d: %w", i+1, err)
			}
			binary.BigEndian.PutUint16(wire, uint16(len(wire)-2))
			_, err = rw.Write(wire)
		} else {
			first, second, err = readHandshake(rw, hs, least)
			if key := hs.PeerStatic(); err == nil && len(key) > 0 && Key(key) == own {
				err = errOwnKey
			}
		}
		if err != nil {
			return s, fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	s = secured{send: first, receive: second, key: Key(hs.PeerStatic()), binding: [32]byte(hs.ChannelBinding())}
	if !initiator {
		s.send, s.receive = second, first
	}
	return s, nil
}

// readHandshake reads one message, and ignores its payload.
func readHandshake(r io.Reader, hs *noise.HandshakeState, least int) (first, second *noise.CipherState, err error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, nil, noEOF(err)
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n < least {
		return nil, nil, fmt.Errorf("%d bytes, want %d at least", n, least)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, nil, noEOF(err)
	}
	_, first, second, err = hs.ReadMessage(nil, message)
	return first, second, err
}

// noEOF returns err, but io.ErrUnexpectedEOF for io.EOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
