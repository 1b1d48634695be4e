//go:build !race

package program

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// startInto starts the gateway with its log in a pipe. The caller closes its end of it.
func startInto(t *testing.T, args ...string) (p *program.Program, log *os.File) {
	t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	log, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cmd := exec.Command(binary, append([]string{"--listen", "127.0.0.1:0", "--dht", "off", "--no-lan"}, args...)...)
	cmd.Stderr = write
	defer write.Close()
	return program.StartCommand(t, cmd), log
}

// When the reader of the log went away, as journald does when it is restarted, the next line of the
// log killed the gateway, and systemd took that for a regular end. A reader that stood still held
// up whoever wrote to the log.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		closed bool
	}{{"gone", true}, {"stands still", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, log := startInto(t, "--log-level", "debug")
			if c.closed {
				log.Close()
			}
			// Each session is several lines; a pipe holds 64 KiB, and a SIGHUP is a line too.
			for range 100 {
				if err := syscall.Kill(p.PID(), syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
			for range 400 {
				client, err := enter(t, p, "")
				if err != nil {
					t.Fatal(err)
				}
				client.Close()
			}
			p.Terminate(t)
		})
	}
}

// Long-running commands of swarm go on as well, whether nobody reads their log or their events.
func TestLastingCommandsGoOnUnread(t *testing.T) {
	t.Parallel()
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	g := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--no-lan", "--log-level", "warn")
	url := "swarmgate://" + g.QUIC + "/?h=" + g.Certificate.Hashes[0]
	echo := gateway.Listen(t, gateway.Echo)
	for _, events := range []string{"", "--json"} {
		t.Run("events="+events, func(t *testing.T) {
			args := []string{"forward", "unread" + events, echo.Addr().String(), "--gateway", url}
			if events != "" {
				args = append(args, events)
			}
			cmd := exec.Command(binary, args...)
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout, cmd.Stderr = write, write
			err = cmd.Start()
			write.Close()
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(read)
			for lines.Scan() && !strings.Contains(lines.Text(), "joined") {
			}
			if lines.Err() != nil || !strings.Contains(lines.Text(), "joined") {
				t.Fatalf("forward has not joined: %v", lines.Err())
			}
			read.Close()
			swarm := program.Swarm(t)
			for range 2 { // the events of the first one are not read
				if got := swarm("hello\n", "join", "unread"+events, "--once", "--gateway", url); got != "hello" {
					t.Errorf("the service said %q", got)
				}
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("forward: %v", err)
			}
		})
	}
}

// writeCertificate writes a certificate with a common name, and its key.
func writeCertificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// SIGHUP killed the gateway. Now it has the gateway look at the files that may have changed, and
// say what it finds, before a client comes.
func TestHangup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCertificate(t, dir, "old.example")
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, log := startInto(t, "--cert", filepath.Join(dir, "cert"), "--key", filepath.Join(dir, "key"), "--token-file", tokens)
	writeCertificate(t, dir, "new.example")
	if err := os.WriteFile(tokens, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	log.SetReadDeadline(time.Now().Add(gateway.Patience))
	lines := bufio.NewScanner(log)
	for _, want := range []string{"SIGHUP", "new.example", "new token file is bad"} {
		for lines.Scan() && !strings.Contains(lines.Text(), want) {
		}
		if lines.Err() != nil || !strings.Contains(lines.Text(), want) {
			t.Fatalf("the log does not say %q: %v", want, lines.Err())
		}
	}
	go io.Copy(io.Discard, log) // until the program has ended
	p.Terminate(t)
}
