package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// program is a gateway that runs: the real cmd/server, with limits that are out of the way.
type program struct {
	*child
	QUIC        string
	Admin       string
	Certificate struct{ Hashes []string }
}

// startGateway runs the gateway in a file, with options beside those that every row needs, where
// servers are.
func (b *bench) startGateway(binary string, args ...string) (*program, error) {
	args = append([]string{
		"--listen", b.farHost() + ":0", "--admin", "127.0.0.1:0", "--pprof", "--no-lan", "--log-level", "error", "--allow-private",
		"--max-sessions-per-principal", "-1", "--handshakes-per-address", "-1", "--new-circuits", "-1", "--new-topics", "-1",
		"--max-topics-per-principal", "-1", "--max-circuits", "5000", "--max-pair-circuits", "5000",
		"--max-circuits-per-principal", "-1", "--memory", "4GiB",
	}, args...)
	p := new(program)
	ns := ""
	if b.network != nil {
		ns = b.network.Far
	}
	var err error
	p.child, err = start(p, ns, binary, args...)
	return p, err
}

// way returns how clients get to a peer behind p.
func (p *program) way(transport, socket, topic string) way {
	return way{Kind: transport, Socket: socket, Addr: p.QUIC, Hashes: p.Certificate.Hashes, Topic: topic}
}

// memory returns the bytes of heap and of stacks that p has in use when it has been at rest: stacks
// shrink by a half in each collection, and pools are empty after two.
func (p *program) memory() (float64, error) {
	for range 3 {
		if _, err := p.get("/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	return p.metric("go_memstats_heap_alloc_bytes", "go_memstats_stack_inuse_bytes")
}

// metric returns the sum of some metrics, with all their labels.
func (p *program) metric(names ...string) (float64, error) {
	text, err := p.get("/metrics")
	if err != nil {
		return 0, err
	}
	var all float64
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		if slices.Contains(names, name) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			all += n
		}
	}
	return all, nil
}

// get returns what the operators' listener has at a path.
func (p *program) get(path string) (string, error) {
	r, err := http.Get(p.Admin + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, r.Status)
	}
	return string(b), err
}
