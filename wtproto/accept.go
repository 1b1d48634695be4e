package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Accept is the first frame of a stream that a client opens for an offered circuit
// (docs/PROTOCOL.md, ACCEPT).
type Accept struct {
	Circuit CircuitID
}

// Append adds the frame to b.
func (m Accept) Append(b []byte) []byte {
	b, mark := begin(b, TypeAccept)
	b = quicvarint.Append(b, uint64(m.Circuit))
	return end(b, mark)
}

// ParseAccept reads the payload of an ACCEPT.
func ParseAccept(b []byte) (Accept, error) {
	var m Accept
	f := parse("ACCEPT", b)
	m.Circuit = f.circuit()
	return m, f.done()
}
