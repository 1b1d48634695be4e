package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Hello is the first frame of a session: it makes its stream the control stream (docs/PROTOCOL.md,
// HELLO).
type Hello struct {
	Version uint64 // highest version that the client speaks
	Flags   uint64 // none is defined
	Credit  uint64 // bytes that a gateway may send on a new circuit before it hears of CREDIT, at least [MinCredit]
	Secret  Secret
	Token   []byte // at most [MaxToken] bytes
	Agent   string // at most [MaxAgent] bytes of UTF-8, for people
	// Circuits is how many circuits the client wants at once at most, offers and CONNECTs without
	// an answer included. Zero means as many as the gateway allows.
	Circuits uint64
}

// Append adds the frame to b.
func (m Hello) Append(b []byte) []byte {
	b, mark := begin(b, TypeHello)
	b = quicvarint.Append(b, m.Version)
	b = quicvarint.Append(b, m.Flags)
	b = quicvarint.Append(b, m.Credit)
	b = append(b, m.Secret[:]...)
	b = appendBytes(b, m.Token)
	b = appendText(b, m.Agent, MaxAgent)
	b = quicvarint.Append(b, m.Circuits)
	return end(b, mark)
}

// ParseHello reads the payload of a HELLO. Token shares b's memory. A version of 0 is CodeVersion,
// credit below [MinCredit] is CodeProtocol.
func ParseHello(b []byte) (Hello, error) {
	var m Hello
	f := parse("HELLO", b)
	m.Version = f.varint("version")
	m.Flags = f.varint("flags")
	m.Credit = f.varint("credit")
	f.fixed("secret", m.Secret[:])
	m.Token = f.bytes("token", MaxToken)
	m.Agent = f.string("agent", MaxAgent)
	m.Circuits = f.varint("circuits")
	switch {
	case f.err != nil:
	case m.Version == 0:
		f.fail(CodeVersion, "version", "there is no version 0")
	case m.Credit < MinCredit:
		f.fail(CodeProtocol, "credit", "below 4096")
	}
	return m, f.done()
}
