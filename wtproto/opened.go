package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Opened answers OPEN (docs/PROTOCOL.md, OPENED). If Code is CodeNone, the stream is the circuit;
// with another code Proof is zero and the stream ends.
type Opened struct {
	Code  Code
	Proof [32]byte // [Topic.Proof] with [ProofOpened]
}

// Append adds the frame to b.
func (m Opened) Append(b []byte) []byte {
	b, mark := begin(b, TypeOpened)
	b = quicvarint.Append(b, uint64(m.Code))
	b = append(b, m.Proof[:]...)
	return end(b, mark)
}

// ParseOpened reads the payload of an OPENED.
func ParseOpened(b []byte) (Opened, error) {
	var m Opened
	f := parse("OPENED", b)
	m.Code = f.code("code")
	f.fixed("proof", m.Proof[:])
	return m, f.done()
}
