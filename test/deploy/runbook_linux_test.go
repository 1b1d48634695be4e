//go:build packages && !race

package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// runbook returns the blocks of "A gateway on the internet, step by step" of OPERATING that are in
// that language, in order.
func runbook(t *testing.T, language string) (blocks []string) {
	t.Helper()
	b, err := os.ReadFile(path(t, "docs/OPERATING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## A gateway on the internet, step by step\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, m := range regexp.MustCompile("(?s)\n   ```"+language+"\n(.*?)\n   ```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, strings.ReplaceAll(m[1], "\n   ", "\n")[3:])
	}
	return blocks
}

// startPebble starts an authority in m, which asks at port 443 of names, and returns the file with
// the root of its own HTTPS server.
func (m *machine) startPebble() (roots string) {
	m.t.Helper()
	binary, err := program.BuildPebble()
	if err != nil {
		m.t.Fatal(err)
	}
	dir := m.t.TempDir()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command("go", "run", filepath.Join(strings.TrimSpace(string(goroot)), "src/crypto/tls/generate_cert.go"), "-host", "127.0.0.1", "-ca", "-ecdsa-curve", "P256")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("generate_cert: %v\n%s", err, out)
	}
	cert, key := m.put(filepath.Join(dir, "cert.pem")), m.put(filepath.Join(dir, "key.pem"))
	b, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
		"certificate": cert, "privateKey": key, "httpPort": 80, "tlsPort": 443,
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{"description": "of the test", "validityPeriod": 90 * 24 * 3600}},
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	config := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(config, b, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.run("chmod", "755", m.put(binary))
	m.run("systemd-run", "--quiet", "--unit", "pebble", "--setenv", "PEBBLE_VA_NOSLEEP=1", "--setenv", "PEBBLE_WFE_NONCEREJECT=0",
		"/root/"+filepath.Base(binary), "-config", m.put(config))
	m.run("install", "-D", "-m", "644", cert, "/etc/swarmgate-authority.pem")
	return "/etc/swarmgate-authority.pem"
}

// A new operator does what OPERATING says, step by step, on a new Debian. Only the authority is
// another one than Let's Encrypt, and the name leads to the machine itself.
func TestRunbook(t *testing.T) {
	dist, err := released()
	if err != nil {
		t.Fatal(err)
	}
	m := startMachine(t)
	hosts := "127.0.0.1 localhost gateway.example\n::1 localhost\n"
	if err := os.WriteFile(filepath.Join(m.root, "etc/hosts"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	roots := m.startPebble()
	steps, files := runbook(t, "sh"), runbook(t, "yaml")
	if len(steps) != 3 || len(files) != 1 {
		t.Fatalf("%d blocks of commands and %d of configuration, want 3 and 1", len(steps), len(files))
	}
	// This machine has no network to get ca-certificates by, which apt would like to have.
	m.run("sh", "-c", `echo 'APT::Install-Recommends "false";' >/etc/apt/apt.conf.d/offline`)
	// sh runs commands as the runbook has them for somebody who says yes, and prints what they say.
	sh := func(script string) string {
		t.Helper()
		cmd := m.command("bash", "-e", "-c", "cd /root\n"+script)
		cmd.Stdin = strings.NewReader(strings.Repeat("y\n", 10))
		out, err := cmd.CombinedOutput()
		t.Logf("$ %s\n%s", script, out)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	put := func(dir, version string) {
		for _, name := range []string{"swarmgate", "swarmgate-client"} {
			m.put(filepath.Join(dir, name+"_"+version+"_"+runtime.GOARCH+".deb"))
		}
	}
	of := func(script, version string) string {
		return strings.NewReplacer("1.2.3", version, "amd64", runtime.GOARCH).Replace(script)
	}

	// Install.
	put(dist, "1.0.0")
	m.put(filepath.Join(dist, "SHA256SUMS"))
	sh(of(steps[0], "1.0.0"))

	// Configure.
	staging := regexp.MustCompile(`(?m)^acme-staging: true.*$`)
	if !staging.MatchString(files[0]) {
		t.Fatal("the configuration does not begin with the staging environment")
	}
	config := staging.ReplaceAllString(files[0], "acme-ca: https://127.0.0.1:14000/dir\nacme-roots: "+roots)
	if err := os.WriteFile(filepath.Join(m.root, "etc/swarmgate/swarmgate.yaml"), []byte(config+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	// The first token, and the first certificate.
	commands := strings.Split(strings.TrimSpace(steps[1]), "\n")
	last := len(commands) - 1
	if !strings.HasPrefix(commands[last], "journalctl --unit swarmgate --follow") {
		t.Fatalf("the last of the commands is %q", commands[last])
	}
	out := sh(strings.Join(commands[:last], "\n"))
	token, rest, _ := strings.Cut(out, "\n")
	if !regexp.MustCompile(`^[\w-]{32,}$`).MatchString(token) || !strings.Contains(rest, "no mistakes") {
		t.Errorf("the token is %q, and then %q", token, rest)
	}
	m.service()
	gateway.Eventually(t, "the first certificate", func() bool {
		log := m.run("journalctl", "--unit", "swarmgate", "--no-pager")
		return strings.Contains(log, `msg="new certificate" authority=`)
	})
	m.run("systemctl", "restart", "swarmgate")
	m.service()

	// The look from outside. Whoever believes the authority of the test.
	m.run("sh", "-c", "mkdir -p /etc/ssl/certs && cat $(find /var/lib/swarmgate/acme -name '*.crt') >/etc/ssl/certs/ca-certificates.crt")
	for line := range strings.Lines(sh(strings.Replace(steps[2], "…", token, 1))) {
		// Nobody else is on the topic, for want of a network.
		if !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "unknown  topic ") && !strings.HasPrefix(line, "a session is possible;") {
			t.Errorf("swarm doctor says %s", line)
		}
	}

	// Change something: bob gets a token, and then alice has none any more.
	bob := strings.TrimSpace(m.run("swarm", "token", "new", "--name", "bob", "--file", "/etc/swarmgate/tokens"))
	m.run("systemctl", "reload", "swarmgate")
	gateway.Eventually(t, "bob is let in", func() bool {
		return m.command("swarm", "status", "--gateway", "https://gateway.example", "--token", bob).Run() == nil
	})
	m.run("sh", "-c", ": >/etc/swarmgate/tokens")
	m.run("systemctl", "reload", "swarmgate")
	gateway.Eventually(t, "the token is refused", func() bool {
		out, err := m.command("swarm", "status", "--gateway", "https://gateway.example", "--token", token).CombinedOutput()
		return err != nil && strings.Contains(string(out), "UNAUTHORIZED")
	})

	// Upgrade, and back.
	put(newer(t), "1.0.1")
	_, install, _ := strings.Cut(steps[0], "\n")
	sh(of(install, "1.0.1"))
	m.service()
	sh(of(install, "1.0.0"))
	m.service()
	if got := m.run("swarmgate", "--version"); got != "swarmgate v1.0.0\n" {
		t.Errorf("the version is %q", got)
	}
	if b, _ := os.ReadFile(filepath.Join(m.root, "etc/swarmgate/swarmgate.yaml")); string(b) != config+"\n" {
		t.Errorf("the configuration is now\n%s", b)
	}

	// When something is wrong.
	warnings := sh("journalctl --unit swarmgate --priority warning")
	if !strings.Contains(warnings, "level=WARN") || strings.Contains(warnings, "level=INFO") {
		t.Error("the journal does not tell the warnings apart")
	}
}
