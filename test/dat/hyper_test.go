package dat

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/node"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A real peer is found by each way alone, and by all of them at once as one: a client has one
// circuit with it, and reads the file of its archive byte for byte. It is found again after it has
// restarted at another port.
func TestHyperdiscovery(t *testing.T) {
	for _, tc := range []struct {
		name     string
		version  int
		dns, dht bool
	}{
		{"9 by dns-discovery", 9, true, false},
		{"10 by the DHT", 10, false, true},
		{"10 by all", 10, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var w ways
			if tc.dns {
				_, w.dns = dnsServer(t)
			}
			announced := func() {}
			if tc.dht {
				var dht *node.Script
				dht, w.dht = dhtNode(t)
				announced = func() { dht.Await("announce", nil) }
			}
			c := start(t, w, dat.Config{})
			folder := filepath.Join(t.TempDir(), "archive")
			peer, archives := hyper(t, tc.version, w, freeport.Ports(t, 1), folder)
			announced()
			a := archives[0]
			look := client.JoinOptions{LookUpOnly: true, Networks: []string{"dat"}}
			top := gateway.Join(t, c, a.Topic, look)
			conn := gateway.Accept(t, top)
			if got := read(t, conn, a); got != a.file() {
				t.Errorf("/dat.json is %q, want %q", got, a.file())
			}
			gateway.Status(t, top, "the peer is known once", func(s client.Status) bool { return s.Known == 1 })
			peer.Kill()
			conn.Close() // not before: the gateway makes a circuit again that the peer has ended

			peer, _ = hyper(t, tc.version, w, freeport.Ports(t, 1), folder)
			if !tc.dns { // whoever joins anew is not kept waiting for the next look-up
				announced()
				top.Close()
				top = gateway.Join(t, c, a.Topic, look)
			}
			if got := read(t, gateway.Accept(t, top), a); got != a.file() {
				t.Errorf("after a restart /dat.json is %q, want %q", got, a.file())
			}
			peer.Kill()
		})
	}
}

// Peers that connect to the gateway reach the member of the topic that they want, among 50 topics:
// by their first frame at a shared port, or at a port of the topic.
func TestInboundHyperdiscovery(t *testing.T) {
	const topics = 50
	for _, tc := range []struct {
		name    string
		version int
		cfg     dat.Config
	}{
		{"shared port", 10, dat.Config{Listen: "127.0.0.1:0"}},
		{"port of the topic", 9, dat.Config{Ports: freePorts(t, topics), Listen: "127.0.0.1:0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var w ways
			_, w.dns = dnsServer(t)
			c := start(t, w, tc.cfg)
			var folders []string
			dir := t.TempDir()
			for i := range topics {
				folders = append(folders, filepath.Join(dir, fmt.Sprint(i)))
			}
			peer, archives := hyper(t, tc.version, w, freeport.Ports(t, 1), folders...)
			joined := make(map[wtproto.Topic]*client.Topic)
			for _, a := range archives {
				joined[a.Topic] = gateway.Join(t, c, a.Topic, client.JoinOptions{AnnounceOnly: true, Networks: []string{"dat"}})
			}
			for i, a := range archives {
				conn := gateway.Accept(t, joined[a.Topic])
				if i == topics-1 {
					if got := read(t, conn, a); got != a.file() {
						t.Errorf("/dat.json is %q, want %q", got, a.file())
					}
					continue
				}
				if frame := first(t, conn, 36); wtproto.Topic(frame[4:36]) != a.Topic {
					t.Errorf("a peer that wants %x came to %v", frame[4:36], a.Topic)
				}
				conn.Close()
			}
			peer.Kill()
		})
	}
}
