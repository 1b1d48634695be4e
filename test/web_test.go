//go:build !race

package test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// inBrowsers runs a test with a page that has the module of web/, in each browser.
func inBrowsers(t *testing.T, test func(*testing.T, *browser)) {
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) { test(t, startBrowser(t, name, "client.html")) })
	}
}

// open connects the page to g.
func (b *browser) open(t *testing.T, g *gateway.Gateway) {
	t.Helper()
	var got map[string]any
	b.call(t, "open", map[string]any{"url": g.URL, "hash": hex.EncodeToString(g.Hash[:])}, &got)
	if got["gateway"] == nil {
		t.Fatalf("connect: %v", got)
	}
}

// flood is a peer that sends for as long as somebody takes it.
func flood(c *net.TCPConn) {
	for b := make([]byte, 64<<10); ; {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// named gives a network another name, so that a gateway may have two of a kind.
type named struct {
	discovery.Network
	name string
}

func (n named) Name() string { return n.name }

// send returns a peer that sends data and the end.
func send(data []byte) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		c.Write(data)
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
}

// sumOfSums is the SHA-256 of the SHA-256s of the MiBs of data.
func sumOfSums(data []byte) string {
	all := sha256.New()
	for len(data) > 0 {
		n := min(len(data), 1<<20)
		s := sha256.Sum256(data[:n])
		all.Write(s[:])
		data = data[n:]
	}
	return hex.EncodeToString(all.Sum(nil))
}

// received is what the page's read returns.
type received struct {
	Total int
	Sum   string
	Gap   int // ticks of 50 ms
	Ms    int
}

// 99 circuits that the page does not read, with data waiting on each, and the 100th moves on, without a gap of a second.
func TestStalledCircuitsInBrowsers(t *testing.T) {
	const stalled = 99
	inBrowsers(t, func(t *testing.T, page *browser) {
		var addrs []string
		for range stalled {
			addrs = append(addrs, gateway.Listen(t, flood).Addr().String())
		}
		data := random(32<<20, 1)
		quiet, live := wtproto.TopicFromName("stalled"), wtproto.TopicFromName("live")
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}, Networks: []discovery.Network{
			named{gateway.Static(t, quiet, addrs...), "stalled"},
			named{gateway.Static(t, live, gateway.Listen(t, send(data)).Addr().String()), "live"},
		}})
		page.open(t, g)
		var n int
		if page.call(t, "stall", map[string]any{"topic": "stalled", "n": stalled}, &n); n != stalled {
			t.Fatalf("the page has %d circuits, want %d", n, stalled)
		}
		var got received
		page.call(t, "read", map[string]any{"topic": "live"}, &got)
		if got.Total != len(data) || got.Sum != sumOfSums(data) {
			t.Errorf("the 100th circuit brought %d bytes with sum %s, want %d with %s", got.Total, got.Sum, len(data), sumOfSums(data))
		}
		if got.Gap > 20 {
			t.Errorf("the 100th circuit stood still for %d ticks of 50 ms, want at most 20", got.Gap)
		}
		t.Logf("32 MiB beside 99 stalled circuits in %d ms, longest gap %d ticks of 50 ms", got.Ms, got.Gap)
	})
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// 200 peers reach one page, some through streams that the gateway opened and some through offers; each is echoed; when the
// page is closed the gateway frees all of them.
func TestManyPeersInBrowsers(t *testing.T) {
	const peers = 200
	inBrowsers(t, func(t *testing.T, page *browser) {
		var echoed, ended atomic.Int64
		var addrs []string
		for i := range peers {
			addrs = append(addrs, gateway.Listen(t, func(c *net.TCPConn) {
				out, in := []byte(fmt.Sprintf("peer %03d", i)), make([]byte, 8)
				c.Write(out)
				if _, err := io.ReadFull(c, in); err == nil && bytes.Equal(in, out) {
					echoed.Add(1)
				}
				io.Copy(io.Discard, c)
				ended.Add(1)
			}).Addr().String())
		}
		topic := wtproto.TopicFromName("many")
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}, Networks: []discovery.Network{gateway.Static(t, topic, addrs...)}})
		page.open(t, g)
		page.call(t, "echoAll", map[string]any{"topic": "many", "maxPeers": peers}, nil)
		gateway.Eventually(t, "every peer is echoed", func() bool { return echoed.Load() == peers })
		if all := g.Topics(); len(all) != 1 || all[0].Circuits != peers {
			t.Errorf("Topics = %+v, want %d circuits", all, peers)
		}
		page.call(t, "close", map[string]any{}, nil)
		closed := time.Now()
		gateway.Eventually(t, "the gateway frees all circuits", func() bool {
			all := g.Topics()
			return g.Sessions() == 0 && (len(all) == 0 || all[0].Circuits == 0) && ended.Load() == peers
		})
		t.Logf("all %d circuits were free %v after the page was closed", peers, time.Since(closed))
	})
}

// 256 MiB of a peer arrive in the page unchanged, and the browser does not hold them.
func TestBulkInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		data := random(256<<20, 2)
		topic := wtproto.TopicFromName("bulk")
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}, Networks: []discovery.Network{
			gateway.Static(t, topic, gateway.Listen(t, send(data)).Addr().String()),
		}})
		page.open(t, g)
		before := pss(t, page.pid)
		stop, peak := make(chan struct{}), make(chan int)
		go func() {
			most := 0
			for tick := time.NewTicker(100 * time.Millisecond); ; {
				select {
				case <-tick.C:
					most = max(most, pss(t, page.pid))
				case <-stop:
					tick.Stop()
					peak <- most
					return
				}
			}
		}()
		var got received
		page.call(t, "read", map[string]any{"topic": "bulk"}, &got)
		close(stop)
		grew := <-peak - before
		if got.Total != len(data) || got.Sum != sumOfSums(data) {
			t.Errorf("%d bytes with sum %s, want %d with %s", got.Total, got.Sum, len(data), sumOfSums(data))
		}
		if grew > 150_000 {
			t.Errorf("the browser grew by %d kB, want at most 150 MB", grew)
		}
		t.Logf("256 MiB in %d ms; all of the browser's processes grew by %d kB at most", got.Ms, grew)
	})
}

// pss returns the proportional set size of a process and of all below it, in kB.
func pss(t *testing.T, pid int) (kb int) {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		after := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		parent, _ := strconv.Atoi(after[1])
		children[parent] = append(children[parent], id)
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		queue = append(queue, children[queue[0]]...)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", queue[0]))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")))
				if err != nil {
					t.Errorf("smaps_rollup: %q", line)
				}
				kb += n
			}
		}
	}
	return kb
}

// outcome is what the page was told of an end.
type outcome struct {
	Code   wtproto.Code
	Reason string
	Error  string
}

// Resets pass between a page and another client with their codes, both ways, and the end of a session reaches the page with its
// code and reason.
func TestCodesInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}})
		page.open(t, g)
		other := g.Dial(t, client.Config{})
		// meets takes the circuit with the page, exchanges bytes until both know that it works, and hands it on.
		meets := func(topic string, then func(*client.Conn)) {
			top := gateway.Join(t, other, wtproto.TopicFromName(topic), client.JoinOptions{})
			go func() {
				conn, err := top.Accept(t.Context())
				if err != nil {
					return
				}
				io.ReadFull(conn, make([]byte, 1))
				conn.Write([]byte{1})
				io.ReadFull(conn, make([]byte, 1))
				then(conn)
			}()
		}
		seen := make(chan error, 1)
		meets("abort", func(c *client.Conn) {
			_, err := io.ReadAll(c)
			seen <- err
		})
		page.call(t, "meet", map[string]any{"topic": "abort", "abort": 777}, nil)
		if code, _ := gateway.Code(<-seen); code != 777 {
			t.Errorf("the page aborted with 777, the other end saw %v", code)
		}
		meets("reset", func(c *client.Conn) { c.Reset(888) })
		var got outcome
		page.call(t, "meet", map[string]any{"topic": "reset"}, &got)
		if got.Code != 888 {
			t.Errorf("the other end reset with 888, the page saw %+v", got)
		}
	})
}

// The end of a session by the gateway reaches the page with its code and its reason.
func TestCloseInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{page.origin}})
		page.open(t, g)
		g.Close()
		var report struct{ Losses []outcome }
		gateway.Eventually(t, "the page is told", func() bool {
			page.call(t, "report", map[string]any{}, &report)
			return len(report.Losses) > 0
		})
		if got := report.Losses[0]; got.Code != wtproto.CodeShutdown || got.Reason != "the gateway is closed" {
			t.Errorf("the page was told %+v, want SHUTDOWN and the gateway's reason", got)
		}
	})
}

// A page of another origin is refused with FORBIDDEN, which it can tell from a gateway that is not there.
func TestOriginInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		g := gateway.Start(t, server.Config{Origins: []string{"https://other.example"}})
		var refused, dead outcome
		page.call(t, "open", map[string]any{"url": g.URL, "hash": hex.EncodeToString(g.Hash[:])}, &refused)
		if refused.Code != wtproto.CodeForbidden {
			t.Errorf("another origin was told %+v, want FORBIDDEN", refused)
		}
		page.call(t, "open", map[string]any{"url": "https://127.0.0.1:1", "hash": hex.EncodeToString(g.Hash[:])}, &dead)
		if dead.Code != wtproto.CodePeerUnreachable {
			t.Errorf("a dead gateway is %+v, want PEER_UNREACHABLE", dead)
		}
	})
}

// A gateway that is killed and started again with the same state has the page back, joined and with its circuits, without a reload.
func TestRestartInBrowsers(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", binary, "./cmd/server")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	inBrowsers(t, func(t *testing.T, page *browser) {
		var echoed atomic.Int64
		peer := gateway.Listen(t, func(c *net.TCPConn) {
			c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				echoed.Add(1)
			}
			io.Copy(io.Discard, c)
		})
		state := t.TempDir()
		run := func(listen string) (*exec.Cmd, string, string) {
			cmd := exec.Command(binary, "--listen", listen, "--dht", "off", "--allow-private", "--state-dir", state,
				"--allow-origin", page.origin, "--static", "restart=tcp://"+peer.Addr().String())
			cmd.Stderr = t.Output()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				cmd.Process.Kill()
				cmd.Wait()
			})
			var ready struct {
				QUIC        string
				Certificate struct{ Hashes []string }
			}
			line, err := bufio.NewReader(out).ReadBytes('\n')
			if err != nil || json.Unmarshal(line, &ready) != nil {
				t.Fatalf("the ready line is %q, %v", line, err)
			}
			return cmd, ready.QUIC, ready.Certificate.Hashes[0]
		}
		cmd, addr, hash := run("127.0.0.1:0")
		var got map[string]any
		page.call(t, "open", map[string]any{"url": "https://" + addr, "hash": hash}, &got)
		if got["gateway"] == nil {
			t.Fatalf("connect: %v", got)
		}
		page.call(t, "echoAll", map[string]any{"topic": "restart"}, nil)
		gateway.Eventually(t, "the peer is echoed", func() bool { return echoed.Load() == 1 })
		cmd.Process.Kill()
		cmd.Wait()
		run(addr)
		began := time.Now()
		gateway.Eventually(t, "the peer is echoed again", func() bool { return echoed.Load() == 2 })
		t.Logf("circuits were back %v after the restart", time.Since(began))
		var report struct {
			Events []string
			State  string
		}
		page.call(t, "report", map[string]any{}, &report)
		if report.State != "connected" || len(report.Events) < 3 || report.Events[0] != "disconnected" ||
			report.Events[1] != "reconnecting" || report.Events[len(report.Events)-1] != "connected" {
			t.Errorf("the page went through %+v", report)
		}
	})
}
