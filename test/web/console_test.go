//go:build !race

package web

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Whoever opens the address that the demo prints sees its peer found and echoing, talks to others
// who opened it, and gives them files.
func TestConsole(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := program.StartDemo(t)
			if out, err := exec.CommandContext(t.Context(), "node", browser.Script(t, "console.mjs"), name, url).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// The console of a gateway that asks for tokens asks for one too, says why in words, and keeps it
// for its tab.
func TestConsoleToken(t *testing.T) {
	t.Parallel()
	swarm := program.Swarm(t)
	file := filepath.Join(t.TempDir(), "tokens")
	good := swarm("", "token", "new", "--name", "good", "--file", file)
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--dht", "off", "--token-file", file)
	console := strings.TrimSuffix(p.Info, wtproto.InfoPath)
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brief := swarm("", "token", "new", "--name", name, "--expires", "25s", "--file", file)
			if out, err := exec.CommandContext(t.Context(), "node", browser.Script(t, "token.mjs"), name, console, brief, good).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A console and the shell give each other files: swarm send to a page, and a page to swarm
// receive.
func TestConsoleAndShellSendFiles(t *testing.T) {
	t.Parallel()
	swarm, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--dht", "off", "--no-lan")
	args := []string{strings.TrimSuffix(p.Info, wtproto.InfoPath), swarm, "--gateway", "https://" + p.QUIC}
	for _, h := range p.Certificate.Hashes {
		args = append(args, "--cert-hash", h)
	}
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "node", append([]string{browser.Script(t, "files.mjs"), name}, args...)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
