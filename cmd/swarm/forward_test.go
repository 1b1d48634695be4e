package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestForwardConnectsPeersWithAService(t *testing.T) {
	service := gateway.Listen(t, gateway.Echo)
	g := gateway.Start(t, server.Config{})
	swarm(t, open(t), through(g, "forward", "there", service.Addr().String())...)
	top := gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("there"), client.JoinOptions{})
	conn := gateway.Accept(t, top)
	want := text(2 << 20)
	go func() {
		io.WriteString(conn, want)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || string(got) != want {
		t.Errorf("%d bytes came back, %v; want all %d", len(got), err, len(want))
	}
}

func TestForwardPassesOnResets(t *testing.T) {
	service := gateway.Listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0) // Close is a RST
	})
	g := gateway.Start(t, server.Config{})
	swarm(t, open(t), through(g, "forward", "there", service.Addr().String())...)
	conn := gateway.Accept(t, gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("there"), client.JoinOptions{}))
	io.WriteString(conn, "x")
	_, err := io.ReadAll(conn)
	if code, _ := gateway.Code(err); code != wtproto.CodePeerReset {
		t.Errorf("Read = %v, want PEER_RESET", err)
	}
}

func TestForwardEndsCircuitsWithoutAService(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	p := swarm(t, open(t), through(g, "forward", "there", freeport.Address(t), "--json", "--once")...)
	gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("there"), client.JoinOptions{})
	if status := p.wait(t); status != statusFailed {
		t.Errorf("status %d, want %d", status, statusFailed)
	}
	all := p.events(t)
	if got := kinds(all); got != "joined peer end left error" || all[len(all)-1].Code != "PEER_UNREACHABLE" {
		t.Errorf("events: %s, %+v; want PEER_UNREACHABLE at the end", got, all[len(all)-1])
	}
}

func TestForwardMakesARoom(t *testing.T) {
	service := gateway.Listen(t, gateway.Echo)
	g := gateway.Start(t, server.Config{})
	f := swarm(t, open(t), through(g, "forward", "--new", service.Addr().String())...)
	gateway.Eventually(t, "the string", func() bool { return strings.HasSuffix(f.out.String(), "\n") })
	u, err := wtproto.ParseGatewayURL(strings.TrimSpace(f.out.String()))
	if err != nil || len(u.Hashes) == 0 || (topicArg{name: u.Secret}).guessable() {
		t.Fatalf("%s: %v", f.out.String(), err)
	}
	shared, err := secret.Parse(u.Secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(gateway.Context(t), u.String(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	room, err := secret.NewRoom(shared, nil).Join(gateway.Context(t), c, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	if _, err := room.Accept(gateway.Context(t)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(f.errs.String(), "guess") {
		t.Error("it warns of a secret that cannot be guessed")
	}
	f = swarm(t, open(t), through(g, "forward", "there", service.Addr().String())...)
	gateway.Eventually(t, "the warning", func() bool { return strings.Contains(f.errs.String(), "guesses the topic's name") })
}
