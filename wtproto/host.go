package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// HostFlags say what a host is.
type HostFlags uint64

// HostGateway marks a gateway, which speaks for its clients. A host without it is a native peer.
const HostGateway HostFlags = 1 << 0

// Run names the life of a host's program: random bytes that it makes once, when it starts.
type Run [16]byte

// Host is the first frame of each side on the control stream of two hosts (docs/PROTOCOL.md,
// HOST).
type Host struct {
	Flags HostFlags
	Run   Run
}

// Append adds the frame to b.
func (m Host) Append(b []byte) []byte {
	b, mark := begin(b, TypeHost)
	b = quicvarint.Append(b, uint64(m.Flags))
	b = append(b, m.Run[:]...)
	return end(b, mark)
}

// ParseHost reads the payload of a HOST.
func ParseHost(b []byte) (Host, error) {
	var m Host
	f := parse("HOST", b)
	m.Flags = HostFlags(f.varint("flags"))
	f.fixed("run", m.Run[:])
	return m, f.done()
}
