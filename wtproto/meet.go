package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// MeetFlags say why a host wants to meet.
type MeetFlags uint64

// MeetGuessed says that the sender answers a GUESS: it was found by the receiver.
const MeetGuessed MeetFlags = 1 << 0

// Meet asks another host to meet on a topic, and tells it of the sender's endpoints
// (docs/PROTOCOL.md, MEET).
type Meet struct {
	Digest    [32]byte // of the topic: [Topic.Digest]
	Proof     [32]byte // that the sender knows the topic: [Topic.Proof] with [ProofMeet]
	Flags     MeetFlags
	State     EndpointsState
	Endpoints []EndpointID
}

// Append adds the frame to b.
func (m Meet) Append(b []byte) []byte {
	b, mark := begin(b, TypeMeet)
	b = append(b, m.Digest[:]...)
	b = append(b, m.Proof[:]...)
	b = quicvarint.Append(b, uint64(m.Flags))
	b = appendEndpoints(b, m.State, m.Endpoints)
	return end(b, mark)
}

// ParseMeet reads the payload of a MEET.
func ParseMeet(b []byte) (Meet, error) {
	var m Meet
	f := parse("MEET", b)
	f.fixed("digest", m.Digest[:])
	f.fixed("proof", m.Proof[:])
	m.Flags = MeetFlags(f.varint("flags"))
	m.State, m.Endpoints = f.endpoints()
	return m, f.done()
}
