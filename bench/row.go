package main

import (
	"cmp"
	"fmt"
	"slices"
)

// bar is what a figure has to reach; the zero value is none.
type bar struct {
	AtLeast, AtMost float64
}

func (b bar) String() string {
	switch {
	case b.AtLeast > 0:
		return fmt.Sprintf(">= %.4g", b.AtLeast)
	case b.AtMost > 0:
		return fmt.Sprintf("<= %.4g", b.AtMost)
	}
	return ""
}

// row is a figure of the table.
type row struct {
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Unit    string  `json:"unit"` // of the figure; "" for a ratio
	Bar     bar     `json:"bar"`
	Median  float64 `json:"median"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Of      string  `json:"of"`      // the medians that the figure is made of, for people
	Foreign float64 `json:"foreign"` // part of the machine that others used meanwhile, 0 to 1
	Verdict string  `json:"verdict"` // "reached", "missed", "" without a bar, or why it was not measured
}

// missing returns a row that was not measured.
func missing(name, why string) row { return row{Name: name, Verdict: "not measured: " + why} }

// verdict says whether the median reaches the bar.
func (r *row) verdict() string {
	switch b := r.Bar; {
	case r.Verdict != "" || b == bar{}:
		return r.Verdict
	case b.AtLeast > 0 && r.Median < b.AtLeast, b.AtMost > 0 && r.Median > b.AtMost:
		return "missed"
	}
	return "reached"
}

// median returns the median of all, which may not be empty.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// each returns f of each sample.
func each(all []sample, f func(sample) float64) []float64 {
	out := make([]float64, len(all))
	for i, s := range all {
		out[i] = f(s)
	}
	return out
}

// newRow returns the row of a figure that was taken once a round.
func newRow(name, unit string, b bar, rounds []float64) row {
	return row{Name: name, Unit: unit, Bar: b, Median: median(rounds), Min: slices.Min(rounds), Max: slices.Max(rounds)}
}

// ratio returns the row of a figure of one contender to that of another one, of which each round
// has both.
func ratio(name string, b bar, unit string, ours, theirs []float64) row {
	rounds := make([]float64, len(ours))
	for i := range ours {
		rounds[i] = ours[i] / cmp.Or(theirs[i], 1e-9)
	}
	r := newRow(name, "", b, rounds)
	r.Of = fmt.Sprintf("%s : %s %s", short(median(ours)), short(median(theirs)), unit)
	return r
}

// short formats a figure for people.
func short(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// point is a bar of a plot, or a part of one.
type point struct {
	Plot   string  `json:"plot"`
	Who    string  `json:"who"` // whose colour it has
	At     string  `json:"at"`  // beside which others it stands
	Unit   string  `json:"unit"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// note keeps a figure for a plot.
func (b *bench) note(plot, who, at, unit string, rounds []float64) {
	b.points = append(b.points, point{plot, who, at, unit, median(rounds), slices.Min(rounds), slices.Max(rounds)})
}

// rate returns MB/s of an order that moves n bytes.
func rate(n int64) func(sample) float64 {
	return func(s sample) float64 { return float64(n) / 1e6 / s.Seconds }
}

// perGiB returns seconds of the server's processor a GiB.
func perGiB(n int64) func(sample) float64 {
	return func(s sample) float64 { return s.cpu / (float64(n) / (1 << 30)) }
}

// perCPU returns how many of n things there are for a second of the server's processor.
func perCPU(n int) func(sample) float64 {
	return func(s sample) float64 { return float64(n) / max(s.cpu, 1e-9) }
}

// quantile returns a quantile of the times of a sample, in milliseconds.
func quantile(q float64) func(sample) float64 {
	return func(s sample) float64 { return s.Times[min(int(q*float64(len(s.Times))), len(s.Times)-1)] * 1000 }
}
