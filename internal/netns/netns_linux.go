package netns

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is a network namespace that lives as long as the test that made it. Its methods belong to the
// goroutine of the test.
type NS struct {
	name  string
	links int
}

// New makes a namespace with a loopback interface that is up. name is for people; no other
// namespace gets the same name in the system. When the test ends, processes that are left inside
// are killed.
func New(t testing.TB, name string) *NS {
	t.Helper()
	n := &NS{name: "swarmgate-" + name + "-" + rand.Text()[:8]}
	ip(t, "netns", "add", n.name)
	t.Cleanup(func() { n.remove(t) })
	n.IP(t, "link", "set", "lo", "up")
	// Addresses are ready at once, without the second that looking for duplicates takes.
	n.Sysctl(t, "net/ipv6/conf/all/accept_dad", "0")
	n.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	return n
}

// Sysctl sets a variable of the namespace, which is named by its path below /proc/sys.
func (n *NS) Sysctl(t testing.TB, path, value string) {
	t.Helper()
	n.Do(t, func() {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
			t.Fatalf("netns: %v", err)
		}
	})
}

// Open returns the namespace with the name that [NS.Name] gave in another process, such as the one
// that called [NS.Rerun]. It lives as long as the test there.
func Open(name string) *NS { return &NS{name: name} }

// Link joins a and b with a cable and gives its ends the addresses addrA and addrB (with prefix
// length, as "10.1.0.1/24"), or none if that is empty. It returns the names of the interfaces,
// which are veth0, veth1 and so on in each namespace. IPv6 link-local addresses come by
// themselves, a moment later: see [NS.AwaitLinkLocal].
func Link(t testing.TB, a *NS, addrA string, b *NS, addrB string) (devA, devB string) {
	t.Helper()
	devA, devB = a.nextDev(), b.nextDev()
	ip(t, "link", "add", "name", devA, "netns", a.name, "type", "veth", "peer", "name", devB, "netns", b.name)
	// A namespace lives on as long as a socket of it, but its cables must not.
	t.Cleanup(func() { _ = exec.Command("ip", "-n", a.name, "link", "del", devA).Run() })
	if addrA != "" {
		a.Addr(t, addrA, devA)
	}
	if addrB != "" {
		b.Addr(t, addrB, devB)
	}
	a.IP(t, "link", "set", devA, "up")
	b.IP(t, "link", "set", devB, "up")
	return devA, devB
}

// AwaitLinkLocal waits until the interface dev can send from an IPv6 link-local address.
func (n *NS) AwaitLinkLocal(t testing.TB, dev string) {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var list []byte
		var err error
		n.Do(t, func() { list, err = os.ReadFile("/proc/thread-self/net/if_inet6") })
		if err != nil {
			t.Fatalf("netns: %v", err)
		}
		for line := range strings.Lines(string(list)) { // address, index, prefix, scope, flags, device: all but the last in hex
			f := strings.Fields(line)
			if len(f) != 6 || f[5] != dev || !strings.HasPrefix(f[0], "fe80") {
				continue
			}
			if flags, err := strconv.ParseUint(f[4], 16, 32); err == nil && flags&unix.IFA_F_TENTATIVE == 0 {
				return
			}
		}
		if time.Now().After(late) {
			t.Fatalf("netns: %s of %s has no link-local address:\n%s", dev, n.name, list)
		}
	}
}

func (n *NS) nextDev() string {
	dev := "veth" + strconv.Itoa(n.links)
	n.links++
	return dev
}

// Name returns the name of the namespace in the system.
func (n *NS) Name() string { return n.name }

// Addr gives the interface dev a further address with prefix length.
func (n *NS) Addr(t testing.TB, cidr, dev string) {
	t.Helper()
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	args := []string{"addr", "add", cidr, "dev", dev}
	if p.Addr().Is6() {
		args = append(args, "nodad")
	}
	n.IP(t, args...)
}

// IP runs the ip command with args on the namespace.
func (n *NS) IP(t testing.TB, args ...string) {
	t.Helper()
	ip(t, append([]string{"-n", n.name}, args...)...)
}

// Command returns a command that runs inside the namespace. It is killed when ctx ends; the caller
// starts it and waits.
func (n *NS) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.name, name}, args...)...)
	cmd.WaitDelay = 5 * time.Second // for children that keep the output open
	return cmd
}

// Do runs f inside the namespace. That holds for system calls of f itself: a socket that f makes
// stays inside. Goroutines that f starts, and the resolver, run outside. f may end the test.
func (n *NS) Do(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	defer outside.Close()
	inside, err := os.Open(filepath.Join("/run/netns", n.name))
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	defer inside.Close()
	if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatalf("netns: enter: %v", err)
	}
	defer func() {
		if err := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("netns: leave: %v", err) // the thread stays locked, and ends with its goroutine
			return
		}
		runtime.UnlockOSThread()
	}()
	f()
}

// rerunEnv is set in the processes of [NS.Rerun]. It does not begin as the variables of the gateway
// do, which would say in its log that it ignores this one.
const rerunEnv = "TEST_NETNS"

// Inside reports whether this process is one that [NS.Rerun] started.
func Inside() bool { return os.Getenv(rerunEnv) != "" }

// Rerun runs the calling test once more in a process inside the namespace, where [Inside] is true,
// and takes over its result. env are further variables ("KEY=value") for that process.
func (n *NS) Rerun(t *testing.T, env ...string) {
	t.Helper()
	cmd := n.Command(t.Context(), os.Args[0], "-test.run="+pattern(t.Name()), "-test.v", "-test.timeout=5m")
	cmd.Env = append(append(os.Environ(), rerunEnv+"="+n.name), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")) {
		t.Fatalf("netns: inside %s: %v\n%s", n.name, err, out)
	}
}

// pattern returns the -test.run pattern that matches name alone.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + p + "$"
	}
	return strings.Join(parts, "/")
}

// remove kills processes that are left inside, and deletes the namespace.
func (n *NS) remove(t testing.TB) {
	out, err := exec.Command("ip", "netns", "pids", n.name).Output()
	if err != nil {
		t.Errorf("netns: processes of %s: %v", n.name, err)
	}
	for _, s := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(s); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
	if out, err := exec.Command("ip", "netns", "del", n.name).CombinedOutput(); err != nil {
		t.Errorf("netns: delete %s: %v: %s", n.name, err, out)
	}
}

// ip runs the ip command, and ends the test if it fails.
func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("netns: ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
