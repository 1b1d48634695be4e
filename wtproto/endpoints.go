package wtproto

// Endpoints replaces what a host said of its endpoints on a topic (docs/PROTOCOL.md, ENDPOINTS).
type Endpoints struct {
	Digest    [32]byte // of the topic: [Topic.Digest]
	More      bool     // there are more endpoints than these
	Endpoints []EndpointID
}

// Append adds the frame to b.
func (m Endpoints) Append(b []byte) []byte {
	b, mark := begin(b, TypeEndpoints)
	b = append(b, m.Digest[:]...)
	b = appendEndpoints(b, m.More, m.Endpoints)
	return end(b, mark)
}

// ParseEndpoints reads the payload of an ENDPOINTS.
func ParseEndpoints(b []byte) (Endpoints, error) {
	var m Endpoints
	f := parse("ENDPOINTS", b)
	f.fixed("digest", m.Digest[:])
	m.More, m.Endpoints = f.endpoints()
	return m, f.done()
}
