package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/swarmgate/swarmgate/internal/follow"
)

// Files is a [Source] of one certificate in PEM files, which clients trust because an authority
// signed it. It follows the files when they change, by whatever means.
type Files struct {
	files *follow.Files[tls.Certificate]
}

// NewFiles returns a Source of the certificate chain in certFile, the gateway's own certificate
// first, and its key in keyFile. It fails unless they are there, belong together and have not
// expired. Later they are looked at when a client connects, at most once a second: what would have
// failed here is then logged once, and the certificate stays what it was. A nil logger is silent.
func NewFiles(certFile, keyFile string, logger *slog.Logger) (*Files, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	logger = logger.With("cert", certFile, "key", keyFile)
	files, err := follow.New([]string{certFile, keyFile},
		func(contents [][]byte) (*tls.Certificate, error) {
			cert, err := tls.X509KeyPair(contents[0], contents[1])
			if err != nil {
				return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
			}
			if !time.Now().Before(cert.Leaf.NotAfter) {
				return nil, fmt.Errorf("%s has expired at %v", certFile, cert.Leaf.NotAfter)
			}
			return &cert, nil
		},
		func(cert *tls.Certificate, err error) {
			if err != nil {
				logger.Error("new certificate is bad, keeping the old one", "error", err)
				return
			}
			logger.Info("new certificate", "names", cert.Leaf.DNSNames, "expires", cert.Leaf.NotAfter)
		})
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	return &Files{files}, nil
}

// Check looks at the files now, without waiting for a client.
func (f *Files) Check() { f.files.Check() }

// TLSConfig returns a new configuration for servers.
func (f *Files) TLSConfig() *tls.Config { return tlsConfig(f.certificate) }

// Hashes returns nil.
func (f *Files) Hashes() [][32]byte { return nil }

// certificate is tls.Config.GetCertificate.
func (f *Files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.files.Value(), nil
}
