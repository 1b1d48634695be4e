package certs

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Source is where a gateway gets its certificate. Any number of goroutines may use it.
type Source interface {
	// TLSConfig returns a new configuration for servers, of TLS 1.3 alone and without NextProtos.
	// Each handshake gets the certificate that is the right one at that moment.
	TLSConfig() *tls.Config
	// Hashes returns the SHA-256 of the certificates in DER, the current one and then the next;
	// nil where clients trust an authority. They change, so ask again for each client.
	Hashes() [][32]byte
	// Kind is [wtproto.CertificatePinned] or [wtproto.CertificateCA]. It may change as well.
	Kind() string
	// Leaf returns the certificate that clients get now; of several the one that expires first.
	Leaf() *x509.Certificate
}

var (
	_ Source = (*Pinned)(nil)
	_ Source = (*Files)(nil)
)

func tlsConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: get}
}

// Kind returns [wtproto.CertificatePinned].
func (p *Pinned) Kind() string { return wtproto.CertificatePinned }

// Kind returns [wtproto.CertificateCA].
func (f *Files) Kind() string { return wtproto.CertificateCA }

// Leaf returns the current certificate.
func (p *Pinned) Leaf() *x509.Certificate {
	current, _ := p.pair()
	return current.Leaf
}

// Leaf returns the certificate of the files.
func (f *Files) Leaf() *x509.Certificate { return f.files.Value().Leaf }
