// Command bench measures swarmgate beside what else one could use, and says of each figure whether
// it is what the project promises. make bench runs all of it, and README.md says how each figure is
// taken. A figure is a ratio of what was measured in the same run, in turns, if it can be one.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	rounds int
	bytes  int64  // that a transfer moves
	part   int    // of the counts of things: 1 is all of them
	self   string // this program
	binary string // of the gateway
	base   string // of another one, or empty

	contenders []*contender
	networks   []*network
	network    *network      // that contenders are put on; nil for loopback
	spent      time.Duration // of the processor, by processes that have ended
	points     []point       // for plots
}

// count returns how many things a row has to count.
func (b *bench) count(n int) int { return n / b.part }

// group is a part of the benchmark.
type group struct {
	name    string
	measure func(*bench) ([]row, error)
}

// groups are the parts of the benchmark, in order.
var groups = []group{
	{"bulk", measureBulk},
	{"many circuits", measureMany},
	{"libp2p peers", measureNative},
	{"stalled readers", measureStalled},
	{"small messages", measureEcho},
	{"beside bulk", measureBeside},
	{"bulk over a link", measureLink},
	{"sessions", measureSessions},
	{"short circuits", measureOpenings},
	{"first byte", measureFirst},
	{"slow look-ups", measureSlow},
	{"many topics", measureTopics},
	{"memory", measureMemory},
	{"the original", measureOriginal},
}

// slow are the parts that take too long to be run with the others. They run if they are asked for.
var slow = []group{{"topics at rest", measureRest}}

// comparison is what runs if there is another gateway to compare with.
var comparison = []group{{"against the base", measureBase}}

func main() {
	if runRole() {
		return
	}
	quick := flag.Bool("quick", false, "one round of little: it shows that all runs, and no figure to quote")
	only := flag.String("only", "", "the groups that run, such as bulk,memory; all if empty")
	out := flag.String("out", "", "a folder for results.json")
	plots := flag.String("plots", "", "a folder for plots")
	binary := flag.String("gateway", "", "the program cmd/server; built from this repository if empty")
	base := flag.String("base", "", "another cmd/server, with which the first one is compared, and nothing else")
	flag.Parse()
	self, err := os.Executable()
	exit(err)
	b := &bench{rounds: 5, bytes: 128 << 20, part: 1, self: self, binary: *binary, base: *base}
	if *quick {
		b.rounds, b.bytes, b.part = 1, 16<<20, 20
	}
	exit(b.run(*only, *out, *plots))
}

// runRole plays a role, if this process is to have one, and reports whether it was.
func runRole() bool {
	if len(os.Args) < 3 || os.Args[1] != "role" {
		return false
	}
	args := append(os.Args[3:], "", "") // of the role; the first one is mostly its host
	exit(map[string]func() error{
		"client":  serveClient,
		"peer":    func() error { return servePeer(services) },
		"raw":     func() error { return serveRaw(args[0], args[1]) },
		"page":    func() error { return servePage(args[0]) },
		"yamux":   func() error { return serveYamux(args[0], args[1]) },
		"relay":   func() error { return serveRelay(args[0]) },
		"relayed": func() error { return serveRelayed(args[1]) },
		"native":  func() error { return serveNative(args[1]) },
		"dht":     serveSlowDHT,
		"link":    func() error { return serveLink(args[0]) },
	}[os.Args[2]]())
	return true
}

// exit ends the program, with an error if there is one.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures, and prints the table, also if a group fails. It writes results and plots to folders,
// unless they are empty.
func (b *bench) run(only, out, plots string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if b.binary == "" {
		b.binary = filepath.Join(dir, "server")
		if err := build(b.binary); err != nil {
			return err
		}
	}
	var rows []row
	var failed error
	all := groups
	if only != "" {
		all = slices.Concat(groups, slow)
	}
	if b.base != "" {
		all = comparison
	}
	for _, g := range all {
		if only != "" && !slices.Contains(strings.Split(only, ","), g.name) {
			continue
		}
		began := time.Now()
		m, err := newMeter(b.used)
		if err != nil {
			return err
		}
		some, err := g.measure(b)
		foreign, _ := m.foreign()
		b.endAll()
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", g.name, err))
			some = []row{missing("all of it", "it failed")}
		}
		fmt.Fprintf(os.Stderr, "%s took %v\n", g.name, time.Since(began).Round(time.Second))
		for i := range some {
			some[i].Group, some[i].Foreign, some[i].Verdict = g.name, foreign, some[i].verdict()
		}
		rows = append(rows, some...)
	}
	if len(rows) == 0 {
		return errors.New("no group has that name")
	}
	printTable(os.Stdout, rows)
	if out != "" {
		if err := b.writeResults(out, rows); err != nil {
			return err
		}
	}
	if plots != "" {
		failed = errors.Join(failed, b.plot(plots))
	}
	return failed
}

// used returns the processor time of all contenders, and of this process.
func (b *bench) used() (time.Duration, error) {
	now, err := cpuOfAll(append(b.pids(), os.Getpid()))
	return b.spent + now, err
}

// pids returns the processes of the contenders, and of links.
func (b *bench) pids() []int {
	var all []int
	add := func(p *child) {
		if p != nil && !slices.Contains(all, p.cmd.Process.Pid) {
			all = append(all, p.cmd.Process.Pid)
		}
	}
	for _, c := range b.contenders {
		add(c.server)
		add(c.peer)
		add(c.client)
	}
	for _, n := range b.networks {
		add(n.child)
	}
	return all
}
