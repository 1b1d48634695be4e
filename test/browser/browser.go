// Package browser drives Chromium and Firefox for tests: drive.mjs opens pages of this folder in a
// headless browser, and a [Page] calls the functions of its page. The other scripts are tests of
// their own, which [Script] finds.
//
// A browser takes longer to start than most tests take, so the tests of a package share one of
// each kind. What a test opens there shares nothing with the other tests but the browser's
// processes.
package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// Page is a tab of a headless browser, with a page of this folder.
type Page struct {
	Origin string // of all pages of this folder
	URL    string // of this page
	PID    int    // of the browser
	driver *driver
	tab    int
}

// shared has the browsers that the tests of a package share, by name, and whether one of them has
// ended by itself.
var shared struct {
	sync.Mutex
	drivers map[string]*driver
	ended   bool
}

// Main runs the tests of a package that calls [Start], and then closes the browsers that they have
// shared. It is for TestMain, and returns the status with which to exit.
//
// A browser that ends by itself, as Firefox was seen to, fails the tests that have a page in it,
// whatever is right with them. So if tests fail in such a run, it says nothing, and all of them run
// once more. A page that crashes does not end its browser.
func Main(m *testing.M) int {
	status := m.Run()
	if closeShared(); status != 0 && shared.ended {
		fmt.Fprintln(os.Stderr, "a browser has ended by itself: all tests run once more")
		status = m.Run()
		closeShared()
	}
	return status
}

// closeShared closes the browsers that the tests have shared.
func closeShared() {
	for name, d := range shared.drivers {
		shared.ended = shared.ended || d.ended()
		d.close()
		delete(shared.drivers, name)
	}
}

// Start opens a page in "chromium" or "firefox" until the test ends. The browser is there until
// the last test of the package has ended, so the package needs [Main].
func Start(t *testing.T, name, page string) *Page {
	t.Helper()
	return sharedDriver(t, name).open(t, page)
}

// sharedDriver returns the browser that the tests share, and starts one if there is none, or if it
// has ended by itself.
func sharedDriver(t *testing.T, name string) *driver {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if d := shared.drivers[name]; d != nil {
		if !d.ended() {
			return d
		}
		shared.ended = true
		d.close()
	}
	d, err := startDriver(exec.Command("node", Script(t, "drive.mjs"), name), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if shared.drivers == nil {
		shared.drivers = make(map[string]*driver)
	}
	shared.drivers[name] = d
	return d
}

// Drive opens a page until the test ends, in a browser of its own: cmd runs drive.mjs, for example
// in a network namespace.
func Drive(t *testing.T, cmd *exec.Cmd, page string) *Page {
	t.Helper()
	d, err := startDriver(cmd, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d.open(t, page)
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

// driver is a browser that runs, and the script that drives it. Its methods may be called at the
// same time.
type driver struct {
	cmd    *exec.Cmd
	origin string
	pid    int

	mu    sync.Mutex
	in    io.WriteCloser
	calls map[int]chan answer // by id; nil once the script has ended
	last  int                 // id
}

// answer is what the script says of a call.
type answer struct {
	ID     int
	Result json.RawMessage
	Error  string
}

// startDriver runs cmd, which is drive.mjs, until close. cmd is not of a test's context, which
// ends before the browser is closed.
func startDriver(cmd *exec.Cmd, stderr io.Writer) (*driver, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &driver{cmd: cmd, in: in, calls: make(map[int]chan answer)}
	lines := json.NewDecoder(bufio.NewReader(out))
	var ready struct {
		Origin string
		Pid    int
	}
	if err := lines.Decode(&ready); err != nil {
		d.close()
		return nil, fmt.Errorf("the browser's driver ended: %w", err)
	}
	d.origin, d.pid = ready.Origin, ready.Pid
	go d.read(lines)
	return d, nil
}

// read hands out answers until the script ends.
func (d *driver) read(lines *json.Decoder) {
	for {
		var a answer
		err := lines.Decode(&a)
		d.mu.Lock()
		if err != nil {
			for _, c := range d.calls {
				c <- answer{Error: fmt.Sprintf("the browser's driver ended: %v", err)}
			}
			d.calls = nil
			d.mu.Unlock()
			return
		}
		if c := d.calls[a.ID]; c != nil {
			c <- a
			delete(d.calls, a.ID)
		}
		d.mu.Unlock()
	}
}

// call asks the script for something, and returns where the answer comes.
func (d *driver) call(tab int, name string, args map[string]any) (<-chan answer, error) {
	if args == nil {
		args = map[string]any{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	line, err := json.Marshal(map[string]any{"id": d.last, "call": name, "args": args, "tab": tab})
	if err != nil {
		return nil, err
	}
	if d.calls == nil {
		return nil, errors.New("the browser's driver has ended")
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("the browser's driver: %w", err)
	}
	c := make(chan answer, 1)
	d.calls[d.last] = c
	return c, nil
}

// ended says whether the script has ended, as it does if the browser has.
func (d *driver) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls == nil
}

// close has the script close its browser, and waits for it.
func (d *driver) close() {
	d.in.Close()
	d.cmd.Wait()
}

// open opens a page until the test ends.
func (d *driver) open(t *testing.T, page string) *Page {
	t.Helper()
	b := &Page{Origin: d.origin, URL: d.origin + "/" + page, PID: d.pid, driver: d}
	tab := 0
	b.Call(t, "window", map[string]any{"page": page}, &tab)
	b.tab = tab
	t.Cleanup(func() { b.Call(t, "closeWindow", nil, nil) })
	return b
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
	c, err := b.driver.call(b.tab, name, args)
	if err != nil {
		t.Fatal(err)
	}
	return func(v any) {
		t.Helper()
		got := <-c
		if got.Error != "" {
			t.Fatalf("%s: %s", name, got.Error)
		}
		if v == nil {
			return
		}
		if err := json.Unmarshal(got.Result, v); err != nil {
			t.Fatal(err)
		}
	}
}
