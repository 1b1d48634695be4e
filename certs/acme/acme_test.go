package acme

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// pinned returns a source for the names without certificate.
func pinned(t *testing.T) *certs.Pinned {
	t.Helper()
	dir, err := certs.OpenStateDir("")
	if err != nil {
		t.Fatal(err)
	}
	p, err := certs.NewPinned(dir, certs.PinnedConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A gateway starts although the authority cannot be reached, serves the pinned certificate, and
// ends at once although requests go on.
func TestSourceWithoutItsAuthority(t *testing.T) {
	asked := make(chan struct{}, 10)
	silent := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer silent.Close()
	roots := silent.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	fallback := pinned(t)
	s, err := Open(Config{Names: []string{"localhost"}, Dir: t.TempDir(), Directory: silent.URL, Roots: roots, Fallback: fallback})
	if err != nil {
		t.Fatal(err)
	}
	s.Start(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	<-asked
	want, _ := fallback.TLSConfig().GetCertificate(nil)
	got, err := s.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: "localhost"})
	if err != nil || got != want || s.Kind() != wtproto.CertificatePinned || len(s.Hashes()) != 2 {
		t.Errorf("it serves another certificate than the pinned one, %v, or tells %s %x", err, s.Kind(), s.Hashes())
	}
	states, err := s.States()
	if err != nil || len(states) != 1 || !states[0].Expires.IsZero() {
		t.Errorf("States = %v, %v", states, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	silent.CloseClientConnections()
}

// A directory that cannot be written to is no fault of the authority, and is told as what it is.
func TestSourceThatCannotSave(t *testing.T) {
	dir := "/proc/certificates" // where nobody can make a folder
	s, err := Open(Config{Names: []string{"localhost"}, Dir: dir, Directory: "https://127.0.0.1:1/", Fallback: pinned(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Start(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	gateway.Eventually(t, "an error", func() bool {
		states, err := s.States()
		return err != nil && states[0].Err != nil && strings.Contains(states[0].String(), "none, the pinned one is served")
	})
	if issued, failed := s.Orders(); issued != 0 || failed == 0 {
		t.Errorf("%d orders issued, %d failed", issued, failed)
	}
}

// Let's Encrypt has certificates for IP addresses in one profile only, and refuses orders without
// it.
func TestAddressesAreShortLivedAtLetsEncrypt(t *testing.T) {
	for _, c := range []struct{ directory, profile, names, ips string }{
		{"", "", "", "shortlived"},
		{LetsEncryptStaging, "", "", "shortlived"},
		{"", "other", "other", "other"},
		{"https://ca.local/dir", "", "", ""},
	} {
		s, err := Open(Config{
			Names: []string{"a.example", "192.0.2.1"}, Dir: t.TempDir(), Directory: c.directory, Profile: c.profile, Fallback: pinned(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		profile := func(name string) string { return s.issuing.config(name).Issuers[0].(*certmagic.ACMEIssuer).Profile }
		if names, ips := profile("a.example"), profile("192.0.2.1"); names != c.names || ips != c.ips {
			t.Errorf("%q with profile %q asks for %q and %q, want %q and %q", c.directory, c.profile, names, ips, c.names, c.ips)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The key of an external account may be written with padding, as some authorities give it. The
// library takes none, so such an account never got a certificate.
func TestAccountKeyWithPadding(t *testing.T) {
	s, err := Open(Config{
		Names: []string{"a.example"}, Dir: t.TempDir(), Account: &Account{"id", "c2VjcmV0LQ=="}, Fallback: pinned(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, issuer := range s.issuing.issuers {
		if a := issuer.ExternalAccount; a.KeyID != "id" || a.MACKey != "c2VjcmV0LQ" {
			t.Errorf("the library is given %+v, want id and c2VjcmV0LQ", a)
		}
	}
}

func TestState(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, s := range map[string]State{
		"certificate for a: none, the pinned one is served": {Name: "a"},
		"certificate for a: expires 2026-01-02T03:04:05Z":   {Name: "a", Expires: at},
		"certificate for a: none, the pinned one is served; the last attempt to get a new one failed at 2026-01-02T03:04:05Z: b; c": {
			Name: "a", Err: errors.Join(errors.New("b"), errors.New("c")), Failed: at,
		},
	} {
		if got := s.String(); got != want {
			t.Errorf("%+v: %s, want %s", s, got, want)
		}
	}
}
