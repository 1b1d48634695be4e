//go:build !race

package test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// The page of web/README.md does what is said there, with the gateway that is said there: it shows its own greeting, echoed by the
// demo's peer, and neither page nor browser complains.
func TestReadmePage(t *testing.T) {
	readme, err := os.ReadFile("../web/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```html\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("no page in web/README.md")
	}
	html := string(block[1])
	if n := strings.Count(html, "\n"); n >= 15 {
		t.Errorf("the page has %d lines, want fewer than 15", n)
	}
	const itsGateway, itsOrigin = "http://localhost:8080", "http://localhost:8000"
	if !strings.Contains(html, itsGateway) || !bytes.Contains(readme, []byte("--demo --allow-origin "+itsOrigin)) {
		t.Errorf("the gateway is not at %s and for %s", itsGateway, itsOrigin)
	}
	var page string // the html, once its gateway is there
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, page)
	}))
	defer site.Close()
	origin := onLocalhost(t, site.Listener.Addr().String())
	p, _ := startDemo(t, "--allow-origin", origin)
	address := strings.TrimPrefix(strings.TrimSuffix(p.Info, wtproto.InfoPath), "http://")
	page = strings.NewReplacer(itsGateway, onLocalhost(t, address), itsOrigin, origin).Replace(html)
	withPage(t, "blank.html", func(t *testing.T, b *browser) {
		b.call(t, "goto", map[string]any{"url": origin}, nil)
		const want = "dht: hello, peer"
		var log string
		if b.call(t, "shows", map[string]any{"selector": "#log", "text": want}, &log); log != want+"\n" {
			t.Errorf("the page shows %q, want %q and no more", log, want)
		}
		var complaints []string
		if b.call(t, "complaints", nil, &complaints); len(complaints) > 0 {
			t.Errorf("complaints: %q", complaints)
		}
	})
}

// onLocalhost returns the origin of a site at an address on loopback, by the name localhost.
func onLocalhost(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + net.JoinHostPort("localhost", port)
}
