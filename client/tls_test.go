package client

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func rsaCertificate(t *testing.T) tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key, &key.PublicKey, nil)
}

func TestPinned(t *testing.T) {
	valid := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to)
			c.DNSNames, c.IPAddresses = nil, nil
		}
	}
	p256 := elliptic.P256()
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		want string // in the error
	}{
		{"for a day, without a name", ecCertificate(t, p256, valid(-time.Hour, day)), ""},
		{"for 14 days", ecCertificate(t, p256, valid(-day, 13*day)), ""},
		{"for more", ecCertificate(t, p256, valid(-day, 13*day+time.Second)), "at most 336h"},
		{"expired", ecCertificate(t, p256, valid(-2*day, -time.Minute)), "is valid from"},
		{"not yet valid", ecCertificate(t, p256, valid(time.Minute, day)), "is valid from"},
		{"P-384", ecCertificate(t, elliptic.P384(), valid(-time.Hour, day)), "no ECDSA P-256 key"},
		{"RSA", rsaCertificate(t), "no ECDSA P-256 key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hash := sha256.Sum256(tt.cert.Certificate[0])
			err := verifyPinned(tt.cert.Leaf, [][32]byte{{1}, hash}, time.Now())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("verifyPinned = %v, want %q", err, tt.want)
			}
			err = verifyPinned(tt.cert.Leaf, [][32]byte{{1}}, time.Now())
			if err == nil || !strings.Contains(err.Error(), "not one of the trusted ones") {
				t.Errorf("verifyPinned with another hash = %v", err)
			}
		})
	}
}

// nobodyKnows reports whether err says that no authority has signed, and what to do about it.
func nobodyKnows(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok && strings.Contains(err.Error(), "swarmgate://host:port/?h=… URL, Config.CertHashes or --cert-hash")
}

// Which gateways a client trusts, by a dial.
func TestTrust(t *testing.T) {
	pool := func(c tls.Certificate) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(c.Leaf)
		return p
	}
	for _, tt := range []struct {
		name    string
		cert    tls.Certificate
		trust   func(*Config, tls.Certificate)
		trusted func(error) bool // of the error; nil where there is none
	}{
		{"a hash", ecCertificate(t, elliptic.P256(), nil), func(c *Config, cert tls.Certificate) {
			c.CertHashes = [][32]byte{{9}, sha256.Sum256(cert.Certificate[0])}
		}, nil},
		{"another hash", ecCertificate(t, elliptic.P256(), nil), func(c *Config, _ tls.Certificate) {
			c.CertHashes = [][32]byte{{9}}
		}, func(err error) bool { return strings.Contains(err.Error(), "not one of the trusted ones") }},
		{"a hash of an RSA certificate", rsaCertificate(t), func(c *Config, cert tls.Certificate) {
			c.CertHashes = [][32]byte{sha256.Sum256(cert.Certificate[0])}
		}, func(err error) bool { return strings.Contains(err.Error(), "no ECDSA P-256 key") }},
		{"an authority", rsaCertificate(t), func(c *Config, cert tls.Certificate) {
			c.RootCAs = pool(cert)
		}, nil},
		{"an authority, another name", rsaCertificate(t), func(c *Config, cert tls.Certificate) {
			c.RootCAs, c.ServerName = pool(cert), "gateway.example"
		}, nil},
		{"an authority, a wrong name", rsaCertificate(t), func(c *Config, cert tls.Certificate) {
			c.RootCAs, c.ServerName = pool(cert), "other.example"
		}, func(err error) bool { _, ok := errors.AsType[x509.HostnameError](err); return ok }},
		{"another authority", rsaCertificate(t), func(c *Config, _ tls.Certificate) {
			c.RootCAs = x509.NewCertPool()
		}, nobodyKnows},
		{"the system", rsaCertificate(t), func(*Config, tls.Certificate) {}, nobodyKnows},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGatewayWith(t, nil, tt.cert)
			var cfg Config
			tt.trust(&cfg, tt.cert)
			result := g.dial(cfg)
			if tt.trusted == nil {
				g.accept().send(welcome)
			}
			d := <-result
			switch {
			case tt.trusted == nil && d.err != nil:
				t.Fatalf("Dial = %v", d.err)
			case tt.trusted == nil:
				d.client.Close()
			case d.err == nil:
				d.client.Close()
				t.Fatal("Dial trusted the gateway")
			case !tt.trusted(d.err) || errors.Is(d.err, net.ErrClosed):
				t.Errorf("Dial = %#v: %v", d.err, d.err)
			}
		})
	}
}
