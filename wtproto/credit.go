package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Credit lets a gateway send more on a circuit (docs/PROTOCOL.md, CREDIT).
type Credit struct {
	Circuit CircuitID
	Offset  uint64 // bytes that may have been sent in all, counted from the first byte after PEER or ACCEPT
}

// Append adds the frame to b.
func (m Credit) Append(b []byte) []byte {
	b, mark := begin(b, TypeCredit)
	b = quicvarint.Append(b, uint64(m.Circuit))
	b = quicvarint.Append(b, m.Offset)
	return end(b, mark)
}

// ParseCredit reads the payload of a CREDIT.
func ParseCredit(b []byte) (Credit, error) {
	var m Credit
	f := parse("CREDIT", b)
	m.Circuit = f.circuit()
	m.Offset = f.varint("offset")
	return m, f.done()
}
