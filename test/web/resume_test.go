//go:build !race

package web

import (
	"os/exec"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// A file goes on from where it was when the gateway was killed in the middle of it and started
// again.
func TestResume(t *testing.T) {
	t.Parallel()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := exec.CommandContext(t.Context(), "node", browser.Script(t, "resume.mjs"), name, binary).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
