package acme

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// everyName are names of the gateway by which clients connect.
var everyName = []string{"localhost", "127.0.0.1", "::1"}

func nameFlags() (flags []string) {
	for _, name := range everyName {
		flags = append(flags, "--name", name)
	}
	return flags
}

const aMonth = 30 * 24 * time.Hour

// An operator who has a name or a public address needs nothing but --acme: the gateway gets the
// certificates for a DNS name and for bare addresses, by either proof, and clients on QUIC,
// WebTransport and WebSocket trust it by them. What it has got is there after a restart, without
// the authority.
func TestCertificatesComeByThemselves(t *testing.T) {
	inside(t, func(t *testing.T) {
		p := newPebble(t, aMonth, nil)
		tlsState, httpState := t.TempDir(), t.TempDir()
		byTLS := append(nameFlags(), "--listen", ":443", "--state-dir", tlsState)
		byHTTP := append(nameFlags(), "--listen", ":4433", "--acme-http", ":80", "--state-dir", httpState)
		g := p.start(t, byTLS...)
		h := p.start(t, byHTTP...)
		for _, port := range []string{"443", "4433"} {
			p.trusted(t, port, everyName...)
			for _, host := range everyName {
				p.connect(t, net.JoinHostPort(host, port))
			}
		}
		if got := ask(t, g, "/readyz"); got != "ready\n" {
			t.Errorf("/readyz = %q", got)
		}
		sentToHTTPS(t, "http://127.0.0.1/x?y")
		before, _ := p.shown(t, "localhost", "443")
		issued := p.issued()
		if issued != 2*len(everyName) {
			t.Errorf("%d certificates for 2 gateways with %d names", issued, len(everyName))
		}
		g.Terminate(t)
		h.Terminate(t)
		onlyForTheGateway(t, tlsState)

		damage(t, httpState, "127.0.0.1.crt")
		h = p.start(t, byHTTP...)
		p.trusted(t, "4433", everyName...)
		if n := p.issued() - issued; n != 1 {
			t.Errorf("%d new certificates for one that was damaged", n)
		}
		h.Terminate(t)

		p.stop()
		g = p.start(t, byTLS...)
		after, err := p.shown(t, "localhost", "443")
		if err != nil || !after.Equal(before) {
			t.Errorf("after the restart it shows another certificate, %v", err)
		}
		if len(g.Certificate.Hashes) > 0 {
			t.Errorf("the ready line has the hashes %q of pinned certificates", g.Certificate.Hashes)
		}
		if got := ask(t, g, "/readyz"); got != "ready\n" {
			t.Errorf("/readyz = %q after the restart", got)
		}
		p.connect(t, "[::1]:443")
		g.Terminate(t)
	})
}

// damage cuts a file in the state directory off.
func damage(t *testing.T, dir, name string) {
	t.Helper()
	found := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.Name() != name || info.IsDir() {
			return err
		}
		found++
		return os.Truncate(path, 100)
	})
	if err != nil || found != 1 {
		t.Fatalf("%d files %s, %v", found, name, err)
	}
}

// connect has a session with the gateway at address over each transport.
func (p *pebble) connect(t *testing.T, address string) {
	t.Helper()
	for _, transport := range []string{client.TransportQUIC, client.TransportWebSocket} {
		c, err := client.Dial(gateway.Context(t), "https://"+address, client.Config{RootCAs: p.roots, Transports: []string{transport}, NoReconnect: true})
		if err != nil {
			t.Errorf("%s at %s: %v", transport, address, err)
			continue
		}
		c.Close()
	}
	tr := &webtransport.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.roots},
		QUICConfig:      &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
	}
	defer tr.Close()
	_, session, err := tr.Dial(gateway.Context(t), "https://"+address+wtproto.Path, nil)
	if err != nil {
		t.Errorf("WebTransport at %s: %v", address, err)
		return
	}
	session.CloseWithError(0, "")
}

// sentToHTTPS checks that a person who opens a page on port 80 comes to HTTPS.
func sentToHTTPS(t *testing.T, url string) {
	t.Helper()
	web := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer web.CloseIdleConnections()
	r, err := web.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if to := r.Header.Get("Location"); r.StatusCode != http.StatusTemporaryRedirect || to != "https://localhost:4433/x?y" {
		t.Errorf("%s: %s to %s", url, r.Status, to)
	}
}

// onlyForTheGateway checks that others cannot read what is in the state directory.
func onlyForTheGateway(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		files++
		if info.Mode()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if strings.Contains(path, "/locks/") {
			t.Errorf("%s is left", path)
		}
		return nil
	})
	if err != nil || files < 4+3*3 { // the keys; for each name certificate, key and what the authority said
		t.Errorf("%d files in the state directory, %v", files, err)
	}
}
