package wtproto

import (
	"math"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
)

// Goaway says that the gateway gives this session nothing new, or that the client needs nothing more
// (docs/PROTOCOL.md, GOAWAY and Finishing).
type Goaway struct {
	Code       Code
	RetryAfter time.Duration // when to come back; whole milliseconds of 32 bits on the wire: negative counts as 0, more than 49 days as that
	Reason     string        // at most [MaxReason] bytes of UTF-8, for people
}

// Append adds the frame to b.
func (m Goaway) Append(b []byte) []byte {
	b, mark := begin(b, TypeGoaway)
	b = quicvarint.Append(b, uint64(m.Code))
	b = quicvarint.Append(b, uint64(min(max(0, m.RetryAfter.Milliseconds()), math.MaxUint32)))
	b = appendText(b, m.Reason, MaxReason)
	return end(b, mark)
}

// ParseGoaway reads the payload of a GOAWAY. A retry time beyond 32 bits of milliseconds is
// CodeProtocol.
func ParseGoaway(b []byte) (Goaway, error) {
	var m Goaway
	f := parse("GOAWAY", b)
	m.Code = f.code("code")
	ms := f.varint("retry after")
	if ms > math.MaxUint32 {
		f.fail(CodeProtocol, "retry after", "more than 32 bits")
	}
	m.RetryAfter = time.Duration(ms) * time.Millisecond
	m.Reason = f.string("reason", MaxReason)
	return m, f.done()
}
