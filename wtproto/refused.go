package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Refused answers CONNECT if there is no circuit, and ends its stream (docs/PROTOCOL.md, REFUSED).
type Refused struct {
	Code   Code
	Reason string // at most [MaxReason] bytes of UTF-8, for people
}

// Append adds the frame to b.
func (m Refused) Append(b []byte) []byte {
	b, mark := begin(b, TypeRefused)
	b = quicvarint.Append(b, uint64(m.Code))
	b = appendText(b, m.Reason, MaxReason)
	return end(b, mark)
}

// ParseRefused reads the payload of a REFUSED.
func ParseRefused(b []byte) (Refused, error) {
	var m Refused
	f := parse("REFUSED", b)
	m.Code = f.code("code")
	m.Reason = f.string("reason", MaxReason)
	return m, f.done()
}
