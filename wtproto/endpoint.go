package wtproto

import (
	"crypto/sha256"
	"encoding/hex"
)

// Sizes of identities on the wire, in bytes.
const (
	SecretSize   = 16
	EndpointSize = 16
	SessionSize  = 16
)

// Secret is 16 random bytes that a client keeps for the life of its client object
// (docs/PROTOCOL.md, Identity). Two sessions with the same secret are the same client. Clients
// tell it to gateways only.
type Secret [SecretSize]byte

// EndpointID names a client to others: the first 16 bytes of SHA-256("swarmgate/endpoint/1" 0x00
// secret). The zero value is the endpoint of a native peer. It is unique only together with the
// host that speaks for it.
type EndpointID [EndpointSize]byte

// SessionID is a gateway's random name for one session.
type SessionID [SessionSize]byte

// Endpoint returns the endpoint id that s stands for.
func (s Secret) Endpoint() EndpointID {
	sum := sha256.Sum256(append([]byte("swarmgate/endpoint/1\x00"), s[:]...))
	return EndpointID(sum[:EndpointSize])
}

// String returns id in hexadecimal.
func (id EndpointID) String() string { return hex.EncodeToString(id[:]) }

// String returns id in hexadecimal.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }
