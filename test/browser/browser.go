// Package browser drives Chromium and Firefox for tests: drive.mjs opens a page of this folder in a
// headless browser, and a [Page] calls the functions of that page. The other scripts are tests of
// their own, which [Script] finds.
package browser

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// Page is a tab of a headless browser, with a page of this folder. The tabs of a browser take
// turns: one call at a time.
type Page struct {
	Origin string
	PID    int
	tab    int
	in     io.Writer
	out    *bufio.Scanner
}

// Start opens a page in "chromium" or "firefox" until the test ends.
func Start(t *testing.T, name, page string) *Page {
	t.Helper()
	// Not of the test's context, which ends before the browser is closed.
	return Drive(t, exec.Command("node", Script(t, "drive.mjs"), name, page))
}

// Script returns the path of a script of this folder, for node to run.
func Script(t *testing.T, name string) string {
	t.Helper()
	dir, err := program.Path("test/browser")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatalf("the browsers' driver is not installed: run test/deps.sh (%v)", err)
	}
	return filepath.Join(dir, name)
}

// Drive is [Start] with the command that runs the driver, for example in a network namespace.
func Drive(t *testing.T, cmd *exec.Cmd) *Page {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &Page{in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close() // the driver closes its browser
		cmd.Wait()
	})
	var ready struct {
		Origin string
		Pid    int
	}
	b.read(t, &ready)
	b.Origin, b.PID = ready.Origin, ready.Pid
	return b
}

func (b *Page) read(t *testing.T, v any) {
	t.Helper()
	if !b.out.Scan() {
		t.Fatalf("the browser's driver ended: %v", b.out.Err())
	}
	if err := json.Unmarshal(b.out.Bytes(), v); err != nil {
		t.Fatalf("%s: %v", b.out.Bytes(), err)
	}
}

// Another opens the page once more, in a tab of its own.
func (b *Page) Another(t *testing.T) *Page {
	t.Helper()
	other := *b
	b.Call(t, "tab", nil, &other.tab)
	return &other
}

// Call calls a function of the page, and reads its result into v unless that is nil.
func (b *Page) Call(t *testing.T, name string, args map[string]any, v any) {
	t.Helper()
	b.Begin(t, name, args)(v)
}

// Begin calls a function of the page. The returned function waits for the result, and reads it
// into v unless that is nil.
func (b *Page) Begin(t *testing.T, name string, args map[string]any) (wait func(v any)) {
	t.Helper()
	if args == nil {
		args = map[string]any{}
	}
	line, err := json.Marshal(map[string]any{"call": name, "args": args, "tab": b.tab})
	if err != nil {
		t.Fatal(err)
	}
	b.in.Write(append(line, '\n'))
	return func(v any) {
		t.Helper()
		var answer struct {
			Result json.RawMessage
			Error  string
		}
		b.read(t, &answer)
		if answer.Error != "" {
			t.Fatalf("%s: %s", name, answer.Error)
		}
		if v == nil {
			return
		}
		if err := json.Unmarshal(answer.Result, v); err != nil {
			t.Fatal(err)
		}
	}
}
