//go:build !race

package lan

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/mdns"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// envThere names the namespace of the service, for the process in that of the gateway.
const envThere = "TEST_THERE"

// A plain TCP service that avahi publishes on one machine is found by a gateway on another, and
// its bytes reach a client; once withdrawn it is gone from STATUS.
func TestAvahi(t *testing.T) {
	if !netns.Inside() {
		here, there := netns.New(t, "gateway"), netns.New(t, "service")
		netns.Link(t, here, "10.75.0.1/24", there, "10.75.0.2/24")
		here.Rerun(t, envThere+"="+there.Name())
		return
	}
	there := netns.Open(os.Getenv(envThere))
	env := netns.Avahi(t, there)
	netns.Daemon(t, there.Command(t.Context(), "socat", "-d", "-d", "TCP6-LISTEN:7007,fork,ipv6-v6only=0", "EXEC:cat"), "listening on")
	topic := wtproto.TopicFromName("lan")
	publish := there.Command(t.Context(), "avahi-publish", "-s", "echo", "_swarmgate._tcp", "7007", "topic="+topic.String())
	publish.Env = env
	withdraw := netns.Daemon(t, publish, "Established under name")

	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	network, err := mdns.New(mdns.Config{Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	ctx := t.Context()
	go func() {
		defer close(ran)
		network.Run(ctx)
	}()
	t.Cleanup(func() { <-ran })
	g := gateway.Start(t, server.Config{ShowAddresses: true, Networks: []discovery.Network{network}})
	top := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
	conn := gateway.Accept(t, top)
	if p := conn.Peer(); p.Network != "lan" || p.Address == "" {
		t.Errorf("Peer = %+v, want one on the LAN with its address", p)
	}
	data := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(data))
	}
	awaitFound(t, top, 1)
	withdraw()
	awaitFound(t, top, 0)
}

// awaitFound waits until STATUS says that the first network has found n peers.
func awaitFound(t *testing.T, top *client.Topic, n int) {
	t.Helper()
	gateway.Status(t, top, fmt.Sprint(n, " found"), func(s client.Status) bool {
		return len(s.Networks) > 0 && s.Networks[0].Found == n
	})
}
