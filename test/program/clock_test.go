//go:build !race

package program

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// certificate returns a certificate for this machine that was made at a time, its key, both in PEM,
// and its hash.
func certificate(t *testing.T, made time.Time) (cert, key []byte, hash string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(made.UnixNano()), NotBefore: made.Add(-time.Hour), NotAfter: made.Add(13*24*time.Hour - time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), hex.EncodeToString(sum[:])
}

// pinnedPair returns a state file of two certificates that were made at a time, and their hashes.
func pinnedPair(t *testing.T, made time.Time) (file []byte, hashes []string) {
	t.Helper()
	for range 2 {
		cert, key, hash := certificate(t, made)
		file = slices.Concat(file, cert, key)
		hashes = append(hashes, hash)
	}
	return file, hashes
}

// A gateway that started before its computer knew the time threw away the certificates that its
// clients knew, since they were not valid yet, or no more. Now they stay in the state file, and
// others are served meanwhile. The tables of the room certs say what comes later.
func TestClockIsWrongAtTheStart(t *testing.T) {
	for name, tc := range map[string]struct {
		made time.Duration // how long ago
		log  string
	}{
		"behind": {made: -30 * 24 * time.Hour, log: "not valid yet"},
		"ahead":  {made: 30 * 24 * time.Hour},
		"right":  {made: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "pinned.pem")
			known, hashes := pinnedPair(t, time.Now().Add(-tc.made))
			if err := os.WriteFile(path, known, 0o600); err != nil {
				t.Fatal(err)
			}
			var before []string
			for start := range 2 {
				p, log := startWith(t, nil, "--state-dir", dir)
				if c, err := enter(t, p, ""); err != nil {
					t.Fatal(err)
				} else {
					c.Close()
				}
				if fits := slices.Equal(p.Certificate.Hashes, hashes); fits != (name == "right") {
					t.Errorf("start %d: the known certificates are served: %v", start, fits)
				}
				if start > 0 && !slices.Equal(p.Certificate.Hashes, before) {
					t.Errorf("start %d: others than before", start)
				}
				before = p.Certificate.Hashes
				if tc.log != "" {
					log.has(t, tc.log)
				}
				p.Terminate(t)
				if now, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(now, known) {
					t.Errorf("start %d: the known certificates are gone, %v", start, err)
				}
			}
			// Somebody sets the clock, as far as a test can: the certificates are valid now.
			now, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			valid, hashes := pinnedPair(t, time.Now())
			if err := os.WriteFile(path, append(valid, now[len(known):]...), 0o600); err != nil {
				t.Fatal(err)
			}
			p, _ := startWith(t, nil, "--state-dir", dir)
			if !slices.Equal(p.Certificate.Hashes, hashes) {
				t.Error("the known certificates are valid, and not served")
			}
		})
	}
}
