package certs

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files is a [Source] of one certificate in PEM files, which clients trust because an authority signed it. It follows the
// files when they change, by whatever means.
type Files struct {
	certFile, keyFile string // constant
	log               *slog.Logger

	cert atomic.Pointer[tls.Certificate]

	mu      sync.Mutex // held by the one that looks at the files
	checked time.Time  // guarded by mu; when that was last
	seen    pair       // guarded by mu; what was there
}

// pair is what a look at the two files found.
type pair struct {
	cert, key []byte
	problem   string // of reading one of them
}

// NewFiles returns a Source of the certificate chain in certFile, the gateway's own certificate first, and its key in keyFile.
// It fails unless they are there, belong together and have not expired. Later they are looked at when a client connects, at
// most once a second: what would have failed here is then logged once, and the certificate stays what it was. A nil
// logger is silent.
func NewFiles(certFile, keyFile string, logger *slog.Logger) (*Files, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	f := &Files{
		certFile: certFile, keyFile: keyFile,
		log: logger.With("cert", certFile, "key", keyFile),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.loadLocked(); err != nil {
		return nil, err
	}
	return f, nil
}

// TLSConfig returns a new configuration for servers.
func (f *Files) TLSConfig() *tls.Config { return tlsConfig(f.certificate) }

// Hashes returns nil.
func (f *Files) Hashes() [][32]byte { return nil }

// certificate is tls.Config.GetCertificate.
func (f *Files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() { // one looks, and on a slow disk the others are served meanwhile
		f.followLocked()
		f.mu.Unlock()
	}
	return f.cert.Load(), nil
}

// followLocked takes over what changed in the files.
func (f *Files) followLocked() {
	if age := time.Since(f.checked); age < time.Second {
		return
	}
	before := f.cert.Load()
	if err := f.loadLocked(); err != nil {
		f.log.Error("new certificate is bad, keeping the old one", "err", err)
		return
	}
	if cert := f.cert.Load(); cert != before {
		f.log.Info("new certificate", "names", cert.Leaf.DNSNames, "expires", cert.Leaf.NotAfter)
	}
}

// loadLocked reads the files. It does nothing where they are what they were the last time, whether that was good or bad.
func (f *Files) loadLocked() error {
	f.checked = time.Now()
	found, err := f.read()
	if f.seen.problem == found.problem && bytes.Equal(f.seen.cert, found.cert) && bytes.Equal(f.seen.key, found.key) {
		return nil
	}
	f.seen = found
	if err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	cert, err := tls.X509KeyPair(found.cert, found.key)
	if err != nil {
		return fmt.Errorf("certs: %s and %s: %w", f.certFile, f.keyFile, err)
	}
	if !f.checked.Before(cert.Leaf.NotAfter) {
		return fmt.Errorf("certs: %s has expired at %v", f.certFile, cert.Leaf.NotAfter)
	}
	f.cert.Store(&cert)
	return nil
}

func (f *Files) read() (p pair, err error) {
	if p.cert, err = os.ReadFile(f.certFile); err == nil {
		p.key, err = os.ReadFile(f.keyFile)
	}
	if err != nil {
		p.problem = err.Error()
	}
	return p, err
}
