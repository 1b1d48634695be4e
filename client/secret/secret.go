package secret

import (
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/swarmgate/swarmgate/wtproto"
)

// label separates this use of the primitives from others (docs/SECRET.md).
const label = "swarmgate/secret/1"

// rounds is how much each guess of a text costs: PBKDF2's iterations.
const rounds = 600_000

// Secret is what those in a room share: 32 bytes. Whoever knows it is in the room. Its text form
// for people is [Secret.Hex]; fmt prints nothing of it, so that logs do not tell it.
type Secret [32]byte

// New returns a random secret.
func New() Secret {
	var s Secret
	rand.Read(s[:]) // which never fails
	return s
}

// FromText makes a secret from the UTF-8 bytes of text, as they are. It takes some tenths of a
// second, and so does each guess of somebody who knows the room's topic, as gateways do. An empty
// text is an error.
func FromText(text string) (s Secret, err error) {
	if text == "" {
		return s, errors.New("secret: the text is empty")
	}
	key, err := pbkdf2.Key(sha256.New, text, []byte(label), rounds, len(s))
	if err != nil {
		return s, fmt.Errorf("secret: from a text: %w", err)
	}
	copy(s[:], key)
	return s, nil
}

// Parse reads a secret as people give it: exactly 64 hexadecimal digits of either case are its
// bytes, anything else is a text for [FromText].
func Parse(text string) (Secret, error) {
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(Secret{}) {
		return Secret(b), nil
	}
	return FromText(text)
}

// Hex returns the secret as 64 hexadecimal digits, which [Parse] reads.
func (s Secret) Hex() string { return hex.EncodeToString(s[:]) }

// String returns the same text for every secret.
func (s Secret) String() string { return "secret.Secret(…)" }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format prints String, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { f.Write([]byte(s.String())) }

// Topic returns the topic of the room, which is all that a gateway is told of it.
func (s Secret) Topic() wtproto.Topic { return wtproto.Topic(s.derive("topic")) }

// psk returns the key by which the ends of a circuit prove to each other that they know s.
func (s Secret) psk() [32]byte { return s.derive("psk") }

func (s Secret) derive(info string) [32]byte {
	key, err := hkdf.Key(sha256.New, s[:], []byte(label), info, 32)
	if err != nil {
		panic(err) // only for lengths that SHA-256 cannot give
	}
	return [32]byte(key)
}
