package gateway

import (
	"os/exec"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A firewall that drops UDP in the middle of a session costs a client the time in which it gives a
// gateway up, and then it is back over WebSocket; one that comes later is connected after half a
// second, and one that has been there at once.
func TestUDPIsDropped(t *testing.T) {
	if !netns.Inside() {
		netns.New(t, "udp").Rerun(t)
		return
	}
	topic := wtproto.TopicFromName("there")
	g := Start(t, server.Config{
		IsolateClients: true,
		Networks:       []discovery.Network{Static(t, topic, Listen(t, Echo).Addr().String())},
	})
	both := []string{client.TransportQUIC, client.TransportWebSocket}
	c := g.Dial(t, client.Config{Silence: 3 * time.Second, Transports: both})
	news := events(t, c)
	until[client.Connected](t, news)
	top := Join(t, c, topic, client.JoinOptions{})
	says(t, Accept(t, top))
	if got := c.Session().Transport; got != client.TransportQUIC {
		t.Errorf("Transport = %q before UDP is dropped", got)
	}
	rules := "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in meta l4proto udp drop"
	if out, err := exec.CommandContext(t.Context(), "nft", rules).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	start := time.Now()
	again := func(what string) {
		t.Helper()
		until[client.Connected](t, news)
		t.Logf("%s: connected after %v", what, time.Since(start).Round(time.Millisecond))
		if got := c.Session().Transport; got != client.TransportWebSocket {
			t.Errorf("%s: Transport = %q", what, got)
		}
		says(t, Accept(t, top))
	}
	again("UDP dropped within a session")

	start = time.Now()
	late := g.Dial(t, client.Config{Transports: both})
	t.Logf("UDP dropped before: connected after %v", time.Since(start).Round(time.Millisecond))
	if got := late.Session().Transport; got != client.TransportWebSocket {
		t.Errorf("Transport = %q", got)
	}
	says(t, Accept(t, Join(t, late, topic, client.JoinOptions{})))
}
