package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if runRole() {
		return
	}
	os.Exit(m.Run())
}

// All groups run, on so little that no figure means anything, but for those that take time by the
// clock. A program that fails makes the benchmark fail.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	b := &bench{rounds: 1, bytes: 1 << 20, part: 50, binary: filepath.Join(dir, "server")}
	if err := build(b.binary); err != nil {
		t.Fatal(err)
	}
	b.base = b.binary
	for _, g := range append(groups, comparison...) {
		if g.name == "beside bulk" {
			continue
		}
		rows, err := g.measure(b)
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		for _, r := range rows {
			if strings.Contains(r.Name, ": rate") && r.Median <= 0 {
				t.Errorf("%s: %s: %v", g.name, r.Name, r.Median)
			}
		}
		var table bytes.Buffer
		printTable(&table, rows)
		if n := strings.Count(table.String(), "\n"); n < len(rows) {
			t.Errorf("%s: a table of %d lines for %d rows", g.name, n, len(rows))
		}
	}
	if len(b.contenders) > 0 {
		t.Errorf("%d contenders have not been ended", len(b.contenders))
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
