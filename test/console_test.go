//go:build !race

package test

import (
	"os/exec"
	"testing"
)

// Whoever opens the address that the demo prints sees its peer found and echoing, talks to others who opened it, and gives them files.
func TestConsole(t *testing.T) {
	_, url := startDemo(t)
	for _, browser := range []string{"chromium", "firefox"} {
		t.Run(browser, func(t *testing.T) {
			if out, err := exec.CommandContext(t.Context(), "node", "browser/console.mjs", browser, url).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
