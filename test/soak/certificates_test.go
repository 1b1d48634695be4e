//go:build !race

package soak

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/gateway"
)

// authority signs the gateway's certificates, and replaces their files as Kubernetes does.
type authority struct {
	roots  *x509.CertPool
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	dir    string
	serial int64     // of the newest certificate
	began  time.Time // the same
	expiry time.Time // the same
}

// newAuthority makes an authority and a first certificate in dir.
func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{roots: x509.NewCertPool(), dir: dir}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "soak"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.cert)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	a.renew(t)
	return a
}

// files are the options of the gateway.
func (a *authority) files() []string {
	return []string{"--cert", filepath.Join(a.dir, "tls.crt"), "--key", filepath.Join(a.dir, "tls.key")}
}

// renew replaces both files at once with those of a new certificate.
func (a *authority) renew(t *testing.T) {
	t.Helper()
	a.serial++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.began = time.Now().Add(-time.Hour).Truncate(time.Second)
	a.expiry = time.Now().Add(24*time.Hour + time.Duration(a.serial)*time.Minute).Truncate(time.Second)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: a.began, NotAfter: a.expiry,
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	folder := fmt.Sprintf("..%d", a.serial)
	if err := os.Mkdir(filepath.Join(a.dir, folder), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(a.dir, folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(a.dir, "..new")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(a.dir, "..data")); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(filepath.Join(a.dir, fmt.Sprintf("..%d", a.serial-1)))
}

// taken waits until the gateway at addr shows the newest certificate.
func (a *authority) taken(t *testing.T, addr string) {
	t.Helper()
	gateway.Eventually(t, "the new certificate", func() bool {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: a.roots, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Errorf("a handshake after certificate %d: %v", a.serial, err)
			return true
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == a.serial
	})
}
