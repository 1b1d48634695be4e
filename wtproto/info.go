package wtproto

// InfoPath is where a gateway serves its [Info].
const InfoPath = "/.well-known/swarmgate"

// Kinds of certificates in [CertificateInfo].
const (
	CertificatePinned = "pinned" // self-signed; a client needs one of the hashes
	CertificateCA     = "ca"     // from an authority that clients know
)

// Info is the JSON document that tells a client how to reach a gateway (docs/PROTOCOL.md, Info
// document). Readers ignore members that they do not know.
type Info struct {
	Agent        string `json:"agent"`
	Version      uint64 `json:"version"`      // highest version of the protocol
	QUIC         string `json:"quic"`         // host:port of raw QUIC
	WebTransport string `json:"webtransport"` // URL of WebTransport
	// WebSocket is the URL of WebSocket, relative to that of the document, with http for ws and
	// https for wss. Empty means that there is none.
	WebSocket   string          `json:"websocket,omitempty"`
	Certificate CertificateInfo `json:"certificate"`
	Limits      LimitsInfo      `json:"limits"`
}

// CertificateInfo tells how to trust a gateway's certificate.
type CertificateInfo struct {
	Kind   string   `json:"kind"`             // [CertificatePinned] or [CertificateCA]
	Hashes []string `json:"hashes,omitempty"` // SHA-256 of the certificates in DER, in hex: current, next
}

// LimitsInfo tells what one session may have. 0 means no limit.
type LimitsInfo struct {
	Topics   int `json:"topics"`
	Circuits int `json:"circuits"`
	Peers    int `json:"peers"` // circuits a topic, unless JOIN asks otherwise
}
