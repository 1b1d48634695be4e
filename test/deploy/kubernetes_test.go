//go:build packages && !race

package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Kubernetes' own types take the manifest, and not one with a field that they do not know.
func TestKubernetesTakesTheManifest(t *testing.T) {
	manifest, err := os.ReadFile(path(t, "deploy/kubernetes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	take := func(manifest string) (objects int, err error) {
		cmd := exec.Command("go", "run", ".")
		cmd.Dir, cmd.Stdin, cmd.Stderr = path(t, "test/deploy/kubernetes"), strings.NewReader(manifest), t.Output()
		out, err := cmd.Output()
		return bytes.Count(out, []byte("\n")), err
	}
	if n, err := take(string(manifest)); err != nil || n != 4 {
		t.Errorf("%d objects, %v", n, err)
	}
	wrong := strings.Replace(string(manifest), "readOnlyRootFilesystem", "readOnlyRootFileSystem", 1)
	if _, err := take(wrong); err == nil {
		t.Error("a misspelt field is taken")
	}
}
