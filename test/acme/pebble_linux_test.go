// Package acme runs the gateway with --acme and Pebble, an authority for tests, in network
// namespaces, where ports 80 and 443 are free.
package acme

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// inside runs the test f in a namespace of its own, beside the others.
func inside(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if netns.Inside() {
		f(t)
		return
	}
	for _, build := range []func() (string, error){program.BuildServer, program.BuildPebble} { // before the time of the test runs
		if _, err := build(); err != nil {
			t.Fatal(err)
		}
	}
	t.Parallel()
	netns.New(t, "acme").Rerun(t)
}

// Where Pebble listens.
const (
	directory  = "https://127.0.0.1:14000/dir"
	management = "https://127.0.0.1:15000/roots/0"
)

// pebble is an authority that asks at ports 80 and 443.
type pebble struct {
	roots *x509.CertPool // of what it issues
	file  string         // with the root of its own HTTPS server
	stop  func()         // ends it; may be called more than once

	mu    sync.Mutex
	lines []string // guarded by mu; of its log
}

// newPebble starts a Pebble whose configuration has more. Its certificates live for life.
func newPebble(t *testing.T, life time.Duration, more map[string]any) *pebble {
	t.Helper()
	dir := t.TempDir()
	p := &pebble{file: filepath.Join(dir, "cert.pem")}
	roots := writeCertificate(t, p.file, filepath.Join(dir, "key.pem"))
	cfg := map[string]any{
		"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
		"certificate": p.file, "privateKey": filepath.Join(dir, "key.pem"), "httpPort": 80, "tlsPort": 443,
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{"description": "of the test", "validityPeriod": int(life.Seconds())}},
	}
	for key, value := range more {
		cfg[key] = value
	}
	b, err := json.Marshal(map[string]any{"pebble": cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := program.BuildPebble()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-config", filepath.Join(dir, "pebble.json"))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
		}
	}()
	p.stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	})
	t.Cleanup(p.stop)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer web.CloseIdleConnections()
	p.roots = x509.NewCertPool()
	eventually(t, "Pebble answers", func() bool {
		r, err := web.Get(management)
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return err == nil && p.roots.AppendCertsFromPEM(b)
	})
	return p
}

// eventually waits until ok reports true. It asks seldom enough for the gateway to answer the
// authority too, which is at the same address and so has the same limit.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(gateway.Patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, gateway.Patience)
		}
	}
}

// issued returns how many certificates there were.
func (p *pebble) issued() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if strings.Contains(l, "Issued certificate serial") {
			n++
		}
	}
	return n
}

// writeCertificate writes a certificate for 127.0.0.1 and its key, and returns a pool with it.
func writeCertificate(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

// start runs a gateway that gets its certificates from p.
func (p *pebble) start(t *testing.T, args ...string) *program.Program {
	t.Helper()
	return program.Start(t, append([]string{
		"--acme", "--acme-ca", directory, "--acme-roots", p.file, "--dht", "off", "--admin", "127.0.0.1:0",
	}, args...)...)
}

// ask returns the body of what the operators' listener of g answers at path.
func ask(t *testing.T, g *program.Program, path string) string {
	t.Helper()
	r, err := http.Get(g.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, r.Status, err)
	}
	return string(b)
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, g *program.Program, name string) float64 {
	t.Helper()
	for line := range strings.Lines(ask(t, g, "/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("/metrics has no %s", name)
	return 0
}

// shown returns the certificate that TCP port shows for a host, and why p's clients would not
// trust it; nil and an error if there is no connection.
func (p *pebble) shown(t *testing.T, host, port string) (cert *x509.Certificate, untrusted error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	opts := x509.VerifyOptions{Roots: p.roots, DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err = chain[0].Verify(opts)
	return chain[0], err
}

// trusted waits until clients of p trust what port shows for each host, and returns the
// certificate for the last one.
func (p *pebble) trusted(t *testing.T, port string, hosts ...string) (cert *x509.Certificate) {
	t.Helper()
	for _, host := range hosts {
		eventually(t, fmt.Sprintf("a certificate for %s at port %s", host, port), func() bool {
			var err error
			cert, err = p.shown(t, host, port)
			return err == nil
		})
	}
	return cert
}
