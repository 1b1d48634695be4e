package main

import (
	"context"
	"io"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/wtproto"
)

// topicsLate are announced by a native peer, and found by nobody before a row asks for them.
func topicLate(i int) string { return "late " + string(rune('a'+i)) }

// late is how many of these there are.
const late = 8

// serveNative is the role of a native peer on a private DHT, which it enters by a seed, or serves
// alone. It is on topicOne, topicGreet and the late topics.
func serveNative(seed string) error {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		return err
	}
	cfg := p2p.Config{Mode: p2p.Private, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Policy: policy}
	if seed != "" {
		cfg.Seeds = []string{seed}
	}
	h, err := p2p.Listen(cfg)
	if err != nil {
		return err
	}
	go joinNative(h, topicOne, func(s io.ReadWriter) { serve(s) })
	go joinNative(h, topicGreet, greet)
	for i := range late {
		go joinNative(h, topicLate(i), greet)
	}
	return answerCalls(listening{Addr: h.Addrs()[0]}, nil)
}

// joinNative announces a topic, and serves the circuits that others open.
func joinNative(h *p2p.Host, topic string, serve func(io.ReadWriter)) {
	presence := discovery.NewPresence(discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{{}}})
	for s, err := range h.Join(context.Background(), wtproto.TopicFromName(topic), presence) {
		if err != nil || s.Inbound == nil {
			continue
		}
		go func() {
			stream, err := s.Inbound.Accept()
			if err != nil {
				return
			}
			defer stream.Close()
			serve(stream)
			stream.CloseWrite()
		}()
	}
}
