package main

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestGatewayMustBeTrusted(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"wrong hash", []string{"--gateway", g.URL, "--cert-hash", strings.Repeat("00", 32)}, "which is not one of the trusted ones"},
		{"no hash", []string{"--gateway", g.URL}, "certificate"},
		{"plain HTTP from afar", []string{"--gateway", "http://gateway.example:8080"}, "plain HTTP is believed from this machine only"},
		{"no gateway", []string{"--gateway", "http://127.0.0.1:1"}, "connection refused"},
	} {
		p := swarm(t, open(t), append([]string{"join", "a"}, c.args...)...)
		if status := p.wait(t); status != statusFailed || !strings.Contains(p.errs.String(), c.want) {
			t.Errorf("%s: status %d, %s; want %d, %s", c.name, status, p.errs.String(), statusFailed, c.want)
		}
	}
}

func TestInfoDocumentOfThisMachineTellsTheHash(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	dev := httptest.NewServer(g.InfoHandler())
	defer dev.Close()
	p := swarm(t, open(t), "status", "--json", "--gateway", dev.URL)
	if status := p.wait(t); status != 0 {
		t.Fatalf("status %d", status)
	}
	all := p.events(t)
	if len(all) != 1 || all[0].Event != "gateway" || all[0].Gateway.Version != wtproto.Version || all[0].Gateway.MaxTopics != 64 || all[0].Gateway.MaxCircuits != 256 {
		t.Errorf("events: %+v", all)
	}
}

// Topic, gateway and its certificate come as one string, or the gateway from the environment.
func TestGatewayComesWithTheTopicOrFromTheEnvironment(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	g := withStatic(t, echo.Addr().String())
	u, err := wtproto.ParseGatewayURL(strings.Replace(g.URL, "https://", "swarmgate://", 1) + fmt.Sprintf("/?h=%x#there", g.Hash))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, env, topic string
		args             []string
	}{
		{"with the topic", "https://127.0.0.1:1", u.String(), nil},
		{"from the environment", u.String(), "there", nil},
		{"from a flag", "https://127.0.0.1:1", "there", []string{"--gateway", u.WithTopic("").String()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SWARMGATE_GATEWAY", c.env)
			p := swarm(t, strings.NewReader("hello"), append([]string{"join", c.topic, "--once"}, c.args...)...)
			if status := p.wait(t); status != 0 || p.out.String() != "hello" {
				t.Errorf("status %d, %q; want hello", status, p.out.String())
			}
		})
	}
}

// If the listener for development of one gateway does not answer, the program uses another
// gateway.
func TestOneGatewayOfSeveralIsEnough(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	p := swarm(t, open(t), through(g, "status", "--json", "--gateway", "http://127.0.0.1:1")...)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d, %s", status, p.errs.String())
	}
}
