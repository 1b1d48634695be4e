package wtproto

// EndpointsState says what a host's list of endpoints on a topic does not.
type EndpointsState uint64

const (
	// EndpointsMore says that there are more endpoints than those that are listed.
	EndpointsMore EndpointsState = 1 << 0
	// EndpointsNeed says that some of them lack a circuit with another host without which the mesh
	// of the topic may fall into parts (docs/PROTOCOL.md, 12.1).
	EndpointsNeed EndpointsState = 1 << 1
)

// Endpoints replaces what a host said of its endpoints on a topic (docs/PROTOCOL.md, ENDPOINTS).
type Endpoints struct {
	Digest    [32]byte // of the topic: [Topic.Digest]
	State     EndpointsState
	Endpoints []EndpointID
}

// Append adds the frame to b.
func (m Endpoints) Append(b []byte) []byte {
	b, mark := begin(b, TypeEndpoints)
	b = append(b, m.Digest[:]...)
	b = appendEndpoints(b, m.State, m.Endpoints)
	return end(b, mark)
}

// ParseEndpoints reads the payload of an ENDPOINTS.
func ParseEndpoints(b []byte) (Endpoints, error) {
	var m Endpoints
	f := parse("ENDPOINTS", b)
	f.fixed("digest", m.Digest[:])
	m.State, m.Endpoints = f.endpoints()
	return m, f.done()
}
