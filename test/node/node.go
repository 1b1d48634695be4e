// Package node runs scripts of test/dat in Node for tests: peers of the old world.
//
// A script prints JSON values, a line each, of which the field event says what they are about. It
// reads commands in the same form, and ends when its input does. Other output goes to the log of
// the test.
package node

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
)

// Script is a running script. It belongs to the goroutine of its test.
type Script struct {
	t     *testing.T
	name  string
	in    io.WriteCloser
	lines chan Line // closed when the output has ended

	// Kill ends the process at once, and waits for it. It may be called more than once.
	Kill func()
}

// Line is a line that a script printed.
type Line struct {
	Event string
	JSON  []byte // all of it
}

// Start runs a script until the test ends or it is killed.
func Start(t *testing.T, script string, args ...string) *Script {
	t.Helper()
	return start(t, script, exec.Command("node", append([]string{path(t, script)}, args...)...))
}

// StartIn is [Start] in a network namespace.
func StartIn(t *testing.T, ns *netns.NS, script string, args ...string) *Script {
	t.Helper()
	return start(t, script, ns.Command(t.Context(), "node", append([]string{path(t, script)}, args...)...))
}

// path returns where a script of test/dat is.
func path(t *testing.T, script string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		file := filepath.Join(dir, "test", "dat", script)
		if _, err := os.Stat(file); err == nil {
			return file
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatalf("no script %s in test/dat", script)
		}
		dir = up
	}
}

func start(t *testing.T, name string, cmd *exec.Cmd) *Script {
	t.Helper()
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &Script{t: t, name: name, in: in, lines: make(chan Line, 4096)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			l := Line{JSON: append([]byte(nil), lines.Bytes()...)}
			if json.Unmarshal(l.JSON, &l) != nil {
				t.Logf("%s: %s", name, l.JSON)
				continue
			}
			select {
			case s.lines <- l:
			default: // nobody wants so many
			}
		}
	}()
	s.Kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	t.Cleanup(s.Kill)
	return s
}

// Do gives the script a command, which is written as JSON.
func (s *Script) Do(command any) {
	s.t.Helper()
	line, err := json.Marshal(command)
	if err == nil {
		_, err = s.in.Write(append(line, '\n'))
	}
	if err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
}

// Await returns the next line with the event, after it has read it into v unless that is nil. It
// drops the lines before.
func (s *Script) Await(event string, v any) Line {
	s.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case l, ok := <-s.lines:
			switch {
			case !ok:
				s.t.Fatalf("%s has ended without %q", s.name, event)
			case l.Event != event:
			case v == nil:
				return l
			default:
				if err := json.Unmarshal(l.JSON, v); err != nil {
					s.t.Fatalf("%s said %s: %v", s.name, l.JSON, err)
				}
				return l
			}
		case <-late:
			s.t.Fatalf("%s does not say %q", s.name, event)
		}
	}
}

// Next returns the next line, and false if there is none within wait or the output has ended.
func (s *Script) Next(wait time.Duration) (Line, bool) {
	select {
	case l, ok := <-s.lines:
		return l, ok
	case <-time.After(wait):
		return Line{}, false
	}
}

// Rest ends the script's input, waits until the script has ended, and returns what it has said
// since the last line that was read.
func (s *Script) Rest() (rest []Line) {
	s.t.Helper()
	s.in.Close()
	for late := time.After(time.Minute); ; {
		select {
		case l, ok := <-s.lines:
			if !ok {
				return rest
			}
			rest = append(rest, l)
		case <-late:
			s.t.Fatalf("%s does not end", s.name)
		}
	}
}
