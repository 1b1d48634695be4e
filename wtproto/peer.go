package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// CircuitID names a circuit within a session. Gateways give them in rising order from 1, below
// 2^53, and never twice.
type CircuitID uint64

// PeerFlags say what a circuit is.
type PeerFlags uint64

const (
	// PeerInitiator tells the client that it is the initiator of the circuit; its peer was told
	// that it is not.
	PeerInitiator PeerFlags = 1 << 0
	// PeerClient says that the peer is a client of this gateway (network [NetworkClient]) or of
	// another one. Without it the peer is a native peer or a TCP service.
	PeerClient PeerFlags = 1 << 1
	// PeerFurther says that the circuit is one more with a peer: one of the two asked for it with
	// [Connect] or, if it is a native peer, with [OpenFurther].
	PeerFurther PeerFlags = 1 << 2
)

// NetworkClient is the network of a peer that is another client of the same gateway.
const NetworkClient = "client"

// Peer is the first frame of a stream that a gateway opens for a circuit, or the answer to
// [Connect], or, on the control stream, the offer of a circuit (docs/PROTOCOL.md, PEER).
type Peer struct {
	Circuit CircuitID
	Topic   Topic
	Flags   PeerFlags
	Network string // how the peer is reached: "dht", "lan", "static", [NetworkClient]; at most [MaxNetwork] bytes
	ID      []byte // the peer's id on its network; at most [MaxPeerID] bytes
	Address string // where the peer is, empty unless the gateway shows it; at most [MaxAddress] bytes
}

// Append adds the frame to b.
func (m Peer) Append(b []byte) []byte {
	b, mark := begin(b, TypePeer)
	b = quicvarint.Append(b, uint64(m.Circuit))
	b = append(b, m.Topic[:]...)
	b = quicvarint.Append(b, uint64(m.Flags))
	b = appendText(b, m.Network, MaxNetwork)
	b = appendBytes(b, m.ID)
	b = appendText(b, m.Address, MaxAddress)
	return end(b, mark)
}

// ParsePeer reads the payload of a PEER. ID shares b's memory.
func ParsePeer(b []byte) (Peer, error) {
	var m Peer
	f := parse("PEER", b)
	m.Circuit = f.circuit()
	f.fixed("topic", m.Topic[:])
	m.Flags = PeerFlags(f.varint("flags"))
	m.Network = f.string("network", MaxNetwork)
	m.ID = f.bytes("peer id", MaxPeerID)
	m.Address = f.string("address", MaxAddress)
	return m, f.done()
}
