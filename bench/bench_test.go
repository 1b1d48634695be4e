package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The benchmark runs without a race detector, whoever tests it, and on so little that no figure
// means anything. make bench-quick runs all groups.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bench")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	b := &bench{rounds: 1, bytes: 1 << 20, part: 50, self: program, binary: filepath.Join(dir, "server")}
	if err := build(b.binary); err != nil {
		t.Fatal(err)
	}
	if err := b.run("bulk,small messages,first byte", dir, dir); err != nil {
		t.Fatal(err)
	}
	if len(b.contenders)+len(b.networks) > 0 {
		t.Errorf("%d contenders and %d links have not been ended", len(b.contenders), len(b.networks))
	}
	for _, p := range b.points {
		if p.Unit == "MB/s" && p.Min <= 0 {
			t.Errorf("%+v: no bytes", p)
		}
	}
	for _, name := range []string{"results.json", "loopback.svg", "cpu.svg"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(text) < 1000 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

func TestTable(t *testing.T) {
	var table bytes.Buffer
	printTable(&table, []row{
		newRow("speed", "MB/s", atLeast(2), []float64{1, 2, 3}), missing("far", "no cable"),
	})
	for _, want := range []string{"speed, MB/s", ">= 2", "reached", "far", "not measured: no cable"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		bar    bar
		median float64
		want   string
	}{
		{none, 1, ""}, {atLeast(1), 1, "reached"}, {atLeast(1), 0.99, "missed"}, {atMost(1), 1, "reached"}, {atMost(1), 1.01, "missed"},
	} {
		if got := (&row{Bar: tt.bar, Median: tt.median}).verdict(); got != tt.want {
			t.Errorf("%v with %v: %q, want %q", tt.median, tt.bar, got, tt.want)
		}
	}
}

func TestRatio(t *testing.T) {
	r := ratio("rate", none, "MB/s", []float64{1, 2, 3}, []float64{2, 2, 2})
	if r.Median != 1 || r.Min != 0.5 || r.Max != 1.5 || r.Of != "2.00 : 2.00 MB/s" {
		t.Errorf("%+v", r)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("the median of four is %v", m)
	}
}

// Labels of plots have lines of some words.
func TestWrap(t *testing.T) {
	if got := wrap("idle session with a topic, WebTransport"); got != "idle session\nwith a topic,\nWebTransport" {
		t.Errorf("%q", got)
	}
}

// A link delivers at its rate, a half of its round trip later, and drops what its queue has no room
// for: as many bytes as it carries in a round trip.
func TestLink(t *testing.T) {
	l := link{MbitPerSecond: 100, RTT: 20 * time.Millisecond}
	began := time.Unix(0, 0)
	var free time.Time
	var arrived []time.Duration
	for range 300 { // of 1,250 bytes, which take 100 us each, all at once
		if at, ok := l.next(&free, began, 1250); ok {
			arrived = append(arrived, at.Sub(began))
		}
	}
	if n := len(arrived); n != 201 || arrived[0] != 10100*time.Microsecond || arrived[n-1] != 30100*time.Microsecond {
		t.Errorf("%d packets, from %v to %v; want 201 from 10.1ms to 30.1ms", n, arrived[0], slices.Max(arrived))
	}
	if at, ok := l.next(&free, began.Add(time.Second), 1250); !ok || at.Sub(began) != time.Second+10100*time.Microsecond {
		t.Errorf("later: %v, %v", at.Sub(began), ok)
	}
}

// A process uses as much processor time as its clock says.
func TestCPU(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < time.Millisecond; {
	}
	after, err := cpuOf(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("from %v to %v, %v", before, after, err)
	}
	if _, err := cpuOf(1 << 25); err == nil {
		t.Error("a process that there is not has a clock")
	}
}
