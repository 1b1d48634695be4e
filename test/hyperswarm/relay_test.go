//go:build !race

package hyperswarm

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Six times in Node, three in Chromium and two in Firefox is enough to see what fails often:
// go test ./test/hyperswarm -loops 6
var loops = flag.Int("loops", 1, "how often each client reads the hypercore")

const (
	blocks    = 16
	blockSize = 64 << 10
	clients   = 4 // of the relay at once
	waiting   = 8 // MiB in the relay for a client
)

// world is Hyperswarm outside, a relay, and the hypercore that is read.
type world struct {
	Bootstrap []string
	Key       string
	bytes     []byte // of the hypercore
	said      *bufio.Reader
	relay     string // host:port
	relayPID  int
}

// script starts a script with node until the test ends, reads its first line into v, and returns
// it with the rest of what it says.
func script(t *testing.T, v any, path string, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	file, err := program.Path(path)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, v, exec.Command("node", append([]string{file}, args...)...))
}

// start is script for any program.
func start(t *testing.T, v any, cmd *exec.Cmd) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe() // which scripts take as the sign to end
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	said := bufio.NewReader(out)
	next(t, said, v)
	return cmd, said
}

// next reads the next line of a script into v.
func next(t *testing.T, said *bufio.Reader, v any) {
	t.Helper()
	line, err := said.ReadBytes('\n')
	if err != nil {
		t.Fatalf("a script ended: %v", err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
}

// newWorld starts it, until the test ends.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{bytes: make([]byte, blocks*blockSize)}
	rand.Read(w.bytes)
	file := filepath.Join(t.TempDir(), "bytes")
	if err := os.WriteFile(file, w.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	_, w.said = script(t, w, "test/hyperswarm/world.mjs", file, fmt.Sprint(blockSize))
	var relay struct{ Listen string }
	cmd, _ := script(t, &relay, "web/examples/hyperswarm/relay.js", "--listen", "127.0.0.1:0",
		"--bind", "127.0.0.1", "--bootstrap", w.Bootstrap[0], "--waiting", fmt.Sprint(waiting), "--clients", fmt.Sprint(clients))
	w.relay, w.relayPID = relay.Listen, cmd.Process.Pid
	return w
}

// report is what read.js returns.
type report struct {
	First     float64 // milliseconds until the first block
	SHA256    string
	SecretKey string
}

// check fails unless a client has read all bytes.
func (w *world) check(t *testing.T, got report) {
	t.Helper()
	t.Logf("the first block came after %.0f ms", got.First)
	if want := sha256.Sum256(w.bytes); got.SHA256 != hex.EncodeToString(want[:]) {
		t.Errorf("the hypercore that was read has the SHA-256 %s, want %x", got.SHA256, want)
	}
}

// secrets returns what a relay must not see: each block's middle, and the seed of the client's key.
func (w *world) secrets(t *testing.T, got report) (texts [][]byte) {
	t.Helper()
	for at := blockSize / 2; at < len(w.bytes); at += blockSize {
		texts = append(texts, w.bytes[at:at+16])
	}
	key, err := hex.DecodeString(got.SecretKey)
	if err != nil || len(key) != 64 {
		t.Fatalf("the secret key is %q", got.SecretKey)
	}
	return append(texts, key[:32])
}

// A page, and a program in Node behind swarm listen, read a hypercore of Hyperswarm through the
// gateway and the relay. The relay sees neither what they read nor their secret keys.
func TestRelay(t *testing.T) {
	w := newWorld(t)
	to := record(t, w.relay)
	g := program.Start(t, "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--dht", "off", "--no-lan",
		"--static", "hyper=tcp://"+to.Address, "--allow-origin", "*")
	check := func(t *testing.T, got report) {
		t.Helper()
		w.check(t, got)
		all, found := to.heard(w.secrets(t, got))
		if all < len(w.bytes) {
			t.Errorf("the relay heard %d bytes, want the hypercore at least", all)
		}
		if found > 0 {
			t.Errorf("the relay heard %d blocks or keys in plain", found)
		}
		to.forget()
	}

	t.Run("node", func(t *testing.T) {
		swarm, err := program.BuildSwarm()
		if err != nil {
			t.Fatal(err)
		}
		var listening struct{ Address string }
		cmd := exec.Command(swarm, "listen", "hyper", "127.0.0.1:0", "--json", "--gateway", strings.TrimSuffix(g.Info, wtproto.InfoPath))
		for _, said := start(t, &listening, cmd); listening.Address == ""; {
			next(t, said, &listening)
		}
		for range *loops {
			var got report
			script(t, &got, "test/hyperswarm/client.mjs", listening.Address, "read", w.Key, fmt.Sprint(blocks))
			check(t, got)
		}
	})

	file, err := program.Path("test/hyperswarm/bundle.mjs")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := exec.Command("node", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page.js" {
			rw.Header().Set("Content-Type", "text/javascript")
			rw.Write(bundle)
			return
		}
		rw.Header().Set("Content-Type", "text/html")
		io.WriteString(rw, `<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>`)
	}))
	defer site.Close()
	browser.EachPage(t, "blank.html", func(t *testing.T, b *browser.Page) {
		b.Call(t, "goto", map[string]any{"url": site.URL}, nil)
		for range *loops {
			var got report
			b.Call(t, "readCore", map[string]any{
				"target": map[string]any{"url": "https://" + g.QUIC, "hashes": g.Certificate.Hashes},
				"key":    w.Key, "blocks": blocks,
			}, &got)
			check(t, got)
		}
	})
}

// One client that does not read, one that sends rubbish, one that is custodial, and those that are
// too many harm neither the relay nor the client that reads. Clients leave nothing behind.
func TestRelayIsBounded(t *testing.T) {
	w := newWorld(t)
	before := sockets(t, w.relayPID)

	rubbish := make([]byte, 1<<16)
	rand.Read(rubbish)
	rubbish[0], rubbish[1], rubbish[2] = 0, 1, 0 // the length of a frame
	vandal := dial(t, w.relay)
	vandal.Write(rubbish)

	// A client that gives its secret key away, as dht-relay's do unless they are told otherwise, is
	// sent away. The search of TestRelay finds such a key.
	to := record(t, w.relay)
	var custodial struct {
		SecretKey string
		Closed    bool
	}
	script(t, &custodial, "test/hyperswarm/client.mjs", to.Address, "custodial")
	if _, found := to.heard(w.secrets(t, report{SecretKey: custodial.SecretKey})); !custodial.Closed || found != 1 {
		t.Errorf("a custodial client was sent away: %t, with %d keys heard; want true and 1", custodial.Closed, found)
	}

	var met struct{ Met bool }
	stopped, _ := script(t, &met, "test/hyperswarm/client.mjs", w.relay, "meet")
	stopped.Process.Signal(syscall.SIGSTOP)
	if !met.Met {
		t.Fatal("the client that stops has met nobody")
	}
	var flood struct{ Flooded int }
	next(t, w.said, &flood)
	if flood.Flooded >= 1<<30 {
		t.Error("the relay took 1 GiB for a client that does not read")
	}
	peak := peakMemory(t, w.relayPID)
	t.Logf("the relay took %d MiB for a client that does not read, and had %d MiB at most", flood.Flooded>>20, peak>>20)
	if peak > 400<<20 {
		t.Errorf("the relay had %d MiB at most, want fewer than 400", peak>>20)
	}

	var got report
	script(t, &got, "test/hyperswarm/client.mjs", w.relay, "read", w.Key, fmt.Sprint(blocks))
	w.check(t, got)

	vandal.Close()
	left := func() bool { return sockets(t, w.relayPID) <= before }
	gateway.Eventually(t, "the relay has closed what clients had", left)

	var idle []net.Conn
	for range clients {
		idle = append(idle, dial(t, w.relay))
	}
	if n, err := dial(t, w.relay).Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("the relay takes a client beyond --clients")
	}
	for _, c := range idle {
		c.Close()
	}
	gateway.Eventually(t, "the relay has closed what idle clients had", left)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sockets returns how many sockets a process has.
func sockets(t *testing.T, pid int) (n int) {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	for _, l := range links {
		if to, _ := os.Readlink(l); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// peakMemory returns the most bytes that a process has had in memory.
func peakMemory(t *testing.T, pid int) (n int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if fmt.Sscanf(line, "VmHWM: %d kB", &n); n > 0 {
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
