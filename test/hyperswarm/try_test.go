//go:build !race

package hyperswarm

import (
	"bufio"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// The one command of the example does what is said of it: it prints the address of a page that
// shows the blocks of a hypercore, those that are there and those that come.
func TestTheCommandToTryIt(t *testing.T) {
	gateway, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "try.js", "--gateway", gateway)
	if cmd.Dir, err = program.Path("web/examples/hyperswarm"); err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)
	browser.EachPage(t, "blank.html", func(t *testing.T, b *browser.Page) {
		b.Call(t, "goto", map[string]any{"url": url}, nil)
		var log string
		b.Call(t, "shows", map[string]any{"selector": "#log", "text": "0: the first block\n1: it is "}, &log)
		if !strings.HasPrefix(log, "+ the relay\n+ ") {
			t.Errorf("the page shows %q, want first the relay and a peer", log)
		}
		var complaints []string
		if b.Call(t, "complaints", nil, &complaints); len(complaints) > 0 {
			t.Errorf("complaints: %q", complaints)
		}
	})
}
