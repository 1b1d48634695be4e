// Package program builds and runs cmd/server and cmd/swarm for tests, whose folders are those of
// this repository. Start runs a gateway until the test ends.
package program

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Path returns the absolute path of a file of the repository, whose name is relative to its root.
func Path(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, name), nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("program: the test does not run in a folder of the repository")
		}
		dir = up
	}
}

// BuildServer and BuildSwarm build cmd/server and cmd/swarm, and BuildPebble an authority that
// speaks ACME. They return where the binaries are.
var (
	BuildServer = sync.OnceValues(func() (binary string, err error) { return Build("./cmd/server") })
	BuildSwarm  = sync.OnceValues(func() (binary string, err error) { return Build("./cmd/swarm") })
	BuildPebble = sync.OnceValues(func() (binary string, err error) {
		return build("test/pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble")
	})
)

// Build builds a program of the repository, for example "./cmd/server". All packages of tests share
// the binary, which the go command leaves alone if it is up to date: it is linked once.
func Build(pkg string) (binary string, err error) { return build("", pkg) }

// build is Build in the module in a folder of the repository.
func build(module, pkg string) (binary string, err error) {
	root, err := Path("")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	binary = filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", binary, pkg)
	cmd.Dir = filepath.Join(root, module)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// Program is a running cmd/server, with the contents of its ready line.
type Program struct {
	QUIC        string // host:port
	Info        string // URL of the info document
	Certificate struct{ Hashes []string }
	Admin       string // URL of the operators' listener
	P2P         struct {
		ID    string
		Addrs []string
	}

	pid  int           `json:"-"`
	out  *bufio.Reader // what follows the ready line
	Kill func()        `json:"-"` // it may be called more than once
	wait func() error  `json:"-"` // the same, after all of out was read
}

// PID returns the id of the process.
func (p *Program) PID() int { return p.pid }

// Start runs cmd/server until the test ends or it is killed.
func Start(t *testing.T, args ...string) *Program {
	t.Helper()
	return StartIn(t, "", args...)
}

// StartIn is [Start] in a cgroup, which is a directory, or "" for the cgroup of the test.
func StartIn(t *testing.T, cgroup string, args ...string) *Program {
	t.Helper()
	binary, err := BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	if cgroup != "" {
		enter := []string{"-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(cgroup, "cgroup.procs"), binary}
		cmd = exec.Command("sh", append(enter, args...)...)
	}
	return StartCommand(t, cmd)
}

// StartCommand is [Start] with a command, for example one that runs in a network namespace. The
// program logs to the log of the test, unless the command has a Stderr.
func StartCommand(t *testing.T, cmd *exec.Cmd) *Program {
	t.Helper()
	if cmd.Stderr == nil {
		cmd.Stderr = t.Output()
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Program{pid: cmd.Process.Pid, out: bufio.NewReader(out), wait: sync.OnceValue(cmd.Wait)}
	p.Kill = func() {
		cmd.Process.Kill()
		p.wait()
	}
	t.Cleanup(p.Kill)
	line, err := p.out.ReadBytes('\n')
	if err := errors.Join(err, json.Unmarshal(line, p)); err != nil {
		t.Fatalf("the ready line is %q: %v", line, err)
	}
	return p
}

// StartDemo runs a demo on ephemeral ports, and returns the address of its console. The demo's own
// client has left by then.
func StartDemo(t *testing.T, args ...string) (p *Program, console string) {
	t.Helper()
	p = Start(t, append([]string{"--demo", "--no-lan", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0"}, args...)...)
	return p, p.awaitLine(t, regexp.MustCompile(`^  (http://127\.0\.0\.1:\d+/\?echo)\n$`))
}

// awaitLine returns the first group of the first line of p's output that matches.
func (p *Program) awaitLine(t *testing.T, pattern *regexp.Regexp) string {
	t.Helper()
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the program ended without a line like %v: %v", pattern, err)
		}
		if m := pattern.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
}

// Terminate sends SIGTERM, waits until p has ended, and reports an error unless it ended cleanly.
func (p *Program) Terminate(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(p.out); err != nil || len(rest) > 0 {
		t.Errorf("it printed %q at its end, %v", rest, err)
	}
	if err := p.wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// Peak returns the most memory that p has had, in bytes.
func (p *Program) Peak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// CPU returns the processor time that p has used.
func (p *Program) CPU(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// Swarm returns a function that runs cmd/swarm with an input, and returns what it prints.
func Swarm(t *testing.T) func(stdin string, args ...string) string {
	t.Helper()
	binary, err := BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	return func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("swarm %q: %v\n%s", args, err, errs.String())
		}
		return strings.TrimSpace(string(out))
	}
}
