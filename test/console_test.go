//go:build !race

package test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Whoever opens the address that the demo prints sees its peer found and echoing, talks to others who opened it, and gives them files.
func TestConsole(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", binary, "./cmd/server")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	url := startDemo(t, binary)
	for _, browser := range []string{"chromium", "firefox"} {
		t.Run(browser, func(t *testing.T) {
			if out, err := exec.CommandContext(t.Context(), "node", "browser/console.mjs", browser, url).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// startDemo runs a demo until the test ends, and returns the address of its console.
func startDemo(t *testing.T, binary string) string {
	t.Helper()
	cmd := exec.Command(binary, "--demo", "--no-lan", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	page := regexp.MustCompile(`^  (http://127\.0\.0\.1:\d+/\?echo)$`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := page.FindStringSubmatch(lines.Text()); m != nil {
			return m[1]
		}
	}
	t.Fatal("the demo ended without the address of a page")
	return ""
}
