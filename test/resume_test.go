//go:build !race

package test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// A file goes on from where it was when the gateway was killed in the middle of it and started again.
func TestResume(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", binary, "./cmd/server")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, browser := range []string{"chromium", "firefox"} {
		t.Run(browser, func(t *testing.T) {
			if out, err := exec.CommandContext(t.Context(), "node", "browser/resume.mjs", browser, binary).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
