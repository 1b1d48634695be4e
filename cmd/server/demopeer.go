package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"sync"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/internal/splice"
	"github.com/swarmgate/swarmgate/wtproto"
)

// idPrefix and an Ed25519 public key are the peer id of a libp2p host.
const idPrefix = "\x00\x24\x08\x01\x12\x20"

// demoPeer is a native peer with a libp2p host of its own, which announces the topic of the demo
// and echoes.
type demoPeer struct {
	host  *p2p.Host
	id    []byte        // as clients see it
	ready chan struct{} // closed once it is on the DHT
	leave context.CancelFunc
	wg    sync.WaitGroup // of all its goroutines
}

// startDemoPeer starts a peer on the private DHT that seeds are on. The caller closes it.
func startDemoPeer(seeds []string, log *slog.Logger) (*demoPeer, error) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		return nil, err
	}
	host, err := p2p.Listen(p2p.Config{
		Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mode: p2p.Private, Seeds: seeds, Policy: policy, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &demoPeer{host: host, id: append([]byte(idPrefix), public...), ready: make(chan struct{}), leave: cancel}
	p.wg.Go(func() { p.serve(ctx) })
	return p, nil
}

// serve echoes every circuit until ctx ends. It is the gateway that opens them.
func (p *demoPeer) serve(ctx context.Context) {
	ready := sync.OnceFunc(func() { close(p.ready) })
	for s, err := range p.host.Join(ctx, wtproto.TopicFromName(demoTopic), discovery.Native()) {
		if err != nil {
			continue
		}
		ready()
		if s.Inbound != nil {
			p.wg.Go(func() { echo(s.Inbound) })
		}
	}
}

// echo accepts a circuit and sends back what comes.
func echo(in discovery.Inbound) {
	s, err := in.Accept()
	if err != nil {
		return
	}
	var c splice.Copy
	if err := c.Run(s, s); err != nil {
		s.Reset(wtproto.CodeNone)
		return
	}
	s.CloseWrite()
	s.Close()
}

// close ends the peer and its circuits.
func (p *demoPeer) close() error {
	p.leave()
	err := p.host.Close()
	p.wg.Wait()
	if err != nil {
		return fmt.Errorf("demo: peer: %w", err)
	}
	return nil
}
