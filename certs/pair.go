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

// dnsName matches a host name in letters, digits, hyphens and underscores, which may be a
// wildcard.
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

// pair is a current certificate and the next one, with Leaf. The zero value has none.
type pair struct{ current, next *tls.Certificate }

// none reports whether p has no certificates.
func (p pair) none() bool { return p.current == nil }

// fits reports whether p is what clients have to get now: the current certificate can be served,
// and it is not yet the turn of the next one.
func (p pair) fits(now time.Time) bool {
	return usable(p.current, now) && now.Before(p.made().Add(period))
}

// made returns when p was made.
func (p pair) made() time.Time { return p.next.Leaf.NotBefore.Add(backdate) }

// early reports whether p was made later than now. Then the clock was wrong then, or is now.
func (p pair) early(now time.Time) bool { return !p.none() && now.Before(p.next.Leaf.NotBefore) }

// usable reports whether clients whose clocks are a little wrong take c.
func usable(c *tls.Certificate, now time.Time) bool {
	return c != nil && !now.Before(c.Leaf.NotBefore) && now.Before(c.Leaf.NotAfter.Add(-reserve))
}

// marshalPairs returns the state file of pairs.
func marshalPairs(pairs ...pair) ([]byte, error) {
	var out []byte
	for _, p := range pairs {
		for _, c := range []*tls.Certificate{p.current, p.next} {
			key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
			if err != nil {
				return nil, err
			}
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: c.Leaf.Raw})...)
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key})...)
		}
	}
	return out, nil
}

// parsePairs reads what marshalPairs returned: one pair, or two.
func parsePairs(data []byte) (first, second pair, err error) {
	if first, data, err = parsePair(data); err != nil {
		return pair{}, pair{}, err
	}
	if b, _ := pem.Decode(data); b != nil {
		second, _, err = parsePair(data)
	}
	return first, second, err
}

// parsePair reads a pair, and returns what follows it.
func parsePair(data []byte) (p pair, rest []byte, err error) {
	for _, c := range []**tls.Certificate{&p.current, &p.next} {
		cert, after := pem.Decode(data)
		key, after := pem.Decode(after)
		if cert == nil || key == nil {
			return pair{}, nil, errors.New("does not hold two certificates with their keys")
		}
		found, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key)) // checks that they belong together
		if err != nil {
			return pair{}, nil, err
		}
		*c, data = &found, after
	}
	return p, data, nil
}
