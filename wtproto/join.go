package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// JoinFlags say what a client does on a topic.
type JoinFlags uint64

const (
	JoinAnnounce  JoinFlags = 1 << 0 // be found by others
	JoinLookUp    JoinFlags = 1 << 1 // find others
	JoinOfferOnly JoinFlags = 1 << 2 // every circuit comes as an offer
	JoinStreams   JoinFlags = 1 << 3 // peers may open further circuits with the client
)

// Join asks for the peers of a topic, or changes what was asked (docs/PROTOCOL.md, JOIN).
type Join struct {
	Topic    Topic
	Flags    JoinFlags
	MaxPeers uint64 // peers at most; 0 means the gateway's default
	// Networks names those that the client wants, at most [MaxNetworks] of [MaxNetwork] bytes
	// each; [NetworkClient] is one too. An empty list means the gateway's default.
	Networks []string
}

// Append adds the frame to b.
func (m Join) Append(b []byte) []byte {
	b, mark := begin(b, TypeJoin)
	b = append(b, m.Topic[:]...)
	b = quicvarint.Append(b, uint64(m.Flags))
	b = quicvarint.Append(b, m.MaxPeers)
	b = quicvarint.Append(b, uint64(len(m.Networks)))
	for _, name := range m.Networks {
		b = appendText(b, name, MaxNetwork)
	}
	return end(b, mark)
}

// ParseJoin reads the payload of a JOIN.
func ParseJoin(b []byte) (Join, error) {
	var m Join
	f := parse("JOIN", b)
	f.fixed("topic", m.Topic[:])
	m.Flags = JoinFlags(f.varint("flags"))
	m.MaxPeers = f.varint("max peers")
	if n := f.count("networks", MaxNetworks, 1); n > 0 {
		m.Networks = make([]string, n)
		for i := range m.Networks {
			m.Networks[i] = f.string("networks", MaxNetwork)
		}
	}
	return m, f.done()
}
