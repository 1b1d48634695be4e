//go:build !race

package test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
)

// browser is a tab of a headless browser, with a page of test/browser. Its tabs take turns: one call at a time.
type browser struct {
	origin string
	pid    int
	tab    int
	in     io.Writer
	out    *bufio.Scanner
}

// startBrowser opens a page in "chromium" or "firefox" until the test ends.
func startBrowser(t *testing.T, name, page string) *browser {
	t.Helper()
	if _, err := os.Stat("browser/node_modules"); err != nil {
		t.Fatalf("the browsers' driver is not installed: run test/deps.sh (%v)", err)
	}
	return driveBrowser(t, exec.Command("node", "browser/drive.mjs", name, page)) // not of the test's context, which ends before the browser is closed
}

// driveBrowser is startBrowser by the command of the driver.
func driveBrowser(t *testing.T, cmd *exec.Cmd) *browser {
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
	b := &browser{in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close() // the driver closes its browser
		cmd.Wait()
	})
	var ready struct {
		Origin string
		Pid    int
	}
	b.read(t, &ready)
	b.origin, b.pid = ready.Origin, ready.Pid
	return b
}

func (b *browser) read(t *testing.T, v any) {
	t.Helper()
	if !b.out.Scan() {
		t.Fatalf("the browser's driver ended: %v", b.out.Err())
	}
	if err := json.Unmarshal(b.out.Bytes(), v); err != nil {
		t.Fatalf("%s: %v", b.out.Bytes(), err)
	}
}

// another opens the page once more, in a tab of its own.
func (b *browser) another(t *testing.T) *browser {
	t.Helper()
	other := *b
	b.call(t, "tab", nil, &other.tab)
	return &other
}

// call calls a function of the page, and reads its result into v unless that is nil.
func (b *browser) call(t *testing.T, name string, args map[string]any, v any) {
	t.Helper()
	b.begin(t, name, args)(v)
}

// begin calls a function of the page. What it returns waits for the result and reads it into v unless that is nil.
func (b *browser) begin(t *testing.T, name string, args map[string]any) (wait func(v any)) {
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
