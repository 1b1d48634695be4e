package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Met answers MEET (docs/PROTOCOL.md, MET). With a code other than CodeNone the rest is zero.
type Met struct {
	Digest    [32]byte // of the topic: [Topic.Digest]
	Code      Code
	Proof     [32]byte // [Topic.Proof] with [ProofMet]
	State     EndpointsState
	Endpoints []EndpointID
}

// Append adds the frame to b.
func (m Met) Append(b []byte) []byte {
	b, mark := begin(b, TypeMet)
	b = append(b, m.Digest[:]...)
	b = quicvarint.Append(b, uint64(m.Code))
	b = append(b, m.Proof[:]...)
	b = appendEndpoints(b, m.State, m.Endpoints)
	return end(b, mark)
}

// ParseMet reads the payload of a MET.
func ParseMet(b []byte) (Met, error) {
	var m Met
	f := parse("MET", b)
	f.fixed("digest", m.Digest[:])
	m.Code = f.code("code")
	f.fixed("proof", m.Proof[:])
	m.State, m.Endpoints = f.endpoints()
	return m, f.done()
}
