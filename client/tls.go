package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// maxPinnedValidity is how long a certificate may be valid that is trusted for its hash, in
// browsers and here.
const maxPinnedValidity = 14 * 24 * time.Hour

// tlsConfig returns how a gateway at host is trusted: for one of hashes, if there are any.
func tlsConfig(cfg *Config, host string, hashes [][32]byte) *tls.Config {
	host, _, _ = strings.Cut(host, "%") // no certificate has a zone
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{wtproto.ALPN},
		ServerName: host,
		RootCAs:    cfg.RootCAs,
	}
	if cfg.ServerName != "" {
		c.ServerName = cfg.ServerName
	}
	if len(hashes) > 0 {
		c.InsecureSkipVerify = true // VerifyConnection does it
		c.VerifyConnection = func(state tls.ConnectionState) error {
			return verifyPinned(state.PeerCertificates[0], hashes, time.Now())
		}
	}
	return c
}

// verifyPinned checks what a browser checks of a certificate that the client trusts for its hash.
func verifyPinned(cert *x509.Certificate, hashes [][32]byte, now time.Time) error {
	hash := sha256.Sum256(cert.Raw)
	if !slices.Contains(hashes, hash) {
		return fmt.Errorf("the gateway's certificate has the hash %x, which is not one of the trusted ones "+
			"(a gateway that is restarted without --state-dir has a new certificate)", hash)
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return errors.New("the gateway's certificate has no ECDSA P-256 key")
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return fmt.Errorf("the gateway's certificate is valid from %v to %v, and it is %v", cert.NotBefore, cert.NotAfter, now.UTC().Truncate(time.Second))
	}
	if cert.NotAfter.Sub(cert.NotBefore) > maxPinnedValidity {
		return fmt.Errorf("the gateway's certificate is valid for %v, at most %v if clients trust it for its hash", cert.NotAfter.Sub(cert.NotBefore), maxPinnedValidity)
	}
	return nil
}
