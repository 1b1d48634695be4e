package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// picture is a plot: groups of bars, one of each colour, with lines from the least to the largest
// round.
type picture struct {
	name, title, y string
	log            bool // the y axis
}

// pictures are the plots that README and docs show.
var pictures = []picture{
	{"loopback", "One machine, no network: bytes of a peer to a client and back", "MB/s, more is better", false},
	{"cpu", "One machine, no network: what the server needs", "CPU seconds a GiB, less is better", false},
	{"beside", "20 ms, 100 Mbit/s: 64 bytes there and back beside 64 bulk streams", "ms, less is better (log scale)", true},
	{"link", "20 ms, 100 Mbit/s: one bulk stream", "MB/s, more is better", false},
	{"many", "Many circuits at once", "MB/s, more is better", false},
	{"memory", "Memory of a gateway for what is idle", "KB, less is better", false},
}

// palette are colours that people who are colour-blind can tell apart (Okabe and Ito).
var palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
	{0xcc, 0x79, 0xa7, 0xff}, {0xf0, 0xe4, 0x42, 0xff}, {0x77, 0x77, 0x77, 0xff}, {0x22, 0x22, 0x22, 0xff},
}

// plot writes the plots of what was measured.
func (b *bench) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range pictures {
		var points []point
		for _, q := range b.points {
			if q.Plot == p.name {
				points = append(points, q)
			}
		}
		if len(points) == 0 {
			continue
		}
		if err := p.draw(points, filepath.Join(dir, p.name+".svg")); err != nil {
			return fmt.Errorf("the plot %s: %w", p.name, err)
		}
	}
	return nil
}

// inOrder returns the names that f gives to points, without duplicates.
func inOrder(points []point, f func(point) string) []string {
	var names []string
	for _, p := range points {
		if !slices.Contains(names, f(p)) {
			names = append(names, f(p))
		}
	}
	return names
}

// draw writes a picture of points to a file.
func (p picture) draw(points []point, file string) error {
	at, who := inOrder(points, func(p point) string { return p.At }), inOrder(points, func(p point) string { return p.Who })
	c := plot.New()
	c.Title.Text, c.Y.Label.Text = p.title, p.y
	c.Title.TextStyle.Font.Size, c.Title.Padding = 14, 8
	c.BackgroundColor = color.White
	c.Y.Min = 0
	if p.log {
		c.Y.Scale, c.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	const width, height, margin = 900, 420, 110
	bar := vg.Length(width-margin) / vg.Length(len(at)) * 0.8 / vg.Length(len(who))
	low := math.Inf(1)
	for _, q := range points {
		low = min(low, q.Min)
	}
	low = math.Pow(10, math.Floor(math.Log10(max(low, 1e-3)))) // of a logarithmic axis
	for k, name := range who {
		shift := (float64(k) - float64(len(who)-1)/2) * 0.8 / float64(len(who))
		bars, lines := boxes{half: 0.36 / float64(len(who)), color: palette[k%len(palette)]}, plotter.XYs{}
		if p.log {
			bars.base = low
		}
		spread := spreads{}
		for _, q := range points {
			if q.Who == name {
				x := float64(slices.Index(at, q.At)) + shift
				bars.at, lines = append(bars.at, plotter.XY{X: x, Y: q.Median}), append(lines, plotter.XY{X: x, Y: q.Median})
				spread = append(spread, struct{ Low, High float64 }{q.Median - q.Min, q.Max - q.Median})
			}
		}
		whiskers, err := plotter.NewYErrorBars(struct {
			plotter.XYs
			spreads
		}{lines, spread})
		if err != nil {
			return err
		}
		whiskers.CapWidth = bar / 2
		c.Add(bars, whiskers)
		c.Legend.Add(name, bars)
	}
	if p.log {
		c.Y.Min = low
	}
	c.Y.Max *= 1.05
	c.X.Min, c.X.Max = -0.5, float64(len(at))-0.5
	c.NominalX(at...)
	c.X.Tick.Label.Font.Size, c.Legend.TextStyle.Font.Size = 10, 10
	c.Legend.Top, c.Legend.Left = true, false
	c.Legend.XOffs = 0
	return c.Save(width, height, file)
}

// spreads are the errors of bars.
type spreads []struct{ Low, High float64 }

// YError returns how far down and up an error goes.
func (s spreads) YError(i int) (float64, float64) { return s[i].Low, s[i].High }

// boxes are bars of one colour. Those of gonum know no logarithmic axis.
type boxes struct {
	at         plotter.XYs
	half, base float64
	color      color.Color
}

// Plot draws the bars.
func (b boxes) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, q := range b.at {
		left, right, low, high := x(q.X-b.half), x(q.X+b.half), y(max(b.base, p.Y.Min)), y(q.Y)
		c.FillPolygon(b.color, []vg.Point{{X: left, Y: low}, {X: left, Y: high}, {X: right, Y: high}, {X: right, Y: low}})
	}
}

// DataRange returns where the bars are.
func (b boxes) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = plotter.XYRange(b.at)
	return xmin - b.half, xmax + b.half, min(b.base, ymin), ymax
}

// Thumbnail draws what the legend shows.
func (b boxes) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.color, []vg.Point{
		{X: c.Min.X, Y: c.Min.Y}, {X: c.Min.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Min.Y},
	})
}
