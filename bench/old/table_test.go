//go:build benchold

package old

import (
	"bytes"
	"fmt"
	"slices"
	"text/tabwriter"
)

// row is a line of the table.
type row struct {
	what, unit   string
	more         bool    // is better
	bar          float64 // of ours to theirs, zero is none
	ours, theirs []float64
}

// ratio returns the median of the rounds' ratios.
func (r row) ratio() float64 {
	var ratios []float64
	for i, theirs := range r.theirs {
		ratios = append(ratios, r.ours[i]/theirs)
	}
	return median(ratios)
}

// verdict says what the ratio means.
func (r row) verdict() string {
	ratio := r.ratio()
	switch {
	case r.bar > 0 && ratio <= r.bar:
		return "met"
	case r.bar > 0:
		return "MISSED"
	case (ratio > 1) == r.more:
		return "ahead"
	}
	return "behind"
}

// table prints rows.
func table(rows []*row) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what\tunit\trounds\tours\ttheirs\tours/theirs\tbar\tverdict\t")
	for _, r := range rows {
		bar := "-"
		if r.bar > 0 {
			bar = fmt.Sprintf("<= %.2f", r.bar)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\t%.2f\t%.2f\t%s\t%s\t\n", r.what, r.unit, len(r.ours), median(r.ours), median(r.theirs),
			r.ratio(), bar, r.verdict())
	}
	w.Flush()
	return b.String()
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(q*float64(len(v))))]
}
