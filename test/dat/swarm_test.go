package dat

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Peers of plain discovery-swarm and the gateway find each other and both dial. Their handshake is
// done by the gateway, and of two connections one stays.
func TestDiscoverySwarm(t *testing.T) {
	for _, version := range []int{5, 6} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			var w ways
			_, w.dns = dnsServer(t)
			c := start(t, w, dat.Config{Ports: freePorts(t, 1), Listen: "127.0.0.1:0"})
			topic := wtproto.TopicFromName(fmt.Sprint("swarm ", version))
			var ready struct{ ID string }
			peer := script(t, "peers.js", "swarm", w.options("127.0.0.1", map[string]any{
				"version": version, "port": freeport.Ports(t, 1), "join": []string{topic.String()[:40]},
			}), &ready)
			top := gateway.Join(t, c, topic, client.JoinOptions{Networks: []string{"discovery-swarm"}})
			hello := "hello from " + ready.ID
			// The connection that stays answers. One that is dropped may have said hello.
			talks := func(conn net.Conn) bool {
				conn.SetDeadline(time.Now().Add(gateway.Patience))
				fmt.Fprint(conn, "ping")
				b := make([]byte, len(hello)+len("echo of ping"))
				for n := 0; n < len(b); {
					m, err := conn.Read(b[n:])
					if n += m; err != nil {
						return false
					}
				}
				if got := string(b); got != hello+"echo of ping" {
					t.Errorf("the peer said %q", got)
				}
				return true
			}
			conn := gateway.Accept(t, top)
			for !talks(conn) {
				conn = gateway.Accept(t, top)
			}
			gateway.Status(t, top, "one circuit", func(s client.Status) bool { return s.Connected == 1 })
			var at struct{ ID string }
			peer.Await("connection", &at)
			if len(at.ID) != 64 || strings.Contains(topic.String(), at.ID) {
				t.Errorf("the peer saw the id %q", at.ID)
			}
			conn.Close()
			peer.Kill()
		})
	}
}
