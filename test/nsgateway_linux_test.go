//go:build !race

package test

import (
	"encoding/hex"
	"net"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// nsGateway is a gateway in a namespace. Its clients are there too.
type nsGateway struct {
	*program
	t    *testing.T
	ns   *netns.NS
	log  *logged
	args []string
}

// startIn starts a gateway in ns.
func startIn(t *testing.T, ns *netns.NS, args ...string) *nsGateway {
	t.Helper()
	g := &nsGateway{t: t, ns: ns, log: &logged{to: t.Output()}, args: append([]string{"--listen", "127.0.0.1:0"}, args...)}
	g.restart()
	return g
}

// restart starts the gateway, once more if it was killed.
func (g *nsGateway) restart() {
	g.t.Helper()
	binary, err := buildServer()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := g.ns.Command(g.t.Context(), binary, g.args...)
	cmd.Stderr = g.log
	g.program = startProgram(g.t, cmd)
}

// join opens a session from the gateway's machine, and joins topics by it.
func (g *nsGateway) join(names ...string) (all []*client.Topic) {
	g.t.Helper()
	cfg := client.Config{ListenPacket: func() (socket net.PacketConn, err error) {
		g.ns.Do(g.t, func() { socket, err = net.ListenPacket("udp4", "127.0.0.1:0") })
		return socket, err
	}}
	for _, h := range g.Certificate.Hashes {
		b, err := hex.DecodeString(h)
		if err != nil {
			g.t.Fatal(err)
		}
		cfg.CertHashes = append(cfg.CertHashes, [32]byte(b))
	}
	c, err := client.Dial(gateway.Context(g.t), g.QUIC, cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	for _, name := range names {
		all = append(all, gateway.Join(g.t, c, wtproto.TopicFromName(name), client.JoinOptions{}))
	}
	return all
}
