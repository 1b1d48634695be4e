package secret

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// Key is a static X25519 key of a peer, as the peer shows it to those who know the secret of its
// room. It is public.
type Key [32]byte

// String returns the key in hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Identity is the static key pair by which others can recognize a program. It lasts as long as the
// program keeps it: save [Identity.Bytes] and load it with [ParseIdentity]. Programs that are in a
// room at the same time must not share one, because nobody is connected with itself. An Identity
// does not change; any number of goroutines and rooms may use it.
type Identity struct{ private *ecdh.PrivateKey }

// NewIdentity returns a random identity.
func NewIdentity() *Identity {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand says that it never fails
	}
	return &Identity{private}
}

// ParseIdentity reads what [Identity.Bytes] returned, 32 bytes.
func ParseIdentity(b []byte) (*Identity, error) {
	private, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("secret: identity: %w", err)
	}
	return &Identity{private}, nil
}

// Bytes returns the private key, 32 bytes to be kept secret.
func (i *Identity) Bytes() []byte { return i.private.Bytes() }

// Key returns the public key.
func (i *Identity) Key() Key { return Key(i.private.PublicKey().Bytes()) }
