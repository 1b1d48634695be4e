package main

import (
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/gateway"
)

func TestStatusOfATopic(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	g := withStatic(t, echo.Addr().String(), "127.0.0.1:1")
	p := swarm(t, open(t), through(g, "status", "there", "--for", "2500ms")...)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"version 1 of the protocol, over QUIC", "pinned", "64 topics, 256 circuits", "topic        2 known", "static     searching: 2 found", "1 refused, last PEER_UNREACHABLE"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	p = swarm(t, open(t), through(g, "status", "there", "--for", "10m", "--json")...)
	gateway.Eventually(t, "the refusal", func() bool {
		for _, e := range p.events(t) {
			if e.Status != nil && len(e.Status.Networks) > 0 && e.Status.Networks[0].Refused == 1 && e.Status.Networks[0].LastCode == "PEER_UNREACHABLE" {
				return true
			}
		}
		return false
	})
}
