package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// OpenFlags say what circuit an [Open] asks for.
type OpenFlags uint64

// OpenFurther asks for one more circuit between the two endpoints. Either host may ask for it, and
// it replaces none.
const OpenFurther OpenFlags = 1 << 0

// Open is the first frame of a stream that becomes a circuit between an endpoint of each of two
// hosts (docs/PROTOCOL.md, OPEN).
type Open struct {
	Digest [32]byte // of the topic: [Topic.Digest]
	Proof  [32]byte // [Topic.Proof] with [ProofOpen]
	From   EndpointID
	To     EndpointID
	Flags  OpenFlags
}

// Append adds the frame to b.
func (m Open) Append(b []byte) []byte {
	b, mark := begin(b, TypeOpen)
	b = append(b, m.Digest[:]...)
	b = append(b, m.Proof[:]...)
	b = append(b, m.From[:]...)
	b = append(b, m.To[:]...)
	b = quicvarint.Append(b, uint64(m.Flags))
	return end(b, mark)
}

// ParseOpen reads the payload of an OPEN.
func ParseOpen(b []byte) (Open, error) {
	var m Open
	f := parse("OPEN", b)
	f.fixed("digest", m.Digest[:])
	f.fixed("proof", m.Proof[:])
	f.fixed("from", m.From[:])
	f.fixed("to", m.To[:])
	m.Flags = OpenFlags(f.varint("flags"))
	return m, f.done()
}
