// Package proxy starts real HTTP proxies in front of gateways, with the files of deploy/proxy.
package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/internal/proxied"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// Proxy is a kind of real HTTP proxies.
type Proxy struct {
	Name  string
	Start func(*testing.T, Front)
	// TLS says that its backend is a gateway's --listen, and not plain HTTP.
	TLS bool
}

// Front is a proxy that runs.
type Front struct {
	Address string // where it listens
	Backend string
	Idle    time.Duration // after which it cuts what is silent
	// Clear says that it does not terminate TLS: browsers do not take the certificate of a test.
	Clear bool
}

// Idle is after how long the proxies of [Proxy.Behind] cut what is silent. Ping, of a gateway behind
// them, is often enough that they do not, and is also how long a client has to answer: a browser on
// a busy machine was once late by more than a second.
const (
	Idle = 8 * time.Second
	Ping = Idle / 2
)

// All has one of each kind.
var All = []Proxy{
	{"nginx", startNginx, false},
	{"haproxy", startHAProxy, true},
}

// edit returns the text of a file of deploy/proxy with replacements, all of which it needs.
func edit(t *testing.T, name string, replace ...string) string {
	t.Helper()
	file, err := program.Path(filepath.Join("deploy/proxy", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// certificateFiles writes a certificate with its key, both and apart, and returns the directory.
func certificateFiles(t *testing.T) string {
	t.Helper()
	cert, err := servertest.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	dir := t.TempDir()
	for name, b := range map[string][]byte{"fullchain.pem": certPEM, "privkey.pem": keyPEM, "all.pem": append(certPEM, keyPEM...)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run starts a program with a configuration, until the test ends, once it listens on address.
func run(t *testing.T, address, conf string, args ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "FILE", file)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	if path, err := exec.LookPath("/usr/sbin/" + args[0]); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // SIGINT is ignored by what a shell runs in the background
		<-ended
	})
	gateway.Eventually(t, args[0]+" listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", args[0], out.String())
		default:
		}
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// RunHAProxy runs HAProxy with a configuration, until the test ends, once it listens on address.
func RunHAProxy(t *testing.T, address, conf string) {
	t.Helper()
	run(t, address, conf, "haproxy", "-db", "-f", "FILE")
}

func startNginx(t *testing.T, f Front) {
	certs := certificateFiles(t)
	pid := filepath.Join(t.TempDir(), "pid")
	run(t, f.Address, edit(t, "nginx.conf",
		"listen 443 ssl", "listen "+f.Address+f.tls(" ssl"), "/etc/ssl/gateway.example", certs, "127.0.0.1:8080", f.Backend,
		"proxy_read_timeout 60s", fmt.Sprintf("proxy_read_timeout %ds; proxy_send_timeout %ds", f.Idle/time.Second, f.Idle/time.Second),
	), "nginx", "-c", "FILE", "-e", "stderr", "-g", "daemon off; error_log stderr; pid "+pid+";")
}

func startHAProxy(t *testing.T, f Front) {
	terminate := " ssl crt %s/all.pem alpn http/1.1"
	RunHAProxy(t, f.Address, edit(t, "haproxy.cfg",
		"maxconn 32768", "maxconn 1000",
		"bind :443"+fmt.Sprintf(terminate, "/etc/ssl/gateway.example"), "bind "+f.Address+f.tls(fmt.Sprintf(terminate, certificateFiles(t))),
		"127.0.0.1:4433", f.Backend, "timeout tunnel 60s", fmt.Sprintf("timeout tunnel %ds", f.Idle/time.Second),
	))
}

// tls returns words that are about TLS, if it terminates that.
func (f Front) tls(words string) string {
	if f.Clear {
		return ""
	}
	return words
}

// Behind starts a gateway behind the proxy, which cuts what is silent for [Idle], and returns the
// proxy's URL, and that of the gateway's own site without TLS. cfg needs neither TLS nor the
// proxy's address. With inClear the proxy does not terminate TLS.
func (p Proxy) Behind(t *testing.T, cfg server.Config, inClear bool) (gw *servertest.Server, site, own string) {
	t.Helper()
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	gw = servertest.NewServer(cfg)
	t.Cleanup(gw.Close)
	info := gw.InfoServer()
	t.Cleanup(info.Close)
	backend := info.Listener.Addr().String()
	if p.TLS {
		cert, err := servertest.NewCertificate()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		backend = l.Addr().String()
		web := &http.Server{Handler: info.Config.Handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
		go web.ServeTLS(proxied.Listen(l, cfg.TrustedProxies), "", "")
		t.Cleanup(func() { web.Close() })
	}
	f := Front{Address: freeport.Address(t), Backend: backend, Idle: Idle, Clear: inClear}
	p.Start(t, f)
	return gw, "http" + f.tls("s") + "://" + f.Address, info.URL
}
