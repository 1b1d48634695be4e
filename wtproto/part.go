package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Part ends a meeting (docs/PROTOCOL.md, PART): with CodeLeft the sender has left the topic, with
// another code it is still on it.
type Part struct {
	Digest [32]byte // of the topic: [Topic.Digest]
	Code   Code
}

// Append adds the frame to b.
func (m Part) Append(b []byte) []byte {
	b, mark := begin(b, TypePart)
	b = append(b, m.Digest[:]...)
	b = quicvarint.Append(b, uint64(m.Code))
	return end(b, mark)
}

// ParsePart reads the payload of a PART.
func ParsePart(b []byte) (Part, error) {
	var m Part
	f := parse("PART", b)
	f.fixed("digest", m.Digest[:])
	m.Code = f.code("code")
	return m, f.done()
}
