package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// MeetFlags say what a host is.
type MeetFlags uint64

// MeetGateway marks a gateway, which speaks for its clients. A host without it is a native peer.
const MeetGateway MeetFlags = 1 << 0

// Meet is the first frame of a stream on which two hosts tell each other of their endpoints on a topic
// (docs/PROTOCOL.md, MEET).
type Meet struct {
	Digest    [32]byte // of the topic: [Topic.Digest]
	Proof     [32]byte // that the sender knows the topic: [Topic.Proof] with [ProofMeet]
	Flags     MeetFlags
	More      bool // there are more endpoints than these
	Endpoints []EndpointID
}

// Append adds the frame to b.
func (m Meet) Append(b []byte) []byte {
	b, mark := begin(b, TypeMeet)
	b = append(b, m.Digest[:]...)
	b = append(b, m.Proof[:]...)
	b = quicvarint.Append(b, uint64(m.Flags))
	b = appendEndpoints(b, m.More, m.Endpoints)
	return end(b, mark)
}

// ParseMeet reads the payload of a MEET.
func ParseMeet(b []byte) (Meet, error) {
	var m Meet
	f := parse("MEET", b)
	f.fixed("digest", m.Digest[:])
	f.fixed("proof", m.Proof[:])
	m.Flags = MeetFlags(f.varint("flags"))
	m.More, m.Endpoints = f.endpoints()
	return m, f.done()
}
