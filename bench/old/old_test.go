//go:build benchold

package old

import (
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/node"
)

const (
	firstRounds = 15
	coldRounds  = 7
	bulkRounds  = 3
	echoRounds  = 3
	streams     = 100
	bulkBytes   = 16 << 20
	manyBytes   = 8 << 20
	echoes      = 100
	barFirst    = 0.5
)

var part = flag.String("part", "", "measure only first, bulk, echo or stop")

func TestMain(m *testing.M) { os.Exit(browser.Main(m)) }

// bench is both gateways with their peers, and a page for each.
type bench struct {
	t                 *testing.T
	dns, peer, reader *node.Script
	dnsAddr           string
	original          struct {
		PID int
		URL string
		TCP int
	}
	ours                 *swarmgate
	oursPage, theirsPage *browser.Page
	rows                 []*row
}

// TestBenchOld measures both side by side and prints a table.
func TestBenchOld(t *testing.T) {
	b := start(t)
	for name, measure := range b.parts() {
		if *part != "" && *part != name {
			continue
		}
		began := time.Now()
		measure()
		t.Logf("%s: %.0f s\n%s", name, time.Since(began).Seconds(), table(b.rows))
	}
	for _, r := range b.rows {
		if r.verdict() == "MISSED" {
			t.Errorf("%s: %.2f of what the original needs, want at most %.2f", r.what, r.ratio(), r.bar)
		}
	}
}

// parts yields what is measured.
func (b *bench) parts() iter.Seq2[string, func()] {
	return func(yield func(string, func()) bool) {
		_ = yield("first", b.first) && yield("bulk", b.bulk) && yield("echo", b.echo) && yield("stop", b.stop)
	}
}

// script runs a script of this folder.
func script(t *testing.T, name string, args ...string) *node.Script {
	return node.Start(t, "../../bench/old/"+name, args...)
}

func start(t *testing.T) *bench {
	b := &bench{t: t}
	port := freeport.Ports(t, 3)
	b.dnsAddr = fmt.Sprintf("127.0.0.1:%d", port)
	b.dns = node.Start(t, "find.mjs", "dns", asJSON(t, map[string]any{"listen": port, "domain": "dat.local", "multicast": false}))
	b.dns.Await("ready", nil)
	where := func(port int) string { return asJSON(t, map[string]any{"port": port, "dns": []string{b.dnsAddr}}) }
	b.peer = script(t, "peer.js", where(port+1))
	server := script(t, "original.js", where(port+2))

	folder := t.TempDir()
	if out, err := exec.Command("node", "bundle.mjs", folder).CombinedOutput(); err != nil {
		t.Fatalf("bundle.mjs: %v\n%s", err, out)
	}
	pages := httptest.NewServer(http.FileServer(http.Dir(folder)))
	t.Cleanup(pages.Close)
	b.ours = startSwarmgate(t, "--listen", "127.0.0.1:0", "--allow-private", "--allow-origin", pages.URL, "--max-topics", "200", "--max-topics-per-principal", "4000", "--log-level", "warn", "--dht", "off", "--no-lan",
		"--dat", "--dat-bootstrap", "none", "--dat-dns", b.dnsAddr)
	b.oursPage, b.theirsPage = browser.Start(t, "chromium", "blank.html"), browser.Start(t, "chromium", "blank.html")
	b.oursPage.Call(t, "goto", map[string]any{"url": pages.URL + "/ours.html"}, nil)
	b.theirsPage.Call(t, "goto", map[string]any{"url": pages.URL + "/original.html"}, nil)
	b.peer.Await("ready", nil)
	server.Await("ready", &b.original)
	b.reader = script(t, "reader.js", fmt.Sprint(b.original.TCP))
	b.reader.Await("ready", nil)
	return b
}

func asJSON(t *testing.T, v any) string {
	s, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

// row adds one to the table.
func (b *bench) row(what, unit string) *row {
	r := &row{what: what, unit: unit}
	b.rows = append(b.rows, r)
	return r
}

// rounds has both measured in turn.
func rounds(n int, ours, theirs func(i int)) {
	for i := range n {
		if i%2 == 0 {
			ours(i)
			theirs(i)
		} else {
			theirs(i)
			ours(i)
		}
	}
}

// awaitAnnounced waits until the server of dns-discovery knows the ids.
func (b *bench) awaitAnnounced(keys []string) {
	b.t.Helper()
	for late := time.Now().Add(time.Minute); ; {
		var list struct {
			All []struct {
				ID string
				At []string
			}
		}
		b.dns.Do(map[string]any{"do": "list"})
		b.dns.Await("list", &list)
		known := make(map[string]bool)
		for _, e := range list.All {
			known[e.ID] = len(e.At) > 0
		}
		missing := 0
		for _, k := range keys {
			if !known[k[:40]] {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(late) {
			b.t.Fatalf("%d of %d ids are not announced", missing, len(keys))
		}
	}
}

// topics puts the service on new topics.
func (b *bench) topics(n int) []string {
	b.t.Helper()
	var made struct {
		All   []string
		Error string
	}
	b.peer.Do(map[string]any{"do": "topics", "n": n})
	b.peer.Await("topics", &made)
	if made.Error != "" {
		b.t.Fatal(made.Error)
	}
	b.awaitAnnounced(made.All)
	return made.All
}

// inOurs and inTheirs call a function of the pages.
func (b *bench) inOurs(name string, args map[string]any, v any) {
	args["url"] = b.ours.url()
	b.oursPage.Call(b.t, name, args, v)
}

func (b *bench) inTheirs(name string, args map[string]any, v any) {
	args["url"] = b.original.URL
	b.theirsPage.Call(b.t, name, args, v)
}

// inNode has a program use the original over TCP.
func (b *bench) inNode(name string, args map[string]any, v any) {
	b.t.Helper()
	args["do"] = name
	b.reader.Do(args)
	var failed struct{ Error string }
	line := b.reader.Await(name, &failed)
	if failed.Error != "" {
		b.t.Fatalf("%s: %s", name, failed.Error)
	}
	if v != nil {
		if err := json.Unmarshal(line.JSON, v); err != nil {
			b.t.Fatal(err)
		}
	}
}

// first measures how soon the first byte of a hyperdrive is there. Each round has archives that
// neither gateway knows yet.
func (b *bench) first() {
	var made struct {
		All   []struct{ Key, DiscoveryKey string }
		Error string
	}
	b.peer.Do(map[string]any{"do": "archives", "n": 2 * (1 + firstRounds + coldRounds)})
	b.peer.Await("archives", &made)
	if made.Error != "" {
		b.t.Fatal(made.Error)
	}
	var ids []string
	for _, a := range made.All {
		ids = append(ids, a.DiscoveryKey)
	}
	b.awaitAnnounced(ids)
	next := 0
	measure := func(in func(string, map[string]any, any), cold bool) (got struct{ Took, Handshaking, Connection float64 }) {
		in("first", map[string]any{"key": made.All[next].Key, "cold": cold}, &got)
		next++
		return got
	}
	measure(b.inOurs, false)
	measure(b.inTheirs, false)

	first := b.row("join to first byte of /dat.json, page", "ms")
	first.bar = barFirst
	open := b.row("  of that: join to circuit", "ms")
	rounds(firstRounds,
		func(int) {
			got := measure(b.inOurs, false)
			first.ours, open.ours = append(first.ours, got.Took), append(open.ours, got.Handshaking)
		},
		func(int) {
			got := measure(b.inTheirs, false)
			first.theirs, open.theirs = append(first.theirs, got.Took), append(open.theirs, got.Handshaking)
		})
	cold := b.row("connect to first byte of /dat.json, page", "ms")
	rounds(coldRounds,
		func(int) { cold.ours = append(cold.ours, measure(b.inOurs, true).Took) },
		func(int) { cold.theirs = append(cold.theirs, measure(b.inTheirs, true).Took) })
}

// bulk measures the throughput of one stream and of many at once.
func (b *bench) bulk() {
	type rate struct{ Rate float64 }
	for _, n := range []int{1, streams} {
		total := bulkBytes
		if n > 1 {
			total = manyBytes
		}
		page, native := b.row(fmt.Sprintf("bulk, %d at once, page", n), "MB/s"), b.row(fmt.Sprintf("bulk, %d at once, program", n), "MB/s")
		page.more, native.more = true, true
		args := func() map[string]any { return map[string]any{"keys": b.topics(n), "total": total} }
		rounds(bulkRounds,
			func(int) {
				var got rate
				b.inOurs("bulk", args(), &got)
				page.ours = append(page.ours, got.Rate)
			},
			func(int) {
				var got rate
				b.inTheirs("bulk", args(), &got)
				page.theirs = append(page.theirs, got.Rate)
			})
		rounds(bulkRounds,
			func(int) { native.ours = append(native.ours, b.ours.bulk(b.t, b.topics(n), total)) },
			func(int) {
				var got rate
				b.inNode("bulk", args(), &got)
				native.theirs = append(native.theirs, got.Rate)
			})
	}
}

// echo measures round trips, alone and beside a bulk stream.
func (b *bench) echo() {
	type trips struct{ Trips []float64 }
	for n, when := range []string{"idle", "beside bulk"} {
		for _, where := range []string{"page", "program"} {
			p50, p99 := b.row(fmt.Sprintf("64 bytes there and back, %s, %s, p50", when, where), "ms"), b.row(strings.Repeat(" ", 10)+"the same, p99", "ms")
			both := func(into50, into99 *[]float64, got []float64) {
				*into50, *into99 = append(*into50, quantile(got, 0.5)), append(*into99, quantile(got, 0.99))
			}
			args := func() map[string]any { return map[string]any{"keys": b.topics(1 + n), "n": echoes / (1 + 3*n)} }
			rounds(echoRounds,
				func(int) {
					var got trips
					if where == "page" {
						b.inOurs("echo", args(), &got)
					} else {
						got.Trips = b.ours.echo(b.t, b.topics(1+n), echoes/(1+3*n))
					}
					both(&p50.ours, &p99.ours, got.Trips)
				},
				func(int) {
					var got trips
					if where == "page" {
						b.inTheirs("echo", args(), &got)
					} else {
						b.inNode("echo", args(), &got)
					}
					both(&p50.theirs, &p99.theirs, got.Trips)
				})
		}
	}
}

// stop measures what the server holds for a reader that stops, once its peer can send no more or
// has sent all of its 1 GiB.
func (b *bench) stop() {
	grown, sent := b.row("memory for a reader that stops", "MiB"), b.row("  of what the peer could send", "MiB")
	before := memory(b.t, b.ours.pid, "VmRSS")
	conns, end := b.ours.wires(b.t, b.topics(1))
	_, err := conns[0].Write([]byte("b"))
	if err != nil {
		b.t.Fatal(err)
	}
	sent.ours = []float64{b.awaitStill()}
	grown.ours = []float64{memory(b.t, b.ours.pid, "VmRSS") - before}
	end()

	before = memory(b.t, b.original.PID, "VmRSS")
	b.inNode("stop", map[string]any{"key": b.topics(1)[0]}, nil)
	sent.theirs = []float64{b.awaitStill()}
	grown.theirs = []float64{memory(b.t, b.original.PID, "VmRSS") - before}
}

// awaitStill waits until the service sends no more, and returns how many MiB it has sent.
func (b *bench) awaitStill() float64 {
	var last, still int
	for tick := time.NewTicker(250 * time.Millisecond); ; <-tick.C {
		var got struct{ Sent int }
		b.peer.Do(map[string]any{"do": "sent"})
		b.peer.Await("sent", &got)
		if got.Sent > 0 && got.Sent == last {
			if still++; still >= 12 {
				return float64(got.Sent) / (1 << 20)
			}
		} else {
			last, still = got.Sent, 0
		}
	}
}
