package main

import (
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
)

func TestGatewayURLsOfSessions(t *testing.T) {
	hash := [32]byte{0xab}
	hashes := "h=ab" + strings.Repeat("00", 31)
	for _, c := range []struct {
		gateway string
		hashes  [][32]byte
		want    string
	}{
		{"gateway.example", nil, "swarmgate://gateway.example:443/#there"},
		{"https://gateway.example:4433", nil, "swarmgate://gateway.example:4433/#there"},
		{"https://[::1]:4433/", [][32]byte{hash}, "swarmgate://[::1]:4433/?" + hashes + "#there"},
		{"[::1]", nil, "swarmgate://[::1]:443/#there"},
		{"swarmgate://a:1/?" + hashes, [][32]byte{{1}}, "swarmgate://a:1/?" + hashes + "#there"},
	} {
		u, err := gatewayURL(client.Session{Gateway: c.gateway, CertHashes: c.hashes}, topicArg{name: "there"})
		if err != nil || u.String() != c.want {
			t.Errorf("%s: %s, %v; want %s", c.gateway, u, err, c.want)
		}
	}
}

func TestTopicPrintsTheKey(t *testing.T) {
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for _, c := range []struct{ arg, want string }{{"hello", hello + "\n"}, {hello, hello + "\n"}} {
		p := swarm(t, open(t), "topic", c.arg)
		if status := p.wait(t); status != 0 || p.out.String() != c.want {
			t.Errorf("topic %s: status %d, %q; want %q", c.arg, status, p.out.String(), c.want)
		}
	}
	p := swarm(t, open(t), "topic", "hello", "--json")
	p.wait(t)
	if got := p.events(t); len(got) != 1 || got[0].Event != "topic" || got[0].Topic != hello {
		t.Errorf("topic --json: %+v", got)
	}
}
