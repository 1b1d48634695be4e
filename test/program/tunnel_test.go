package program

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// terminal is what a program printed.
type terminal struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (s *terminal) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *terminal) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// startSSHD runs sshd on loopback until the test ends, and returns its address and the client's
// key.
func startSSHD(t *testing.T) (address, key string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"host", "client"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v, %s", err, out)
		}
	}
	address = freeport.Address(t)
	config := filepath.Join(dir, "config")
	text := fmt.Sprintf("ListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/client.pub\nPidFile none\nStrictModes no\n"+
		"UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPrintMotd no\n", address, dir, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	var log terminal
	sshd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", config)
	sshd.Stderr = &log
	if err := sshd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sshd.Process.Kill()
		_ = sshd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	gateway.Eventually(t, "sshd", func() bool { return strings.Contains(log.String(), "Server listening") })
	return address, filepath.Join(dir, "client")
}

// startSwarm runs swarm until the test ends, and returns what it prints.
func startSwarm(t *testing.T, g *gateway.Gateway, args ...string) *terminal {
	t.Helper()
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	var out terminal
	cmd := exec.Command(binary, append(args, "--gateway", g.URL, "--cert-hash", fmt.Sprintf("%x", g.Hash))...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("swarm %q printed\n%s", args, out.String())
		}
	})
	return &out
}

// tunnel runs swarm forward to address at one gateway and swarm listen at another, and returns
// where the latter listens.
func tunnel(t *testing.T, address string) (local string) {
	t.Helper()
	seed := gateway.Seed(t)
	near := gateway.Start(t, server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed)}})
	far := gateway.Start(t, server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed)}})
	startSwarm(t, far, "forward", "there", address)
	listens := startSwarm(t, near, "listen", "there", "127.0.0.1:0", "--json")
	gateway.Eventually(t, "a peer", func() bool {
		_, rest, _ := strings.Cut(listens.String(), `"listening","address":"`)
		local, _, _ = strings.Cut(rest, `"`)
		return local != "" && strings.Contains(listens.String(), `"found"`)
	})
	return local
}

// A shell on another machine is used through two gateways as if its sshd were here: with a
// terminal, what is typed, and a second session beside it.
func TestSSHThroughTwoGateways(t *testing.T) {
	address, key := startSSHD(t)
	local := tunnel(t, address)
	_, port, err := net.SplitHostPort(local)
	if err != nil {
		t.Fatal(err)
	}
	ssh := func(args ...string) *exec.Cmd {
		return exec.CommandContext(gateway.Context(t), "ssh", append([]string{
			"-F", "none", "-i", key, "-p", port,
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		}, args...)...)
	}
	shell := ssh("-tt", "root@127.0.0.1", "exec sh -i")
	typed, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var screen terminal
	shell.Stdout, shell.Stderr = &screen, &screen
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := fmt.Fprintf(typed, "tty; echo $((%d*1000+%d))\n", i+1, i); err != nil {
			t.Fatal(err)
		}
		gateway.Eventually(t, "the answer of the shell", func() bool {
			return strings.Contains(screen.String(), fmt.Sprintf("\n%d\r", (i+1)*1000+i))
		})
		out, err := ssh("root@127.0.0.1", "cat").CombinedOutput() // a second session beside it
		if err != nil || len(out) != 0 {
			t.Errorf("a second session: %q, %v", out, err)
		}
	}
	if !strings.Contains(screen.String(), "/dev/pts/") {
		t.Error("the shell has no terminal")
	}
	if _, err := io.WriteString(typed, "exit 7\n"); err != nil {
		t.Fatal(err)
	}
	if shell.Wait(); shell.ProcessState.ExitCode() != 7 {
		t.Errorf("ssh ended with %v, want 7; it showed\n%s", shell.ProcessState, screen.String())
	}
}

// Two hundred requests at once are in a web server behind two gateways, and then two hundred more.
func TestHTTPThroughTwoGateways(t *testing.T) {
	const requests = 200
	var met sync.WaitGroup // all requests of a round are in the server at once
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		met.Done()
		met.Wait()
		fmt.Fprintf(w, "%s got %s", r.URL.Path, b)
	}))
	defer web.Close()
	local := tunnel(t, web.Listener.Addr().String())
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: requests}, Timeout: gateway.Patience}
	defer c.CloseIdleConnections()
	for round := range 2 {
		met.Add(requests)
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				body := strings.Repeat(fmt.Sprint(i, " "), 1000)
				r, err := c.Post(fmt.Sprintf("http://%s/%d", local, i), "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					met.Done()
					return
				}
				defer r.Body.Close()
				if got, err := io.ReadAll(r.Body); err != nil || string(got) != fmt.Sprintf("/%d got %s", i, body) {
					t.Errorf("round %d, request %d: %d bytes, %v", round, i, len(got), err)
				}
			})
		}
		wg.Wait()
	}
}
