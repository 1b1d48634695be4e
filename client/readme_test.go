package client_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The snippets of README's Go part compile as they are, with nothing but ctx and an earlier c: one
// of them used a peer that nobody had defined.
func TestReadmeSnippets(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(readme), "\n**From Go**")
	part, _, _ = strings.Cut(part, "\n**From a shell**")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(part, -1)
	if len(blocks) != 4 {
		t.Fatalf("%d snippets, want a client, a web server and its client, and a secret room", len(blocks))
	}
	var funcs, imports strings.Builder
	for i, block := range blocks {
		code := block[1]
		if m := regexp.MustCompile(`(?s)^import \(.*?\n\)\n`).FindString(code); m != "" {
			imports.WriteString(m)
			code = strings.TrimPrefix(code, m)
		}
		for _, name := range []string{"resp", "browser"} { // what a program goes on with
			if regexp.MustCompile(`\b` + name + `\b.*:=`).MatchString(code) {
				code += "_ = " + name + "\n"
			}
		}
		fmt.Fprintf(&funcs, "func _%d(ctx context.Context, c *client.Client) error {\n%s\nreturn nil\n}\n", i, code)
	}
	source := "package snippets\nimport (\n\"context\"\n\"fmt\"\n\"io\"\n\"net/http\"\n\"os\"\n\"time\"\n\"github.com/swarmgate/swarmgate/client/secret\"\n)\n" + imports.String() + funcs.String()
	dir := t.TempDir()
	file, overlay := filepath.Join(dir, "snippets.go"), filepath.Join(dir, "overlay.json")
	there, err := filepath.Abs("snippets/snippets.go") // where the module's imports are known
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{there: file}})
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{file: []byte(source), overlay: replace} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "./snippets").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, source)
	}
}
