//go:build !race

package web

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// 256 MiB of a peer arrive in the page unchanged, and the browser does not hold them.
func TestBulkInBrowsers(t *testing.T) {
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		data := random(256<<20, 2)
		topic := wtproto.TopicFromName("bulk")
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: []discovery.Network{
			gateway.Static(t, topic, gateway.Listen(t, send(data)).Addr().String()),
		}})
		page.Open(t, browser.Target(g))
		growth := watchMemory(t, page.PID)
		var got received
		page.Call(t, "read", map[string]any{"topic": "bulk"}, &got)
		grew := growth()
		if got.Total != len(data) || got.Sum != sumOfSums(data) {
			t.Errorf("%d bytes with sum %s, want %d with %s", got.Total, got.Sum, len(data), sumOfSums(data))
		}
		if grew > 150_000 {
			t.Errorf("the browser grew by %d kB, want at most 150 MB", grew)
		}
		t.Logf("256 MiB in %d ms; all of the browser's processes grew by %d kB at most", got.Ms, grew)
	})
}

// watchMemory watches how much a process and all below it hold, and returns a function that ends
// that and returns by how many kB they grew at most.
func watchMemory(t *testing.T, pid int) (growth func() int) {
	before := pss(t, pid)
	stop, peak := make(chan struct{}), make(chan int)
	go func() {
		most := before
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-tick.C:
				most = max(most, pss(t, pid))
			case <-stop:
				tick.Stop()
				peak <- most
				return
			}
		}
	}()
	return func() int {
		close(stop)
		return <-peak - before
	}
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
