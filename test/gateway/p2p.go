package gateway

import (
	"context"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Host starts a libp2p host on loopback and a private DHT that is entered by seeds. It speaks for
// clients if gateway is set. The caller, or the gateway that it is given to, closes it.
func Host(t testing.TB, gateway bool, seeds ...string) *p2p.Host {
	t.Helper()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	h, err := p2p.Listen(p2p.Config{
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mode: p2p.Private, Seeds: seeds, Gateway: gateway, Policy: policy,
		DialTimeout: Patience, AnswerTimeout: Patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Seed starts a host by which a private DHT is entered, until the test ends, and returns its
// address.
func Seed(t testing.TB) string {
	h := Host(t, false)
	t.Cleanup(func() { h.Close() })
	return h.Addrs()[0]
}

// Native puts a native peer on topic until the test ends. It hands each circuit to serve in a
// goroutine, and ends the circuit when serve returns.
func Native(t testing.TB, h *p2p.Host, topic wtproto.Topic, presence *discovery.Presence, serve func(discovery.Stream)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { RunNative(ctx, h, topic, presence, serve) })
	t.Cleanup(func() {
		cancel()
		h.Close()
		wg.Wait()
	})
}

// RunNative is Native until ctx ends.
func RunNative(ctx context.Context, h *p2p.Host, topic wtproto.Topic, presence *discovery.Presence, serve func(discovery.Stream)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for s, err := range h.Join(ctx, topic, presence) {
		if err != nil || s.Inbound == nil {
			continue
		}
		wg.Go(func() {
			stream, err := s.Inbound.Accept()
			if err != nil {
				return
			}
			defer stream.Close()
			stop := context.AfterFunc(ctx, func() { stream.Reset(wtproto.CodeShutdown) })
			defer stop()
			serve(stream)
		})
	}
}

// Announced waits until watcher, a gateway's host on the same DHT, has found a host on topic.
func Announced(t testing.TB, watcher *p2p.Host, topic wtproto.Topic) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for s := range watcher.Join(ctx, topic, discovery.NewPresence(discovery.State{LookUp: true})) {
		if s.Peer.ID != "" {
			return
		}
	}
	t.Fatalf("nobody announced the topic within %v", Patience)
}
