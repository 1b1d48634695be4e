package program

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// writeAuthority makes an authority and its certificate for gateway.example, and returns the files.
func writeAuthority(t *testing.T) (root, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Authority"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, authority, authority, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"gateway.example"}, NotBefore: from, NotAfter: to,
	}, authority, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return write("root.pem", "CERTIFICATE", signed), write("cert.pem", "CERTIFICATE", leaf), write("key.pem", "PRIVATE KEY", pkcs8)
}

// doctor runs swarm doctor where gateway.example has an address, and returns the exit status and
// what it prints.
func doctor(t *testing.T, address string, environment []string, args ...string) (status int, printed string) {
	t.Helper()
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+address+" gateway.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare",
		append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts, binary, "doctor"}, args...)...)
	var errs bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), environment...), &errs
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	t.Logf("swarm doctor %q\n%s%s", args, out, errs.String())
	return cmd.ProcessState.ExitCode(), string(out)
}

// wantChecks compares the checks that were printed. want has "check state", and a part of its text
// or of the advice.
func wantChecks(t *testing.T, printed, usable string, want map[string]string) {
	t.Helper()
	var d struct {
		Checks []struct{ Check, State, Text, Advice string }
		Usable []string
	}
	if err := json.Unmarshal([]byte(printed), &d); err != nil {
		t.Fatalf("%q: %v", printed, err)
	}
	if got := strings.Join(d.Usable, " "); got != usable {
		t.Errorf("usable is %q, want %q", got, usable)
	}
	seen := make(map[string]string)
	for _, c := range d.Checks {
		seen[c.Check+" "+c.State] = c.Text + "\n" + c.Advice
	}
	for check, part := range want {
		if text, ok := seen[check]; !ok || !strings.Contains(text, part) {
			t.Errorf("no %s with %q", check, part)
		}
	}
}

// With a certificate of an authority all is well for programs that trust it, and the others are
// told what is wrong.
func TestDoctorWithAnAuthority(t *testing.T) {
	root, cert, key := writeAuthority(t)
	g := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--cert", cert, "--key", key, "--name", "gateway.example")
	trust := []string{"SSL_CERT_FILE=" + root}
	_, port, _ := strings.Cut(g.QUIC, ":")
	site := "https://gateway.example:" + port

	status, printed := doctor(t, "127.0.0.1", trust, "--json", site)
	if status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	const issuer = "certificate of an authority, CN=Example Authority, until "
	wantChecks(t, printed, "quic websocket", map[string]string{
		"name ok": "gateway.example is 127.0.0.1", "document ok": "WebTransport", "tcp ok": "", "tls ok": issuer, "quic ok": issuer,
		"webtransport ok": "a page of " + site + " connected", "session-quic ok": "", "session-websocket ok": "", "clock ok": "", "token ok": "",
	})
	if status, printed = doctor(t, "127.0.0.1", trust, site); status != 0 || !strings.Contains(printed, "\na session is possible; by default it is over ") ||
		strings.Contains(printed, "Do: ") {
		t.Errorf("status %d, and it printed this", status)
	}

	if status, printed = doctor(t, "127.0.0.1", nil, "--json", site); status != 1 {
		t.Errorf("without the authority: status %d, want 1", status)
	}
	wantChecks(t, printed, "", map[string]string{
		"tcp ok": "", "tls wrong": "unknown authority", "quic wrong": "SSL_CERT_FILE", "webtransport unknown": "see quic above", "session-quic wrong": "",
	})
	if status, printed = doctor(t, "127.0.0.1", trust, "--json", "https://localhost:"+port); status != 1 {
		t.Errorf("by another name: status %d, want 1", status)
	}
	wantChecks(t, printed, "", map[string]string{"tls wrong": "use a name that is in the certificate", "webtransport unknown": "see quic above"})
}

// startConnectProxy runs an HTTP proxy that wants a password, and connects everybody with one
// address. It returns its URL with the password.
func startConnectProxy(t *testing.T, to string) string {
	t.Helper()
	var copies sync.WaitGroup
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || !strings.HasPrefix(r.Host, "gateway.example:") || r.Header.Get("Proxy-Authorization") == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		copies.Go(func() { io.Copy(far, buffered); far.Close() })
		copies.Go(func() { io.Copy(near, far); near.Close() })
	}))
	t.Cleanup(func() {
		p.Close()
		copies.Wait()
	})
	return strings.Replace(p.URL, "http://", "http://me:password@", 1)
}

// In a network whose only way out is an HTTP proxy, swarm doctor once said "nothing answers, over
// TCP neither: see that the gateway runs", though clients had sessions through the proxy.
func TestDoctorBehindAProxy(t *testing.T) {
	root, cert, key := writeAuthority(t)
	g := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--cert", cert, "--key", key, "--name", "gateway.example")
	_, port, _ := strings.Cut(g.QUIC, ":")
	site := "https://gateway.example:" + port
	proxy := startConnectProxy(t, "127.0.0.1:"+port)
	_, at, _ := strings.Cut(proxy, "@")

	// The gateway does not listen at the address that its name has here.
	environment := []string{"SSL_CERT_FILE=" + root, "HTTPS_PROXY=" + proxy, "NO_PROXY="}
	status, printed := doctor(t, "127.0.0.2", environment, "--json", "--timeout", "3s", site)
	if status != 0 || strings.Contains(printed, "password") {
		t.Errorf("status %d, want 0, and no password", status)
	}
	wantChecks(t, printed, "websocket", map[string]string{
		"name ok": "127.0.0.2", "document ok": "WebSocket", "tcp unknown": "sessions over WebSocket go through the proxy " + at, "tls unknown": "",
		"quic wrong": "clients use WebSocket then", "webtransport unknown": "see quic above", "session-quic wrong": "", "session-websocket ok": "connected in", "clock ok": "within a minute", "token ok": "",
	})
	if status, printed = doctor(t, "127.0.0.2", environment[:1], "--json", "--timeout", "3s", site); status != 1 {
		t.Errorf("without the proxy: status %d, want 1", status)
	}
	wantChecks(t, printed, "", map[string]string{"tcp wrong": "refused", "session-websocket wrong": "see tcp above"})
}
