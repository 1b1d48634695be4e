package acme

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// An authority wants an account that one has otherwise: with a wrong one or without, the gateway
// runs with its pinned certificate, and says what is wrong where operators look. Nor does a
// certificate that is there go away if the authority refuses a new one, or cannot be reached.
func TestAuthorityThatRefuses(t *testing.T) {
	inside(t, func(t *testing.T) {
		const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
		p := newPebble(t, aMonth, map[string]any{
			"externalAccountBindingRequired": true, "externalAccountMACKeys": map[string]string{"mine": key},
		})
		dir := t.TempDir()
		right, wrong := filepath.Join(dir, "right"), filepath.Join(dir, "wrong")
		for file, content := range map[string]string{right: key + "\n", wrong: "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH"} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		without := p.start(t, "--name", "localhost", "--listen", ":4431", "--state-dir", t.TempDir())
		mistaken := p.start(t, "--name", "localhost", "--listen", ":4432", "--state-dir", t.TempDir(),
			"--acme-account", "mine", "--acme-account-key", wrong)
		args := []string{
			"--name", "localhost", "--listen", ":443", "--state-dir", filepath.Join(dir, "state"),
			"--acme-account", "mine", "--acme-account-key", right,
		}
		g := p.start(t, args...)
		before := p.trusted(t, "443", "localhost")
		if n := metric(t, g, "swarmgate_acme_failing"); n != 0 {
			t.Errorf("%v names without certificate", n)
		}
		readyzSays(t, without, "certificate for localhost: none, the pinned one is served", "externalAccountRequired")
		readyzSays(t, mistaken, "certificate for localhost: none, the pinned one is served", "external account binding")
		for _, g := range []*program.Program{without, mistaken} {
			comesInByHash(t, g)
			if n := metric(t, g, "swarmgate_acme_failing"); n != 1 {
				t.Errorf("%v names without certificate, want 1", n)
			}
			g.Terminate(t)
		}
		g.Terminate(t)

		// By the great interval the certificate has to be renewed at once.
		due := append(args, "--acme-check", "10000h")
		keeps := func(why string, args ...string) {
			t.Helper()
			g := p.start(t, args...)
			readyzSays(t, g, "certificate for localhost: expires 20", "failed at", why)
			if n := metric(t, g, "swarmgate_acme_failing"); n != 1 {
				t.Errorf("%v names whose certificate is not renewed, want 1", n)
			}
			if left := metric(t, g, "swarmgate_certificate_expiry_timestamp_seconds") - float64(before.NotAfter.Unix()); left != 0 {
				t.Errorf("the metric says that the certificate expires %v s later than it does", left)
			}
			if now, err := p.shown(t, "localhost", "443"); err != nil || !now.Equal(before) {
				t.Errorf("the certificate is not the old one, %v", err)
			}
			p.connect(t, "localhost:443")
			g.Terminate(t)
		}
		keeps("unknown profile", append(due, "--acme-profile", "none")...)
		p.stop()
		keeps("connection refused", due...)

		fresh := p.start(t, "--name", "localhost", "--listen", ":443", "--state-dir", t.TempDir())
		readyzSays(t, fresh, "certificate for localhost: none, the pinned one is served", "connection refused")
		comesInByHash(t, fresh)
		fresh.Terminate(t)
	})
}

// comesInByHash checks that clients that know the hash in the ready line of g can come in.
func comesInByHash(t *testing.T, g *program.Program) {
	t.Helper()
	cfg := client.Config{NoReconnect: true}
	for _, text := range g.Certificate.Hashes {
		var hash [32]byte
		if _, err := hex.Decode(hash[:], []byte(text)); err != nil {
			t.Fatal(err)
		}
		cfg.CertHashes = append(cfg.CertHashes, hash)
	}
	c, err := client.Dial(gateway.Context(t), "https://"+g.QUIC, cfg)
	if err != nil || len(cfg.CertHashes) != 2 {
		t.Fatalf("a client with %d hashes: %v", len(cfg.CertHashes), err)
	}
	if got := c.Session().CertHashes; len(got) != 2 || got[0] != cfg.CertHashes[0] {
		t.Errorf("it is told the hashes %x", got)
	}
	c.Close()
}
