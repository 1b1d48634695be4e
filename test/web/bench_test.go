//go:build benchweb && !race

package web

import (
	"context"
	"encoding/hex"
	"io"
	"iter"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// generator is a network with one peer within the gateway's own process, which sends for as long
// as somebody takes it.
type generator struct{ topic wtproto.Topic }

func (g generator) Name() string { return "generator" }
func (g generator) Close() error { return nil }

func (g generator) Join(ctx context.Context, topic wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		if topic == g.topic {
			yield(discovery.Sighting{
				Peer: discovery.Peer{Network: g.Name(), ID: "generator"}, Holds: -1,
				Dial: func(context.Context, wtproto.EndpointID) (discovery.Stream, error) {
					return &generated{ended: make(chan struct{})}, nil
				},
			}, nil)
		}
		<-ctx.Done()
	}
}

// generated is the stream of a generator.
type generated struct{ ended chan struct{} }

func (s *generated) Read(b []byte) (int, error) {
	select {
	case <-s.ended:
		return 0, io.ErrClosedPipe
	default:
		return len(b), nil
	}
}

func (s *generated) Write(b []byte) (int, error)     { return len(b), nil }
func (s *generated) CloseWrite() error               { return nil }
func (s *generated) SetReadDeadline(time.Time) error { return nil }
func (s *generated) Close() error                    { s.Reset(0); return nil }

func (s *generated) Reset(wtproto.Code) {
	select {
	case <-s.ended:
	default:
		close(s.ended)
	}
}

const pairs = 7

// compare runs two measurements in turn and prints both medians and that of the ratios.
func compare(t *testing.T, what, unit string, a, b func() float64) {
	t.Helper()
	var as, bs, ratios []float64
	for range pairs {
		x, y := a(), b()
		as, bs, ratios = append(as, x), append(bs, y), append(ratios, x/y)
	}
	t.Logf("%s: %.2f and %.2f %s, ratio %.2f", what, median(as), median(bs), unit, median(ratios))
}

// TestBenchWeb measures the client in each browser and prints medians of 7 interleaved pairs.
func TestBenchWeb(t *testing.T) {
	const stalled, bulk = 99, 64 << 20
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			page := browser.Start(t, name, "bench.html")
			var addrs []string
			for range stalled {
				addrs = append(addrs, gateway.Listen(t, flood).Addr().String())
			}
			topic := wtproto.TopicFromName
			g := gateway.Start(t, server.Config{
				Origins: []string{page.Origin}, IsolateClients: true, Logger: slog.New(slog.DiscardHandler),
				Networks: []discovery.Network{
					named{gateway.Static(t, topic("stalled"), addrs...), "stalled"},
					named{gateway.Static(t, topic("bulk"), gateway.Listen(t, flood).Addr().String()), "bulk"},
					named{gateway.Static(t, topic("echo"), gateway.Listen(t, gateway.Echo).Addr().String()), "echo"},
					generator{topic("generator")},
				},
			})
			measure := func(call string, more map[string]any) float64 {
				args := map[string]any{"url": g.URL, "hash": hex.EncodeToString(g.Hash[:])}
				for k, v := range more {
					args[k] = v
				}
				var v float64
				page.Call(t, call, args, &v)
				return v
			}
			rate := func(topic string, stalled, total int) func() float64 {
				return func() float64 {
					return measure("rate", map[string]any{"topic": topic, "stalled": stalled, "total": total})
				}
			}
			roundTrip := func(stalled int) func() float64 {
				return func() float64 {
					return measure("roundTrip", map[string]any{"topic": "echo", "stalled": stalled, "n": 500})
				}
			}
			compare(t, "the 100th circuit beside 99 stalled ones, and alone", "MB/s", rate("bulk", stalled, bulk), rate("bulk", 0, bulk))
			compare(t, "its round trip of 64 bytes, p99, and alone", "ms", roundTrip(stalled), roundTrip(0))
			compare(t, "256 MiB from a TCP peer, and from a generator in the gateway", "MB/s", rate("bulk", 0, 4*bulk), rate("generator", 0, 4*bulk))
			compare(t, "peer.readable, and the raw stream", "MB/s", rate("generator", 0, 4*bulk), func() float64 {
				return measure("raw", map[string]any{"topic": "generator", "total": 4 * bulk})
			})
			var first []float64
			for range pairs {
				page.Call(t, "goto", map[string]any{"url": page.URL}, nil)
				first = append(first, measure("firstByte", map[string]any{"topic": "bulk"}))
			}
			t.Logf("page opened to first byte of a peer: %.0f ms", median(first))
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
