package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"
)

// PEM types.
const (
	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
)

// names are what a certificate is for.
type names struct {
	dns []string
	ips []net.IP
}

// dnsName matches a host name in letters, digits, hyphens and underscores, which may be a wildcard.
var dnsName = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// parseNames reports all bad names together.
func parseNames(list []string) (names, error) {
	if len(list) == 0 {
		list = []string{"localhost", "127.0.0.1", "::1"}
	}
	var n names
	var errs []error
	for _, s := range list {
		if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			n.ips = append(n.ips, addr.Unmap().AsSlice())
		} else if len(s) <= 253 && dnsName.MatchString(s) {
			n.dns = append(n.dns, s)
		} else {
			errs = append(errs, fmt.Errorf("%q is neither a DNS name nor an IP address", s))
		}
	}
	return n, errors.Join(errs...)
}

// makeCertificate makes a key and a certificate of it that browsers take by its hash: X.509
// version 3, ECDSA on P-256.
func makeCertificate(n names, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	from := now.Add(-backdate).Truncate(time.Second) // as it is in the certificate
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "swarmgate"},
		DNSNames:              n.dns,
		IPAddresses:           n.ips,
		NotBefore:             from,
		NotAfter:              from.Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// marshalPair returns the state file of two certificates.
func marshalPair(current, next *tls.Certificate) ([]byte, error) {
	var out []byte
	for _, c := range []*tls.Certificate{current, next} {
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			return nil, err
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: c.Leaf.Raw})...)
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key})...)
	}
	return out, nil
}

// parsePair reads what marshalPair returned.
func parsePair(data []byte) (current, next *tls.Certificate, err error) {
	var certs [2]*tls.Certificate
	for i := range certs {
		cert, rest := pem.Decode(data)
		key, rest := pem.Decode(rest)
		if cert == nil || key == nil {
			return nil, nil, errors.New("does not hold two certificates with their keys")
		}
		c, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key)) // checks that they belong together
		if err != nil {
			return nil, nil, err
		}
		certs[i], data = &c, rest
	}
	return certs[0], certs[1], nil
}
