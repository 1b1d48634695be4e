package gateway

import (
	"net"
	"slices"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A client gets peers of the networks that it asks for, and the topic is on no others: what nobody
// wants is neither announced nor dialed.
func TestNetworksByName(t *testing.T) {
	topic := wtproto.TopicFromName("networks by name")
	seed := Seed(t)
	Native(t, Host(t, false, seed), topic, discovery.Native(), func(s discovery.Stream) { s.Read(make([]byte, 1)) })
	service := Listen(t, func(c *net.TCPConn) { c.Read(make([]byte, 1)) })
	g := Start(t, server.Config{
		DefaultNetworks:         []string{"static", wtproto.NetworkClient},
		MaxSessionsPerPrincipal: -1,
		Networks:                []discovery.Network{Host(t, true, seed), Static(t, topic, service.Addr().String())},
	})
	on := func() (names []string) {
		for _, n := range g.Topics()[0].Networks {
			if n.Name != wtproto.NetworkClient {
				names = append(names, n.Name)
			}
		}
		return names
	}
	plain := g.Dial(t, client.Config{})
	tp := Join(t, plain, topic, client.JoinOptions{})
	if p := Accept(t, tp).Peer(); p.Network != "static" {
		t.Errorf("a client that asks for nothing was connected with %+v", p)
	}
	if names := on(); !slices.Equal(names, []string{"static"}) {
		t.Errorf("the topic is on %v, want static", names)
	}
	dht := g.Dial(t, client.Config{})
	td := Join(t, dht, topic, client.JoinOptions{Networks: []string{"dht"}})
	if p := Accept(t, td).Peer(); p.Network != "dht" {
		t.Errorf("a client that asks for the DHT was connected with %+v", p)
	}
	if names := on(); !slices.Equal(names, []string{"dht", "static"}) {
		t.Errorf("the topic is on %v, want both", names)
	}
	Eventually(t, "the service accepts", func() bool { return service.Accepted() > 0 })
	if n := service.Accepted(); n != 1 {
		t.Errorf("the service got %d connections, want 1", n)
	}
	if s := g.Stats(); s.Places != 2 {
		t.Errorf("%d circuits, want one each", s.Places)
	}
	if _, err := dht.Join(Context(t), wtproto.TopicFromName("other"), client.JoinOptions{Networks: []string{"lan"}}); err == nil {
		t.Error("a network that the gateway does not have was joined")
	} else if code, _ := Code(err); code != wtproto.CodeForbidden {
		t.Errorf("JOIN of a network that the gateway does not have: %v, want FORBIDDEN", err)
	}
}
