package inprocess

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

const rounds = 100

// report turns durations into the benchmark's metrics.
func report(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	ms := func(q float64) float64 {
		return all[min(len(all)-1, int(q*float64(len(all))))].Seconds() * 1000
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(0.5), "p50-ms")
	b.ReportMetric(ms(0.99), "p99-ms")
}

func quiet(cfg server.Config) server.Config {
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.MaxSessionsPerPrincipal, cfg.NewCircuits = -1, -1
	cfg.HandshakesPerAddress = -1
	cfg.MaxTopics = -1
	cfg.ControlRate = -1
	return cfg
}

func greet(s discovery.Stream) {
	s.Write([]byte("x"))
	io.Copy(io.Discard, s)
}

func firstByte(b *testing.B, conn *client.Conn) {
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkJoin: JOIN to JOINED, with a private DHT.
func BenchmarkJoin(b *testing.B) {
	g := gateway.Start(b, quiet(server.Config{Networks: []discovery.Network{gateway.Host(b, true, gateway.Seed(b))}}))
	c := g.Dial(b, client.Config{})
	var all []time.Duration
	for b.Loop() {
		for i := range rounds {
			began := time.Now()
			gateway.Join(b, c, wtproto.Topic{byte(i), byte(len(all) >> 8), 1}, client.JoinOptions{})
			all = append(all, time.Since(began))
		}
	}
	report(b, all)
}

// peer puts a native peer with a host of its own on a topic. The returned function ends it.
func peer(b *testing.B, seed string, topic wtproto.Topic, state discovery.State) (leave func()) {
	h := gateway.Host(b, false, seed)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	state.Endpoints = []wtproto.EndpointID{{}}
	wg.Go(func() { gateway.RunNative(ctx, h, topic, discovery.NewPresence(state), greet) })
	return func() {
		cancel()
		h.Close()
		wg.Wait()
	}
}

// watch starts a host that sees who has announced a topic.
func watch(b *testing.B, seed string) *p2p.Host {
	h := gateway.Host(b, true, seed)
	b.Cleanup(func() { h.Close() })
	return h
}

// BenchmarkAnnouncedPeer measures from JOIN to the first byte of a native peer. The peer is
// already announced on a private DHT, and nobody here was connected to it before.
func BenchmarkAnnouncedPeer(b *testing.B) {
	seed := gateway.Seed(b)
	watcher := watch(b, seed)
	g := gateway.Start(b, quiet(server.Config{Networks: []discovery.Network{gateway.Host(b, true, seed)}}))
	c := g.Dial(b, client.Config{})
	var all []time.Duration
	for b.Loop() {
		for range rounds {
			topic := wtproto.Topic{byte(len(all)), byte(len(all) >> 8), 2}
			leave := peer(b, seed, topic, discovery.State{Announce: true})
			gateway.Announced(b, watcher, topic)
			began := time.Now()
			top := gateway.Join(b, c, topic, client.JoinOptions{})
			firstByte(b, gateway.Accept(b, top))
			all = append(all, time.Since(began))
			leave()
		}
	}
	report(b, all)
}

// BenchmarkNewcomer measures from the start of a native peer to its first byte at a client. The
// client has joined the topic with announce before.
func BenchmarkNewcomer(b *testing.B) {
	seed := gateway.Seed(b)
	watcher := watch(b, seed)
	g := gateway.Start(b, quiet(server.Config{Networks: []discovery.Network{gateway.Host(b, true, seed)}}))
	c := g.Dial(b, client.Config{})
	var all []time.Duration
	for b.Loop() {
		for range rounds {
			topic := wtproto.Topic{byte(len(all)), byte(len(all) >> 8), 3}
			top := gateway.Join(b, c, topic, client.JoinOptions{})
			gateway.Announced(b, watcher, topic)
			began := time.Now()
			leave := peer(b, seed, topic, discovery.State{Announce: true, LookUp: true})
			firstByte(b, gateway.Accept(b, top))
			all = append(all, time.Since(began))
			leave()
		}
	}
	report(b, all)
}
