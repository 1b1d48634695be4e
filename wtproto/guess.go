package wtproto

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/quic-go/quic-go/quicvarint"
)

// Tag is how one host names a topic to another host that may be on it. A host that does not know
// the topic learns nothing from it.
type Tag [8]byte

// Guess returns the tag by which sender asks receiver whether it is on t too: the first 8 bytes of
// HMAC-SHA256 with key t over "guess", sender, receiver and run, each as a varint length and the
// bytes (docs/PROTOCOL.md, GUESS). sender and receiver are the hosts' libp2p peer ids in binary,
// run is the receiver's.
func (t Topic) Guess(sender, receiver []byte, run Run) Tag {
	b := make([]byte, 0, 128)
	b = appendBytes(b, "guess")
	b = appendBytes(b, sender)
	b = appendBytes(b, receiver)
	b = appendBytes(b, run[:])
	mac := hmac.New(sha256.New, t[:])
	mac.Write(b)
	return Tag(mac.Sum(nil)[:len(Tag{})])
}

// Guess asks whether a host is on topics that the sender is on (docs/PROTOCOL.md, GUESS).
type Guess struct {
	Tags []Tag // at most [MaxTags]
}

// Append adds the frame to b.
func (m Guess) Append(b []byte) []byte {
	b, mark := begin(b, TypeGuess)
	b = quicvarint.Append(b, uint64(len(m.Tags)))
	for i := range m.Tags {
		b = append(b, m.Tags[i][:]...)
	}
	return end(b, mark)
}

// ParseGuess reads the payload of a GUESS.
func ParseGuess(b []byte) (Guess, error) {
	var m Guess
	f := parse("GUESS", b)
	if n := f.count("tags", MaxTags, len(Tag{})); n > 0 {
		m.Tags = make([]Tag, n)
		for i := range m.Tags {
			f.fixed("tags", m.Tags[i][:])
		}
	}
	return m, f.done()
}
