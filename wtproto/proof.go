package wtproto

import (
	"crypto/hmac"
	"crypto/sha256"
)

// HostProtocol is the libp2p protocol of the streams between two hosts; their first frame is HOST
// or OPEN.
const HostProtocol = "/swarmgate/peer/1"

// ProofLabel says which frame a proof stands in.
type ProofLabel string

const (
	ProofMeet   ProofLabel = "meet"
	ProofMet    ProofLabel = "met"
	ProofOpen   ProofLabel = "open"
	ProofOpened ProofLabel = "opened"
)

// Digest returns SHA-256("swarmgate/topic/1" 0x00 topic), the key under which hosts find others
// that are on t. It does not reveal the topic.
func (t Topic) Digest() [32]byte {
	return sha256.Sum256(append([]byte("swarmgate/topic/1\x00"), t[:]...))
}

// Proof shows to receiver alone that sender knows t: HMAC-SHA256 with key t over label, sender and
// receiver, each as a varint length and the bytes (docs/PROTOCOL.md, Proofs). sender and receiver
// are the hosts' libp2p peer ids in binary.
func (t Topic) Proof(label ProofLabel, sender, receiver []byte) [32]byte {
	b := make([]byte, 0, 128)
	b = appendBytes(b, label)
	b = appendBytes(b, sender)
	b = appendBytes(b, receiver)
	mac := hmac.New(sha256.New, t[:])
	mac.Write(b)
	return [32]byte(mac.Sum(nil))
}

// VerifyProof reports whether proof is t's for these arguments, in constant time.
func (t Topic) VerifyProof(proof [32]byte, label ProofLabel, sender, receiver []byte) bool {
	want := t.Proof(label, sender, receiver)
	return hmac.Equal(proof[:], want[:])
}
