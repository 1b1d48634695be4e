package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Withdraw takes an offered circuit back (docs/PROTOCOL.md, WITHDRAW).
type Withdraw struct {
	Circuit CircuitID
	Code    Code
}

// Append adds the frame to b.
func (m Withdraw) Append(b []byte) []byte {
	b, mark := begin(b, TypeWithdraw)
	b = quicvarint.Append(b, uint64(m.Circuit))
	b = quicvarint.Append(b, uint64(m.Code))
	return end(b, mark)
}

// ParseWithdraw reads the payload of a WITHDRAW.
func ParseWithdraw(b []byte) (Withdraw, error) {
	var m Withdraw
	f := parse("WITHDRAW", b)
	m.Circuit = f.circuit()
	m.Code = f.code("code")
	return m, f.done()
}
