//go:build !race

package program

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

var sendSize = flag.Int64("send-size", 64<<20, "how many bytes TestSendOutlivesAKilledGateway sends")

// sendRate keeps the gateway from being done before it is killed, in bytes a second.
const sendRate = 32 << 20

// swarmCommand is a command line of swarm that ends by itself, or with the test.
type swarmCommand struct {
	*exec.Cmd
	out, errs terminal
}

func startSwarmCommand(t *testing.T, args ...string) *swarmCommand {
	t.Helper()
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	c := &swarmCommand{Cmd: exec.Command(binary, args...)}
	c.Stdout, c.Stderr = &c.out, &c.errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		if c.ProcessState == nil {
			_ = c.Wait()
		}
		if t.Failed() {
			t.Logf("swarm %q printed\n%s\n%s", args, c.out.String(), c.errs.String())
		}
	})
	return c
}

// A gateway is killed while a file passes through it, and started again at the same address. The
// file arrives whole: both ends go on from where they were.
func TestSendOutlivesAKilledGateway(t *testing.T) {
	from, to, state := t.TempDir(), t.TempDir(), t.TempDir()
	path := filepath.Join(from, "big")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, hash), rand.NewChaCha8([32]byte{1}), *sendSize)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	sum := hash.Sum(nil)

	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(state, "tokens")
	args := []string{"token", "new", "--name", "alice", "--file", tokens}
	if *sendSize <= 64<<20 {
		args = append(args, "--bytes-per-second", strconv.Itoa(sendRate))
	}
	token, err := exec.Command(binary, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	gatewayArgs := []string{
		"--listen", freeport.Address(t), "--dht", "off", "--log-level", "warn", "--state-dir", state, "--token-file", tokens,
	}
	first := program.Start(t, gatewayArgs...)
	flags := []string{
		"--token", strings.TrimSpace(string(token)),
		"--gateway", "swarmgate://" + first.QUIC + "/?h=" + strings.Join(first.Certificate.Hashes, "&h="), "--json",
	}
	began := time.Now()
	receive := startSwarmCommand(t, append([]string{"receive", "there", "-o", to}, flags...)...)
	send := startSwarmCommand(t, append([]string{"send", path, "there"}, flags...)...)
	gateway.Eventually(t, "half of the file", func() bool {
		info, err := os.Stat(filepath.Join(to, "big.part"))
		return err == nil && info.Size() > *sendSize/2
	})
	first.Kill()
	killed := time.Now()
	program.Start(t, gatewayArgs...)
	for name, c := range map[string]*swarmCommand{"receive": receive, "send": send} {
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(c.out.String(), `"connected"`) {
			t.Errorf("%s was done before the gateway was killed", name)
		}
		if !strings.Contains(c.out.String(), fmt.Sprintf("%x", sum)) {
			t.Errorf("%s does not tell the hash of the file", name)
		}
	}
	took := time.Since(began)
	t.Logf("%d MiB in %.1f s, %.1f MiB/s; %.1f s of them after the gateway was killed",
		*sendSize>>20, took.Seconds(), float64(*sendSize>>20)/took.Seconds(), time.Since(killed).Seconds())
	got, err := os.Open(filepath.Join(to, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	hash.Reset()
	if n, err := io.Copy(hash, got); err != nil || n != *sendSize || !bytes.Equal(hash.Sum(nil), sum) {
		t.Errorf("%d bytes arrived, %v; want %d with the hash %x", n, err, *sendSize, sum)
	}
}
