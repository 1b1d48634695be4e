package netns

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// AvahiDaemon is a bus and an avahi-daemon of its own in a namespace, until the test ends.
type AvahiDaemon struct {
	Env []string // of avahi's other programs there

	t         testing.TB
	ns        *NS
	dir, conf string
	cmd       *exec.Cmd
}

// Avahi is [StartAvahi] for a daemon that stays. It returns the environment for avahi's other
// programs there.
func Avahi(t testing.TB, ns *NS) []string {
	t.Helper()
	return StartAvahi(t, ns).Env
}

// StartAvahi runs an avahi-daemon in ns, on the cable's end veth0.
func StartAvahi(t testing.TB, ns *NS) *AvahiDaemon {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bus := write("bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=`+dir+`/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_type="method_return"/><allow send_type="error"/><allow receive_type="method_call"/>
    <allow receive_type="signal"/><allow receive_type="method_return"/><allow receive_type="error"/>
  </policy>
</busconfig>
`)
	conf := write("avahi.conf", "[server]\nhost-name=there\nuse-ipv4=yes\nuse-ipv6=yes\nallow-interfaces=veth0\n[wide-area]\nenable-wide-area=no\n")
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	a := &AvahiDaemon{Env: append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+dir+"/bus"), t: t, ns: ns, dir: dir, conf: conf}
	Daemon(t, ns.Command(t.Context(), "dbus-daemon", "--config-file="+bus, "--nofork", "--print-address"), "unix:path=")
	a.Start()
	return a
}

// Kill ends the daemon with SIGKILL, so that it sends no goodbye.
func (a *AvahiDaemon) Kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

// Start starts the daemon once more, after [AvahiDaemon.Kill].
func (a *AvahiDaemon) Start() {
	a.t.Helper()
	a.cmd = a.ns.Command(a.t.Context(), "unshare", "-m", "sh", "-c",
		`mount --bind "$0/run" /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "$1"`, a.dir, a.conf)
	a.cmd.Env = a.Env
	Daemon(a.t, a.cmd, "Server startup complete")
}

// Daemon starts cmd and waits until it prints ready. It is stopped by the returned function, or at
// the end of the test.
func Daemon(t testing.TB, cmd *exec.Cmd, ready string) (stop func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	isReady, ended := make(chan struct{}), make(chan struct{})
	var output bytes.Buffer // read once ended is closed
	go func() {
		defer close(ended)
		defer r.Close()
		once := false
		for lines := bufio.NewScanner(r); lines.Scan(); {
			fmt.Fprintln(&output, lines.Text())
			if !once && strings.Contains(lines.Text(), ready) {
				once = true
				close(isReady)
			}
		}
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM) // SIGINT is ignored by what a shell runs in the background
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	select {
	case <-isReady:
	case <-ended:
		t.Fatalf("%s ended:\n%s", cmd, output.String())
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready", cmd)
	}
	return stop
}
