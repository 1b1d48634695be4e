package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
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
	{0x00, 0x72, 0xb2, 0xff},
	{0xe6, 0x9f, 0x00, 0xff},
	{0x00, 0x9e, 0x73, 0xff},
	{0xd5, 0x5e, 0x00, 0xff},
	{0x56, 0xb4, 0xe9, 0xff},
	{0xcc, 0x79, 0xa7, 0xff},
	{0xf0, 0xe4, 0x42, 0xff},
	{0x77, 0x77, 0x77, 0xff},
	{0x22, 0x22, 0x22, 0xff},
}

// colored have the same colour in all pictures, that of the palette.
var colored = []string{
	"quic-go", "quic-go, internal/udp", "gateway, QUIC", "gateway, WebTransport", "gateway, WebSocket", "yamux, one WebSocket",
	"libp2p relay", "discovery-swarm-stream", "yamux, one WebSocket, BBR",
}

// colorOf returns the colour of a contender, or that of the k-th of others.
func colorOf(name string, k int) color.Color {
	if i := slices.Index(colored, name); i >= 0 {
		k = i
	}
	return palette[k%len(palette)]
}

// wrap breaks a label into lines of some words.
func wrap(label string) string {
	var lines []string
	for _, word := range strings.Fields(label) {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(word) <= 16 {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return strings.Join(lines, "\n")
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

// The size of a picture, and of the legend at its right, in points.
const (
	width, height = 980, 390
	legendWidth   = 200
)

// draw writes a picture of points to a file.
func (p picture) draw(points []point, file string) error {
	at, who := inOrder(points, func(p point) string { return p.At }), inOrder(points, func(p point) string { return p.Who })
	c, legend := plot.New(), plot.NewLegend()
	c.Title.Text, c.Y.Label.Text = p.title, p.y
	c.Title.TextStyle.Font.Size, c.Title.Padding = 14, 8
	legend.Top, legend.Left, legend.TextStyle.Font.Size, legend.Padding = true, true, 11, 3
	c.Y.Tick.Marker = evenTicks{}
	low := 0.0
	if p.log {
		low = math.Inf(1)
		for _, q := range points {
			low = min(low, q.Min)
		}
		low = math.Pow(10, math.Floor(math.Log10(max(low, 1e-3))))
		c.Y.Scale, c.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	step := 0.8 / float64(len(who))
	for k, name := range who {
		shift := (float64(k) - float64(len(who)-1)/2) * step
		bars := boxes{half: 0.45 * step, base: low, color: colorOf(name, k)}
		var spread spreads
		for _, q := range points {
			if q.Who == name {
				bars.at = append(bars.at, plotter.XY{X: float64(slices.Index(at, q.At)) + shift, Y: q.Median})
				spread = append(spread, struct{ Low, High float64 }{q.Median - q.Min, q.Max - q.Median})
			}
		}
		whiskers, err := plotter.NewYErrorBars(struct {
			plotter.XYs
			spreads
		}{bars.at, spread})
		if err != nil {
			return err
		}
		whiskers.CapWidth = 4
		c.Add(bars, whiskers)
		legend.Add(name, bars)
	}
	c.Y.Min = low
	c.X.Min, c.X.Max = -0.5, float64(len(at))-0.5
	for i := range at {
		at[i] = wrap(at[i])
	}
	c.NominalX(at...)
	c.X.Tick.Label.Font.Size = 10
	svg := vgsvg.New(width, height)
	all := draw.New(svg)
	all.FillPolygon(color.White, []vg.Point{{}, {Y: height}, {X: width, Y: height}, {X: width}})
	c.Draw(draw.Crop(all, 8, -legendWidth, 8, -8))
	legend.Draw(draw.Crop(all, width-legendWidth+10, 0, 0, -40))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = svg.WriteTo(f)
	return errors.Join(err, f.Close())
}

// evenTicks are about five labels at round numbers.
type evenTicks struct{}

// Ticks returns them.
func (evenTicks) Ticks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	for _, more := range []float64{2, 2.5, 2} { // 2, 5 and 10 times the power of ten
		if (high-low)/step <= 6 {
			break
		}
		step *= more
	}
	var ticks []plot.Tick
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 4, 64)})
	}
	return ticks
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
