//go:build !race

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// systemd takes the units, with the program in its place, and finds that it leaves a break-in
// little: the worst exposure is 10.
func TestUnit(t *testing.T) {
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path(t, "deploy/systemd/swarmgate.service"))
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/bin/swarmgate"
	unit := filepath.Join(t.TempDir(), "swarmgate.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), installed, binary)), 0o644); err != nil {
		t.Fatal(err)
	}
	sockets, err := os.ReadFile(path(t, "deploy/systemd/swarmgate.socket"))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(filepath.Dir(unit), "swarmgate.socket")
	if err := os.WriteFile(socket, sockets, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit, socket).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	const tenths = "20"
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+tenths, "--no-pager", unit).CombinedOutput(); err != nil {
		t.Errorf("the exposure is above %s tenths: %v\n%s", tenths, err, out)
	}
	for _, want := range []string{"\nRestart=always\n", "\nStartLimitIntervalSec=0\n", "\nTimeoutStopSec=50\n", "\nUser=swarmgate\n", " --config /etc/swarmgate/swarmgate.yaml\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the unit does not say %q", strings.TrimSpace(want))
		}
	}
}
