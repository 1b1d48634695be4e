package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Decline refuses an offered circuit (docs/PROTOCOL.md, DECLINE).
type Decline struct {
	Circuit CircuitID
	Code    Code
}

// Append adds the frame to b.
func (m Decline) Append(b []byte) []byte {
	b, mark := begin(b, TypeDecline)
	b = quicvarint.Append(b, uint64(m.Circuit))
	b = quicvarint.Append(b, uint64(m.Code))
	return end(b, mark)
}

// ParseDecline reads the payload of a DECLINE.
func ParseDecline(b []byte) (Decline, error) {
	var m Decline
	f := parse("DECLINE", b)
	m.Circuit = f.circuit()
	m.Code = f.code("code")
	return m, f.done()
}
