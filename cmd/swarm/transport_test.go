package main

import (
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
)

// A program connects as it is told, on the command line or in the environment, and says how.
func TestTransport(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	g := withStatic(t, echo.Addr().String())
	want := text(300_000)
	for _, c := range []struct {
		name, env string
		args      []string
		transport string
	}{
		{"websocket", "", []string{"--transport", "websocket"}, client.TransportWebSocket},
		{"quic", "websocket", []string{"--transport", "quic"}, client.TransportQUIC},
		{"of the environment", "websocket", nil, client.TransportWebSocket},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SWARMGATE_TRANSPORT", c.env)
			p := swarm(t, strings.NewReader(want), append(through(g, "join", "there", "--once", "--json"), c.args...)...)
			if status := p.wait(t); status != 0 {
				t.Fatalf("status %d: %s", status, p.errs.String())
			}
			all := p.events(t)
			if all[0].Event != "joined" || all[0].Transport != c.transport {
				t.Errorf("joined over %q, want %q", all[0].Transport, c.transport)
			}
			if received(all) != want {
				t.Error("the data is not what was sent")
			}
		})
	}
}

// The info document of this machine tells where WebSocket is, and status says that it is used.
func TestWebSocketOfTheInfoDocument(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	dev := g.InfoServer()
	defer dev.Close()
	p := swarm(t, open(t), "status", "--transport", "websocket", "--gateway", dev.URL)
	if status := p.wait(t); status != 0 || !strings.Contains(p.out.String(), "over WebSocket") {
		t.Errorf("status %d: %s%s", status, p.out.String(), p.errs.String())
	}
}
