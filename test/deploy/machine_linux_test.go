//go:build packages && !race

package deploy

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// debian makes a small Debian with systemd once, of the release of this machine, and returns an
// archive of it.
var debian = sync.OnceValues(func() (string, error) {
	archive, err := program.Path("bin/test/debian.tar")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	script := `. /etc/os-release && dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && mkdir -p "${1%/*}" &&
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,adduser "$VERSION_CODENAME" "$dir" && tar -C "$dir" -cf "$1.part" . && mv "$1.part" "$1"`
	if out, err := exec.Command("sh", "-c", script, "sh", archive).CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return archive, nil
})

// machine is a Debian whose systemd runs in namespaces of its own.
type machine struct {
	t    *testing.T
	root string
	pid  string // of its systemd
}

// startMachine boots a new Debian, which ends with the test.
func startMachine(t *testing.T) *machine {
	t.Helper()
	archive, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, root: t.TempDir()}
	if out, err := exec.Command("tar", "-C", m.root, "-xpf", archive).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if err := os.Chmod(m.root, 0o755); err != nil {
		t.Fatal(err)
	}
	cgroup := newCgroup(t)
	cmd := exec.Command(path(t, "test/deploy/boot.sh"), m.root, cgroup)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // and systemd with it (--kill-child), and all others with that
		cmd.Wait()
	})
	children := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "task", strconv.Itoa(cmd.Process.Pid), "children")
	gateway.Eventually(t, "systemd is there", func() bool {
		b, _ := os.ReadFile(children)
		m.pid = strings.TrimSpace(string(b))
		name, _ := os.ReadFile("/proc/" + m.pid + "/comm")
		return m.pid != "" && string(name) == "systemd\n"
	})
	gateway.Eventually(t, "the machine has booted", func() bool {
		out, _ := m.command("systemctl", "is-system-running").CombinedOutput()
		return string(out) == "running\n" || string(out) == "degraded\n"
	})
	return m
}

// newCgroup makes a folder of cgroup 2, which is removed after the test.
func newCgroup(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("findmnt", "-n", "-t", "cgroup2", "-o", "TARGET", "--first-only").Output()
	if err != nil {
		t.Fatalf("no cgroup 2: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "swarmgate-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gateway.Eventually(t, "the cgroup is empty", func() bool {
			var all []string
			filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					all = append(all, p)
				}
				return nil
			})
			for _, p := range slices.Backward(all) {
				os.Remove(p)
			}
			_, err := os.Stat(dir)
			return errors.Is(err, fs.ErrNotExist)
		})
	})
	return dir
}

// command returns a command that runs in the machine, as root.
func (m *machine) command(args ...string) *exec.Cmd {
	all := append([]string{
		"-t", m.pid, "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--root", "--wd",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
	}, args...)
	return exec.Command("nsenter", all...)
}

// run runs a command in the machine and returns what it prints.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// put copies a file of this machine to the folder /root of m, and returns its path there.
func (m *machine) put(file string) string {
	m.t.Helper()
	b, err := os.ReadFile(file)
	to := filepath.Join("/root", filepath.Base(file))
	if err := errors.Join(err, os.WriteFile(filepath.Join(m.root, to), b, 0o644)); err != nil {
		m.t.Fatal(err)
	}
	return to
}

// has reports whether there is a file in m.
func (m *machine) has(name string) bool {
	return m.command("test", "-e", name).Run() == nil
}

// service waits until the gateway is ready, and returns the process id of its service in m.
func (m *machine) service() string {
	m.t.Helper()
	var pid string
	gateway.Eventually(m.t, "the service is ready", func() bool {
		pid = strings.TrimSpace(m.run("systemctl", "show", "-P", "MainPID", "swarmgate"))
		out, _ := m.command("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/9090 && printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3 && cat <&3`).Output()
		return pid != "0" && strings.HasPrefix(string(out), "HTTP/1.1 200 ")
	})
	return pid
}

// url returns the gateway URL of the ready line of a process.
func (m *machine) url(pid string) string {
	m.t.Helper()
	var url string
	gateway.Eventually(m.t, "the ready line is in the journal", func() bool {
		log := m.run("journalctl", "--no-pager", "-o", "cat", "_PID="+pid)
		if found := regexp.MustCompile(`"url":"([^"]+)"`).FindStringSubmatch(log); found != nil {
			url = found[1]
		}
		return url != ""
	})
	return url
}
