package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
)

// With --identity others see the same key after a restart; the file is made if it is missing, and
// nobody else can read it.
func TestIdentityIsKept(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	file := filepath.Join(t.TempDir(), "identity")
	var seen []string
	for range 2 {
		const secret = "a text that both know"
		b := swarm(t, strings.NewReader(""), through(g, "join", "--secret", secret, "--once", "--json")...)
		a := swarm(t, strings.NewReader(""), through(g, "join", "--secret", secret, "--once", "--json", "--identity", file)...)
		for _, p := range []*process{a, b} { // a secret of a text takes a while to compute
			gateway.Eventually(t, "it has joined", func() bool { return strings.Contains(p.out.String(), `"joined"`) })
		}
		for _, p := range []*process{a, b} {
			if status := p.wait(t); status != 0 {
				t.Fatalf("status %d", status)
			}
		}
		own, _ := keys(a.events(t))
		_, peer := keys(b.events(t))
		if seen = append(seen, own); own == "" || peer != own || seen[0] != own {
			t.Errorf("the keys are %q, and the peer saw %q", seen, peer)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has %v, %v", info.Mode(), err)
	}
	id, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{string(id), 0o640, "chmod 600"},
		{"", 0o600, "want 64 hexadecimal digits"},
		{string(id) + "00", 0o600, "want 64 hexadecimal digits"},
	} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(bad, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := openIdentity(bad); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with mode %v: %v, want %s", c.text, c.mode, err, c.want)
		}
	}
}
