package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Left is the end of a join: the answer to LEAVE (CodeNone), the refusal of a JOIN, or the news
// that the gateway has taken a topic away (docs/PROTOCOL.md, LEFT).
type Left struct {
	Topic  Topic
	Code   Code
	Reason string // at most [MaxReason] bytes of UTF-8, for people
}

// Append adds the frame to b.
func (m Left) Append(b []byte) []byte {
	b, mark := begin(b, TypeLeft)
	b = append(b, m.Topic[:]...)
	b = quicvarint.Append(b, uint64(m.Code))
	b = appendText(b, m.Reason, MaxReason)
	return end(b, mark)
}

// ParseLeft reads the payload of a LEFT.
func ParseLeft(b []byte) (Left, error) {
	var m Left
	f := parse("LEFT", b)
	f.fixed("topic", m.Topic[:])
	m.Code = f.code("code")
	m.Reason = f.string("reason", MaxReason)
	return m, f.done()
}
