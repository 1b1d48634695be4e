//go:build packages && !race

package deploy

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

var dist = flag.String("dist", "", "the folder of a release of version 1.0.0; without it one is made")

// released makes a release for this platform once, version 1.0.0, and returns its folder.
var released = sync.OnceValues(func() (string, error) {
	if *dist != "" {
		return *dist, nil
	}
	root, err := program.Path("")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "test", "release")
	cmd := exec.Command("go", "run", "./packaging/release", "-version", "1.0.0", "-only", "linux/"+runtime.GOARCH, "-out", dir)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	return dir, cmd.Run()
})

// unpacked returns a folder with what the archive for Linux holds.
func unpacked(t *testing.T) string {
	t.Helper()
	dist, err := released()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := "swarmgate_1.0.0_linux_" + runtime.GOARCH
	if out, err := exec.Command("tar", "-C", dir, "-xzf", filepath.Join(dist, name+".tar.gz")).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return filepath.Join(dir, name)
}

// newer makes Debian packages of version 1.0.1 with the programs of the release, and returns their
// folder.
func newer(t *testing.T) string {
	t.Helper()
	from, binaries, out := unpacked(t), t.TempDir(), t.TempDir()
	for _, name := range []string{"swarmgate", "swarm", "sbom/swarmgate.cdx.json", "sbom/swarm.cdx.json"} {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(binaries, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("packaging/deb/build.sh", "1.0.1", runtime.GOARCH, binaries, filepath.Join(from, "man"), out)
	cmd.Dir, cmd.Env = path(t, ""), append(os.Environ(), "SOURCE_DATE_EPOCH=1767225600")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, text)
	}
	return out
}

// talk has two clients of the gateway in m meet on a topic, and fails unless each hears the other.
func (m *machine) talk(url string) {
	m.t.Helper()
	said := make(chan string, 2)
	for _, word := range []string{"ping", "pong"} {
		go func() {
			out, err := m.command("sh", "-c", `echo "$1" | timeout 60 swarm join packages --gateway "$2" --once 2>/dev/null`, "sh", word, url).Output()
			if err != nil {
				out = append(out, err.Error()...)
			}
			said <- strings.TrimSpace(string(out))
		}()
	}
	if a, b := <-said, <-said; a+b != "pingpong" && a+b != "pongping" {
		m.t.Errorf("the clients heard %q and %q", a, b)
	}
}

// The packages install, start, come back after a crash, upgrade and purge on a Debian that has
// never heard of them, under its own systemd, as a user who may only use low ports. An upgrade
// keeps what the operator changed and who the gateway is.
func TestDebianPackage(t *testing.T) {
	dist, err := released()
	if err != nil {
		t.Fatal(err)
	}
	m := startMachine(t)
	version := func(dir, version string) []string {
		var files []string
		for _, name := range []string{"swarmgate", "swarmgate-client"} {
			files = append(files, m.put(filepath.Join(dir, name+"_"+version+"_"+runtime.GOARCH+".deb")))
		}
		return files
	}
	m.run(append([]string{"dpkg", "-i"}, version(dist, "1.0.0")...)...)
	pid := m.service()
	if out := m.run("dpkg", "--verify", "swarmgate", "swarmgate-client"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	if out := m.run("swarmgate", "--version"); out != "swarmgate v1.0.0\n" {
		t.Errorf("the version is %q", out)
	}
	// Scanners look up the version of Go's library too, whose faults are those of the program.
	for _, name := range []string{"swarmgate/swarmgate", "swarmgate-client/swarm"} {
		if list := m.run("cat", "/usr/share/doc/"+name+".cdx.json"); !strings.Contains(list, `"pkg:golang/std@go`) || !strings.Contains(list, `"pkg:golang/github.com/quic-go/quic-go@`) {
			t.Errorf("%s.cdx.json does not name Go and the modules of the program", name)
		}
	}
	m.run("sh", "-c", "test $(systemctl is-enabled swarmgate) = enabled && test -s /usr/share/man/man8/swarmgate.8.gz && test -s /usr/share/man/man1/swarm.1.gz")
	uid := strings.TrimSpace(m.run("id", "-u", "swarmgate"))
	status := m.run("cat", "/proc/"+pid+"/status")
	for _, want := range []string{"Uid:\t" + uid + "\t", "CapBnd:\t0000000000000400\n", "CapEff:\t0000000000000400\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process has not %q:\n%s", want, status)
		}
	}
	if out := m.run("stat", "-c", "%a %U", "/var/lib/swarmgate"); out != "700 swarmgate\n" {
		t.Errorf("the state is of %s", out)
	}
	url := m.url(pid)
	m.talk(url)

	// A crash.
	m.run("bash", "-c", "kill -KILL "+pid)
	gateway.Eventually(t, "the service is started again", func() bool {
		now := strings.TrimSpace(m.run("systemctl", "show", "-P", "MainPID", "swarmgate"))
		return now != "0" && now != pid
	})
	if again := m.url(m.service()); again != url {
		t.Errorf("after a crash the gateway is %s, want %s", again, url)
	}

	// The operator changes the configuration; an upgrade keeps that, and the state.
	m.run("sed", "-i", `s/127.0.0.1:4433/127.0.0.1:443/`, "/etc/swarmgate/swarmgate.yaml")
	pid = m.service()
	m.run(append([]string{"dpkg", "-i"}, version(newer(t), "1.0.1")...)...)
	gateway.Eventually(t, "the upgrade restarts the service", func() bool { return m.service() != pid })
	hash := regexp.MustCompile(`h=[0-9a-f]+`)
	now := m.url(m.service())
	if !strings.HasPrefix(now, "swarmgate://127.0.0.1:443/") && !strings.HasPrefix(now, "swarmgate://127.0.0.1/") || hash.FindString(now) != hash.FindString(url) {
		t.Errorf("after the upgrade the gateway is %s, want that of %s at port 443", now, url)
	}
	m.talk(now)

	// A mistake in the configuration is in the log, and a mended file is taken without a word.
	m.run("sed", "-i", "s/^dht:/dth:/", "/etc/swarmgate/swarmgate.yaml")
	if m.command("systemctl", "restart", "swarmgate").Run() == nil {
		t.Error("systemctl restart says that a gateway with a wrong configuration runs")
	}
	if log := m.run("journalctl", "--no-pager", "-o", "cat", "-u", "swarmgate", "-n", "20"); !strings.Contains(log, "dth") {
		t.Errorf("the log does not name the mistake:\n%s", log)
	}
	m.run("sed", "-i", "s/^dth:/dht:/", "/etc/swarmgate/swarmgate.yaml")
	pid = m.service()
	if mended := m.url(pid); mended != now {
		t.Errorf("the mended gateway is %s, want %s", mended, now)
	}
	m.run("systemctl", "reload", "swarmgate")
	if again := m.service(); again != pid {
		t.Error("a reload has ended the gateway")
	}

	m.restartsBySocket()

	// Removed it has ended, and the operator's files are there; purged there is nothing.
	m.run("dpkg", "-r", "swarmgate")
	if out, _ := m.command("systemctl", "is-active", "swarmgate").Output(); string(out) != "inactive\n" {
		t.Errorf("the removed service is %s", out)
	}
	if out, _ := m.command("systemctl", "is-active", "swarmgate.socket").Output(); string(out) == "active\n" {
		t.Error("systemd has sockets for the removed service")
	}
	if !m.has("/etc/swarmgate/swarmgate.yaml") || !m.has("/var/lib/swarmgate/pinned.pem") || m.has("/usr/bin/swarmgate") {
		t.Error("the removed package has not left its configuration and state, and nothing else")
	}
	m.run("dpkg", "-P", "swarmgate", "swarmgate-client")
	left := m.run("sh", "-c", "find / -xdev -path /proc -prune -o -path /root -prune -o -name '*swarm*' -print; dpkg -l | grep swarm || true")
	if left != "" {
		t.Errorf("the purged packages have left\n%s", left)
	}
}

// restartsBySocket has systemd hold the sockets, as swarmgate.socket says, and restarts the service
// while clients come: none of them is refused.
func (m *machine) restartsBySocket() {
	m.t.Helper()
	m.run("sh", "-c", "echo 'drain: 2s' >>/etc/swarmgate/swarmgate.yaml")
	m.run("sh", "-c", "systemctl stop swarmgate && systemctl enable --now swarmgate.socket && systemctl start swarmgate")
	pid := m.service()
	url := m.url(pid)
	if port := regexp.MustCompile(`^swarmgate://127\.0\.0\.1(:443)?/`); !port.MatchString(url) {
		m.t.Errorf("the gateway is %s, want port 443 of the unit", url)
	}
	// Two clients with a circuit, so that each drain lasts.
	for range 2 {
		stays := m.command("sh", "-c", `sleep 600 | swarm join stays --gateway "$1" >/dev/null 2>&1`, "sh", url)
		if err := stays.Start(); err != nil {
			m.t.Fatal(err)
		}
		defer stays.Wait()
		defer stays.Process.Kill()
	}
	came := make(map[string]string) // by transport, the file with a line for each session
	var comers sync.WaitGroup
	for _, transport := range []string{"quic", "websocket"} {
		came[transport] = "/run/came-" + transport
		comers.Go(func() {
			out, err := m.command("sh", "-c", `until test -e /run/enough; do
				swarm status --gateway "$1" --transport "$2" >/dev/null || exit
				echo >>"$3"
			done`, "sh", url, transport, came[transport]).CombinedOutput()
			if err != nil {
				m.t.Errorf("a client over %s was refused: %v\n%s", transport, err, out)
			}
		})
	}
	defer comers.Wait()
	defer m.run("touch", "/run/enough")
	count := func(transport string) string {
		out, _ := m.command("wc", "-l", came[transport]).Output()
		return string(out)
	}
	for range 3 {
		before := [...]string{count("quic"), count("websocket")}
		m.run("systemctl", "restart", "swarmgate")
		gateway.Eventually(m.t, "clients come again", func() bool {
			return m.t.Failed() || count("quic") != before[0] && count("websocket") != before[1]
		})
	}
	if again := m.service(); again == pid {
		m.t.Error("the service was not restarted")
	}
	m.t.Logf("sessions: %s%s", count("quic"), count("websocket"))
}
