package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// JoinFlags say what a client does on a topic.
type JoinFlags uint64

const (
	JoinAnnounce  JoinFlags = 1 << 0 // be found by others
	JoinLookUp    JoinFlags = 1 << 1 // find others
	JoinOfferOnly JoinFlags = 1 << 2 // every circuit comes as an offer
)

// Join asks for the peers of a topic, or changes what was asked (docs/PROTOCOL.md, JOIN).
type Join struct {
	Topic    Topic
	Flags    JoinFlags
	MaxPeers uint64 // circuits at most; 0 means the gateway's default
}

// Append adds the frame to b.
func (m Join) Append(b []byte) []byte {
	b, mark := begin(b, TypeJoin)
	b = append(b, m.Topic[:]...)
	b = quicvarint.Append(b, uint64(m.Flags))
	b = quicvarint.Append(b, m.MaxPeers)
	return end(b, mark)
}

// ParseJoin reads the payload of a JOIN.
func ParseJoin(b []byte) (Join, error) {
	var m Join
	f := parse("JOIN", b)
	f.fixed("topic", m.Topic[:])
	m.Flags = JoinFlags(f.varint("flags"))
	m.MaxPeers = f.varint("max peers")
	return m, f.done()
}
