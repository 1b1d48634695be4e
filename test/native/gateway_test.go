//go:build !race

package native

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A peer on js-libp2p echoes 16 MiB to a Go client, through a gateway that found it on the DHT,
// and through one that it found.
func TestJSPeerThroughGateway(t *testing.T) {
	for _, mode := range []string{"announce", "lookup"} {
		t.Run(mode, func(t *testing.T) {
			seed := startP2P(t, false, nil)
			topic := wtproto.TopicFromName("js " + mode)
			startFirst := mode == "announce"
			if startFirst {
				startJS(t, topic, seed, mode)
			}
			g := gateway.Start(t, server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed.Addrs()[0])}})
			top := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
			if !startFirst {
				gateway.Announced(t, startP2P(t, true, nil, seed), topic)
				startJS(t, topic, seed, mode)
			}
			conn := gateway.Accept(t, top)
			if p := conn.Peer(); p.Network != "dht" || !p.Initiator {
				t.Errorf("Peer = %+v", p)
			}
			data := make([]byte, 16<<20)
			rand.NewChaCha8([32]byte{16}).Read(data)
			go func() {
				conn.Write(data)
				conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
				t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(data))
			}
		})
	}
}
