package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

var zeros = strings.Repeat("0", 64)

// What an info document says, and what is wrong with one.
func TestDiscover(t *testing.T) {
	for _, tt := range []struct{ name, document, want string }{
		{"an authority", `{"quic": "gateway.example:4433", "certificate": {"kind": "ca"}}`, "swarmgate://gateway.example:4433/"},
		{"hashes are not for an authority", `{"quic": "g", "certificate": {"kind": "ca", "hashes": ["` + zeros + `"]}}`, "swarmgate://g:443/"},
		{"pinned", `{"later": 1, "quic": "[::1]:4433", "certificate": {"kind": "pinned", "hashes": ["` + zeros + `"]}}`, "swarmgate://[::1]:4433/?h=" + zeros},
		{"no address", `{"certificate": {"kind": "ca"}}`, ""},
		{"an address that is a URL", `{"quic": "g/?h=` + zeros + `#t", "certificate": {"kind": "ca"}}`, ""},
		{"no hash", `{"quic": "g", "certificate": {"kind": "pinned"}}`, ""},
		{"half a hash", `{"quic": "g", "certificate": {"kind": "pinned", "hashes": ["00"]}}`, ""},
		{"too many hashes", `{"quic": "g", "certificate": {"kind": "pinned", "hashes": ["` + strings.Repeat(zeros+`","`, 8) + zeros + `"]}}`, ""},
		{"another kind", `{"quic": "g", "certificate": {"kind": "none"}}`, ""},
		{"no JSON", `<html>`, ""},
		{"more than 64 KiB", `{"agent": "` + strings.Repeat("a", maxInfo) + `", "quic": "g", "certificate": {"kind": "ca"}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != wtproto.InfoPath {
					http.NotFound(w, r)
				}
				fmt.Fprint(w, tt.document)
			}))
			defer srv.Close()
			got, err := Discover(t.Context(), srv.URL)
			if tt.want == "" {
				if err == nil || !strings.HasPrefix(err.Error(), "client: discover: ") {
					t.Errorf("Discover = %v, %v, want an error", got, err)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("Discover = %v, %v, want %s", got, err, tt.want)
			}
			if _, err := parseGateway(got.String()); err != nil {
				t.Errorf("Dial does not take it: %v", err)
			}
		})
	}
}

// Nobody is asked who may not be believed.
func TestDiscoverBelieves(t *testing.T) {
	for _, from := range []string{
		"http://gateway.example", "http://192.0.2.1:8080", "http://127.0.0.1.example", "http://localhost.example", "ftp://127.0.0.1",
		"gateway.example", "", "https://", "https://user:password@gateway.example", "https://gateway.example/other", "https://gateway.example/?a=b",
		"http://[::2]", "swarmgate://127.0.0.1/",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // lest anybody is asked after all
		_, err := Discover(ctx, from)
		if err == nil || strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("Discover(%q) = %v, want an error before anybody is asked", from, err)
		}
		if err != nil && strings.Contains(err.Error(), "password") {
			t.Errorf("the error is %v", err)
		}
	}
	for _, from := range []string{"http://127.0.0.2:1/swarm", "http://[::1]:1", "http://localhost:1/", "https://gateway.example/.well-known/swarmgate"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Discover(ctx, from); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("Discover(%q) = %v, want the context's error", from, err)
		}
	}
}

// Over https an authority has to have signed the certificate, and a redirect is not followed: it
// may lead anywhere.
func TestDiscoverOverHTTPS(t *testing.T) {
	redirects := false
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if redirects {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		fmt.Fprint(w, `{"quic": "gateway.example:4433", "certificate": {"kind": "ca"}}`)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	if got, _, err := discover(t.Context(), srv.URL, roots); err != nil || got.String() != "swarmgate://gateway.example:4433/" {
		t.Errorf("discover = %v, %v", got, err)
	}
	if _, err := Discover(t.Context(), srv.URL); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("Discover = %v, want the error of an unknown authority", err)
	}
	redirects = true
	if _, _, err := discover(t.Context(), srv.URL, roots); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("discover = %v, want 302", err)
	}
}
