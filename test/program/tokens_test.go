//go:build !race

package program

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// enter opens one session with a token.
func enter(t *testing.T, p *program.Program, token string) (*client.Client, error) {
	t.Helper()
	cfg := client.Config{NoReconnect: true, Token: []byte(token)}
	for _, digits := range p.Certificate.Hashes {
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		cfg.CertHashes = append(cfg.CertHashes, [32]byte(b))
	}
	c, err := client.Dial(t.Context(), p.QUIC, cfg)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// lets checks that p lets a token in, or what it says instead.
func lets(t *testing.T, p *program.Program, name, token string, want wtproto.Code) {
	t.Helper()
	c, err := enter(t, p, token)
	code := wtproto.CodeNone
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote {
		code = e.Code
	} else if err != nil {
		t.Fatalf("%s: %v", name, err)
	} else {
		c.Close()
	}
	if code != want {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
}

// What docs/OPERATING.md says of a token file: who has a token of the file comes in, and the file
// may change while the gateway runs.
func TestTokenFile(t *testing.T) {
	swarm := program.Swarm(t)
	file := filepath.Join(t.TempDir(), "tokens")
	alice := swarm("", "token", "new", "--name", "alice", "--topic", "wowcool", "--max-topics", "1", "--file", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", info, err)
	}
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--token-file", file)
	lets(t, p, "no token", "", wtproto.CodeUnauthorized)
	lets(t, p, "a wrong token", alice+"x", wtproto.CodeUnauthorized)
	lets(t, p, "the hash", swarm(alice+"\n", "token", "hash"), wtproto.CodeUnauthorized)
	lets(t, p, "the token", alice, wtproto.CodeNone)

	c, err := enter(t, p, alice)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Session(); w.MaxTopics != 1 || w.MaxCircuits != 256 {
		t.Errorf("WELCOME: %+v", w)
	}
	if _, err := c.Join(t.Context(), wtproto.TopicFromName("wowcool"), client.JoinOptions{}); err != nil {
		t.Error(err)
	}
	var e *wtproto.Error
	if _, err := c.Join(t.Context(), wtproto.TopicFromName("other"), client.JoinOptions{}); !errors.As(err, &e) || e.Code != wtproto.CodeForbidden {
		t.Errorf("another topic: %v, want FORBIDDEN", err)
	}

	bob := swarm("", "token", "new", "--name", "bob", "--expires", "6s", "--file", file)
	var brief *client.Client
	gateway.Eventually(t, "the new token", func() bool {
		brief, err = enter(t, p, bob)
		return err == nil
	})
	<-brief.Done()
	if err := brief.Err(); !errors.As(err, &e) || e.Code != wtproto.CodeTokenExpired || !e.Remote {
		t.Errorf("the session of a token that expires ended with %v", err)
	}
	lets(t, p, "an expired token", bob, wtproto.CodeTokenExpired)
	lets(t, p, "the first token again", alice, wtproto.CodeNone)

	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gateway.Eventually(t, "the token was taken out", func() bool {
		_, err := enter(t, p, alice)
		return errors.As(err, &e) && e.Code == wtproto.CodeUnauthorized
	})
}

// What docs/OPERATING.md says of JSON Web Tokens, with keys that openssl makes.
func TestJSONWebTokens(t *testing.T) {
	swarm := program.Swarm(t)
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private.pem"), filepath.Join(dir, "public.pem")
	for _, args := range [][]string{
		{"genpkey", "-algorithm", "ed25519", "-out", private},
		{"pkey", "-in", private, "-pubout", "-out", public},
	} {
		if out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
	}
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--jwt-key", public, "--jwt-audience", "gate")
	sign := func(audience string) string {
		return swarm("", "token", "sign", "--key", private, "--name", "alice", "--expires", "1h", "--audience", audience)
	}
	good := sign("gate")
	if grant := swarm(good, "token", "check", "--jwt-key", public, "--audience", "gate"); !strings.Contains(grant, `"name": "alice"`) {
		t.Errorf("swarm token check prints %s", grant)
	}
	lets(t, p, "no token", "", wtproto.CodeUnauthorized)
	lets(t, p, "the token", good, wtproto.CodeNone)
	lets(t, p, "another audience", sign("elsewhere"), wtproto.CodeUnauthorized)
}

// A web service that decides, and one that is away.
func TestAuthURL(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		switch {
		case strings.Contains(b.String(), `"token":"good"`):
			w.Write([]byte(`{"name": "alice"}`))
		case strings.Contains(b.String(), `"token":"banned"`):
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer service.Close()
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--auth-url", service.URL)
	lets(t, p, "a good token", "good", wtproto.CodeNone)
	lets(t, p, "a banned token", "banned", wtproto.CodeForbidden)
	lets(t, p, "no token", "", wtproto.CodeUnauthorized)
	service.Close()
	lets(t, p, "nobody to ask", "good", wtproto.CodeBusy)
}
