package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// build builds the gateway of this repository.
func build(to string) error {
	out, err := exec.Command("go", "build", "-o", to, "github.com/swarmgate/swarmgate/cmd/server").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// printTable prints rows for people.
func printTable(to io.Writer, rows []row) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmedian\tmin\tmax\twanted\t\tof\tothers")
	group := ""
	for _, r := range rows {
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(w, "%s\t\t\t\t\t\t\t\n", strings.ToUpper(group))
		}
		name := r.Name
		if r.Unit != "" {
			name += ", " + r.Unit
		}
		if r.Max == 0 && r.Verdict != "" {
			fmt.Fprintf(w, "  %s\t\t\t\t\t%s\t\t\n", name, r.Verdict)
			continue
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f%%\n", name, short(r.Median), short(r.Min), short(r.Max),
			r.Bar, r.verdict(), r.Of, 100*r.Foreign)
	}
	w.Flush()
}

// measured are the modules whose versions matter.
var measured = []string{
	"github.com/quic-go/", "github.com/coder/websocket", "github.com/hashicorp/yamux", "github.com/libp2p/go-libp2p", "github.com/libp2p/go-yamux",
}

// results is the contents of results.json.
type results struct {
	Commit   string            `json:"commit"`
	Go       string            `json:"go"`
	System   string            `json:"system"`
	CPUs     int               `json:"cpus"`
	CPU      string            `json:"cpu"`
	Kernel   string            `json:"kernel"`
	At       time.Time         `json:"at"`
	Rounds   int               `json:"rounds"`
	Versions map[string]string `json:"versions"`
	Rows     []row             `json:"rows"`
	Points   []point           `json:"points"`
}

// writeResults writes results.json.
func (b *bench) writeResults(dir string, rows []row) error {
	r := results{
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(),
		At: time.Now().UTC().Truncate(time.Second), Versions: map[string]string{}, Rounds: b.rounds, Rows: rows, Points: b.points,
	}
	if head, err := exec.Command("git", "rev-parse", "HEAD").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(head))
	}
	if changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results.json", ":!docs/bench").Output(); err == nil && len(changed) > 0 {
		r.Commit += ", changed"
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		r.Kernel = strings.TrimSpace(string(kernel))
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				r.CPU = strings.TrimSpace(value)
			}
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.ContainsFunc(measured, func(prefix string) bool { return strings.HasPrefix(m.Path, prefix) }) {
				r.Versions[m.Path] = m.Version
			}
		}
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644)
}
