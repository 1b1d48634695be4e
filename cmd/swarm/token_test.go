package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// output runs the program, and returns its exit status and what it printed.
func runTool(t *testing.T, stdin string, args ...string) (status int, out, errs string) {
	t.Helper()
	p := swarm(t, strings.NewReader(stdin), args...)
	status = p.wait(t)
	return status, p.out.String(), p.errs.String()
}

// A new token is printed alone, its hash is added to the file, and nothing else there changes.
func TestTokenNew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# mine\nold "+strings.Repeat("00", 32)), 0o640); err != nil {
		t.Fatal(err)
	}
	topic := wtproto.TopicFromName("wowcool").String()
	status, token, errs := runTool(t, "", "token", "new", "--name", "alice", "--file", file, "--topic", "wowcool", "--topic", "AB*",
		"--no-announce", "--network", "lan", "--expires", "2100-01-02T03:04:05Z", "--max-sessions", "2", "--bytes-per-second=-1")
	if status != 0 || len(token) != 44 {
		t.Fatalf("status %d, printed %q, %s", status, token, errs)
	}
	_, hash, _ := runTool(t, token, "token", "hash")
	want := "# mine\nold " + strings.Repeat("00", 32) + "\nalice " + strings.TrimSpace(hash) +
		` {"topics":["` + topic + `","ab*"],"announce":false,"networks":["lan"],"expires":"2100-01-02T03:04:05Z","limits":{"sessions":2,"bytes_per_second":-1}}` + "\n"
	if b, err := os.ReadFile(file); err != nil || string(b) != want {
		t.Errorf("the file is %q, %v, want %q", b, err, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode: %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	status, grant, errs := runTool(t, token, "token", "check", "--file", file)
	if status != 0 || !strings.Contains(grant, `"name": "alice"`) || !strings.Contains(grant, `"ab*"`) {
		t.Errorf("status %d, the token grants %s, %s", status, grant, errs)
	}

	if status, _, errs := runTool(t, "", "token", "new", "--name", "alice", "--file", file); status != statusFailed || !strings.Contains(errs, "--force") {
		t.Errorf("a second token of a name: status %d, %s", status, errs)
	}
	if status, second, errs := runTool(t, "", "token", "new", "--name", "alice", "--force", "--file", file); status != 0 || second == token {
		t.Errorf("with --force: status %d, %s", status, errs)
	}
}

func TestTokenMistakes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tokens")
	for _, c := range []struct {
		args, stdin string
		want        string
	}{
		{"new --name a", "", "--file"},
		{"new --file " + file, "", "--name"},
		{"new --name a --file " + bad, "", "line 1"},
		{"new --name a --file " + filepath.Join(dir, "none", "tokens"), "", "no such file"},
		{"new --name #a --file " + file, "", "one word"},
		{"new --name a --topic ab1* --file " + file, "", "hexadecimal"},
		{"new --name a --expires yesterday --file " + file, "", "neither a duration"},
		{"new --name a --expires 2001-01-01T00:00:00Z --file " + file, "", "is in the past"},
		{"hash", " \n", "a token of 0 bytes"},
		{"sign --name a --expires 1h --key " + bad, "", "no private key"},
		{"check", "x", "--file"},
		{"check --file " + file, "x", "no such file"},
	} {
		status, out, errs := runTool(t, c.stdin, append([]string{"token"}, strings.Fields(c.args)...)...)
		if status == 0 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: status %d, %q, %q; want %q", c.args, status, out, errs, c.want)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a mistake made a file")
	}
}

// The token is in the flag, the environment, or a file.
func TestTokenIsShown(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	_, token, _ := runTool(t, "", "token", "new", "--name", "alice", "--file", tokens)
	authorizer, err := auth.NewTokenFile(tokens, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.Start(t, server.Config{Authorizer: authorizer})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	token = strings.TrimSpace(token)
	for _, c := range []struct {
		name string
		env  string
		args []string
		want string // of its errors; empty for none
	}{
		{"flag", "", []string{"--token", token}, ""},
		{"environment", token, nil, ""},
		{"file", "", []string{"--token-file", secret}, ""},
		{"none", "", nil, "UNAUTHORIZED"},
		{"both", token, []string{"--token-file", secret}, "both --token"},
		{"no such file", "", []string{"--token-file", secret + "x"}, "no such file"},
	} {
		if c.env != "" {
			t.Setenv("SWARMGATE_TOKEN", c.env)
		} else {
			os.Unsetenv("SWARMGATE_TOKEN")
		}
		status, _, errs := runTool(t, "", through(g, append([]string{"status"}, c.args...)...)...)
		if (status == 0) != (c.want == "") || !strings.Contains(errs, c.want) {
			t.Errorf("%s: status %d, %s, want %q", c.name, status, errs, c.want)
		}
	}
}
