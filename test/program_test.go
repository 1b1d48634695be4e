//go:build !race

package test

import (
	"bufio"
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
)

// scratch is a folder of this run of the tests.
var scratch string

// scratchEnv has that folder for a process that a test starts as [netns.NS.Rerun] does.
const scratchEnv = "SWARMGATE_TEST_SCRATCH"

func TestMain(m *testing.M) {
	if scratch = os.Getenv(scratchEnv); scratch != "" {
		m.Run()
		return
	}
	var err error
	if scratch, err = os.MkdirTemp("", "swarmgate-test-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(scratch)
	m.Run()
}

// buildServer and buildSwarm build cmd/server and cmd/swarm, once for all tests.
var (
	buildServer = sync.OnceValues(func() (binary string, err error) { return build("server") })
	buildSwarm  = sync.OnceValues(func() (binary string, err error) { return build("swarm") })
)

// build builds a program of cmd, unless it is there.
func build(name string) (binary string, err error) {
	binary = filepath.Join(scratch, name)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	build := exec.Command("go", "build", "-o", binary, "./cmd/"+name)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// program is a running cmd/server, and what its ready line says.
type program struct {
	QUIC        string // host:port
	Info        string // URL of the info document
	Certificate struct{ Hashes []string }
	Admin       string // URL of the operators' listener
	P2P         struct {
		ID    string
		Addrs []string
	}

	pid  int
	out  *bufio.Reader // what follows the ready line
	kill func()        // it may be called more than once
	wait func() error  // the same, after all of out was read
}

// startServer runs cmd/server until the test ends or it is killed.
func startServer(t *testing.T, args ...string) *program {
	t.Helper()
	return startServerIn(t, "", args...)
}

// startServerIn is startServer in a cgroup, which is a directory, or "" for that of the test.
func startServerIn(t *testing.T, cgroup string, args ...string) *program {
	t.Helper()
	binary, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	if cgroup != "" {
		enter := []string{"-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(cgroup, "cgroup.procs"), binary}
		cmd = exec.Command("sh", append(enter, args...)...)
	}
	return startProgram(t, cmd)
}

// startProgram is startServer by a command. Its log goes to that of the test, unless the command
// says where.
func startProgram(t *testing.T, cmd *exec.Cmd) *program {
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
	p := &program{pid: cmd.Process.Pid, out: bufio.NewReader(out), wait: sync.OnceValue(cmd.Wait)}
	p.kill = func() {
		cmd.Process.Kill()
		p.wait()
	}
	t.Cleanup(p.kill)
	line, err := p.out.ReadBytes('\n')
	if err := errors.Join(err, json.Unmarshal(line, p)); err != nil {
		t.Fatalf("the ready line is %q: %v", line, err)
	}
	return p
}

// startDemo runs a demo on ephemeral ports, and returns the address of its console. Its own client is gone by then.
func startDemo(t *testing.T, args ...string) (p *program, console string) {
	t.Helper()
	p = startServer(t, append([]string{"--demo", "--no-lan", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0"}, args...)...)
	return p, p.awaitLine(t, regexp.MustCompile(`^  (http://127\.0\.0\.1:\d+/\?echo)\n$`))
}

// awaitLine returns the first group of the first line of p's output that matches.
func (p *program) awaitLine(t *testing.T, pattern *regexp.Regexp) string {
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

// terminate ends p kindly, and waits until it has ended.
func (p *program) terminate(t *testing.T) {
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

// peak returns how much memory p has had at most.
func (p *program) peak(t *testing.T) int64 {
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
