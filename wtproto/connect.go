package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Connect is the first frame of a stream that a client opens for one more circuit with a peer, a
// further one (docs/PROTOCOL.md, CONNECT). The gateway answers on it with [Peer] or [Refused].
type Connect struct {
	Topic   Topic
	Flags   uint64 // none is defined
	Network string // as [Peer] told it
	ID      []byte // as [Peer] told it
}

// Append adds the frame to b.
func (m Connect) Append(b []byte) []byte {
	b, mark := begin(b, TypeConnect)
	b = append(b, m.Topic[:]...)
	b = quicvarint.Append(b, m.Flags)
	b = appendText(b, m.Network, MaxNetwork)
	b = appendBytes(b, m.ID)
	return end(b, mark)
}

// ParseConnect reads the payload of a CONNECT. ID shares b's memory.
func ParseConnect(b []byte) (Connect, error) {
	var m Connect
	f := parse("CONNECT", b)
	f.fixed("topic", m.Topic[:])
	m.Flags = f.varint("flags")
	m.Network = f.string("network", MaxNetwork)
	m.ID = f.bytes("peer id", MaxPeerID)
	return m, f.done()
}
