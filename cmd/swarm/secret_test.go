package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// keys returns the key that an end has told of itself, and the one that it has told of its peer.
func keys(all []event) (own, peer string) {
	for _, e := range all {
		switch e.Event {
		case "joined":
			own = e.Key
		case "peer":
			peer = e.Peer.Key
		}
	}
	return own, peer
}

// Two ends that got the same secret in different ways talk to each other, each with the other's
// key, and print the secret nowhere.
func TestJoinASecretRoom(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	s := secret.New()
	file := filepath.Join(t.TempDir(), "room.txt")
	if err := os.WriteFile(file, []byte(s.Hex()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "swarmgate://" + strings.TrimPrefix(g.URL, "https://") + "/?h=" + fmt.Sprintf("%x", g.Hash) + "#secret=" + s.Hex()
	for _, args := range [][]string{
		through(g, "--secret-file", file),
		through(g, "--secret", strings.ToUpper(s.Hex())),
		{url},
	} {
		t.Run(args[0], func(t *testing.T) {
			want := text(1 << 20)
			a := swarm(t, strings.NewReader(want), through(g, "join", "--secret", s.Hex(), "--once", "--json")...)
			b := swarm(t, strings.NewReader("hello"), append([]string{"join", "--json"}, args...)...)
			if status := a.wait(t); status != 0 {
				t.Errorf("status %d", status)
			}
			gateway.Eventually(t, "the end", func() bool { return strings.Contains(b.out.String(), `"end"`) })
			for _, p := range []*process{a, b} {
				if strings.Contains(p.out.String()+p.errs.String(), s.Hex()) {
					t.Error("the secret is printed")
				}
			}
			if got := received(a.events(t)); got != "hello" {
				t.Errorf("%q came", got)
			}
			if got := received(b.events(t)); got != want {
				t.Errorf("%d bytes came, want %d", len(got), len(want))
			}
			ownA, peerA := keys(a.events(t))
			ownB, peerB := keys(b.events(t))
			if ownA == "" || ownA != peerB || ownB == "" || ownB != peerA {
				t.Errorf("keys %q, %q and %q, %q", ownA, peerA, ownB, peerB)
			}
		})
	}
}

func TestSecretOfTheEnvironment(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	t.Setenv("SWARMGATE_SECRET", secret.New().Hex())
	a := swarm(t, strings.NewReader("from a"), through(g, "join", "--once")...)
	b := swarm(t, strings.NewReader("from b"), through(g, "join")...)
	if status := a.wait(t); status != 0 || a.out.String() != "from b" {
		t.Errorf("status %d, %q", status, a.out.String())
	}
	gateway.Eventually(t, "what a says", func() bool { return b.out.String() == "from a" })
	for _, args := range [][]string{{"join", "there"}, {"receive", "there"}, {"forward", "there", "127.0.0.1:1"}, {"peer", "there"}} {
		p := swarm(t, open(t), append(args, "--gateway", "https://g")...)
		if args[0] == "peer" {
			p = swarm(t, open(t), args...)
		}
		if status := p.wait(t); status != statusUsage || !strings.Contains(p.errs.String(), "leave out TOPIC") {
			t.Errorf("%q: status %d, %s", args, status, p.errs.String())
		}
	}
}

// A service behind forward is reached through listen, in a room that one of the two has made.
func TestForwardAndListenInASecretRoom(t *testing.T) {
	service := gateway.Listen(t, gateway.Echo)
	address := service.Addr().String()
	for name, first := range map[string][]string{
		"forward": {"forward", "--new", address, "--json"},
		"listen":  {"listen", "--new", "127.0.0.1:0", "--json"},
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway.Start(t, server.Config{})
			find := func(p *process, what string) (found event) {
				gateway.Eventually(t, what, func() bool {
					for _, e := range p.events(t) {
						if e.Event == what {
							found = e
						}
					}
					return found.Event != ""
				})
				return found
			}
			a := swarm(t, open(t), through(g, first...)...)
			url := find(a, "share").URL
			u, err := wtproto.ParseGatewayURL(url)
			if err != nil || len(u.Secret) != 64 {
				t.Fatalf("%s: %v", url, err)
			}
			listening := a
			if name == "forward" {
				listening = swarm(t, open(t), "listen", url, "127.0.0.1:0", "--json")
			} else {
				swarm(t, open(t), "forward", url, address, "--json")
			}
			for i := range 5 {
				want := fmt.Sprint("connection ", i)
				c := dial(t, find(listening, "listening").Address)
				if _, err := c.Write([]byte(want)); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(c); string(got) != want || err != nil {
					t.Errorf("%q, %v; want %q", got, err, want)
				}
			}
		})
	}
}

// A native peer in a secret room serves the first stream of a client and further ones, and is
// found by a client of a gateway; one with another secret gets nothing.
func TestNativePeerInASecretRoom(t *testing.T) {
	host := gateway.Host(t, true)
	g := gateway.Start(t, server.Config{Networks: []discovery.Network{host}})
	s := secret.New()
	args := append(peerArgs(host.Addrs()...)[2:], "--secret", s.Hex(), "--echo", "--json")
	peer := swarm(t, open(t), append([]string{"peer"}, args...)...)
	if ready := peer.ready(t); ready.Topic != s.Topic().String() {
		t.Errorf("the topic is %s, want %v", ready.Topic, s.Topic())
	}
	room, err := secret.NewRoom(s, nil).Join(gateway.Context(t), g.Dial(t, client.Config{}), client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	first, err := room.Accept(gateway.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c, err := room.Open(gateway.Context(t), first.Peer())
		if err != nil {
			t.Fatal(err)
		}
		if c.Key() != first.Key() {
			t.Errorf("key %v, want %v", c.Key(), first.Key())
		}
		echoes(t, c)
	}
	echoes(t, first)
}

// echoes checks that what is written comes back, and then the end.
func echoes(t *testing.T, c *secret.Conn) {
	t.Helper()
	want := text(200_000)
	go func() {
		c.Write([]byte(want))
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); string(got) != want || err != nil {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
	}
	c.Close()
}

// send and receive agree on what TOPIC means, with --plain and without it, and do not fall back.
func TestSendIsSecretUnlessToldOtherwise(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	from := t.TempDir()
	sum := makeFile(t, filepath.Join(from, "a.bin"), 1000)
	for name, args := range map[string][]string{"secret": nil, "plain": {"--plain"}} {
		t.Run(name, func(t *testing.T) {
			to, there := t.TempDir(), secret.New().Hex() // a key with --plain
			s := swarm(t, open(t), through(g, append([]string{"send", filepath.Join(from, "a.bin"), there}, args...)...)...)
			r := swarm(t, open(t), through(g, append([]string{"receive", there, "-o", to}, args...)...)...)
			for _, p := range []*process{s, r} {
				if status := p.wait(t); status != 0 {
					t.Errorf("status %d, %s", status, p.errs.String())
				}
			}
			if got, err := hashFile(filepath.Join(to, "a.bin")); err != nil || fmt.Sprintf("%x", got) != sum {
				t.Errorf("%x, %v; want %s", got, err, sum)
			}
		})
	}
	var secretly, plainly filesFlags
	plainly.Plain = true
	key := wtproto.TopicFromName("there")
	if topic, err := secretly.read("there"); err != nil || topic.secret == nil || topic.Topic == key {
		t.Errorf("%v, %v", topic.Topic, err)
	}
	if topic, err := plainly.read("there"); err != nil || topic.secret != nil || topic.Topic != key {
		t.Errorf("%v, %v", topic.Topic, err)
	}
	withSecret := "swarmgate://g/#secret=" + secret.New().Hex()
	for f, text := range map[*filesFlags]string{&secretly: "swarmgate://g/#there", &plainly: withSecret} {
		if topic, err := f.read(text); err == nil {
			t.Errorf("%s is taken for %v", text, topic.Topic)
		}
	}
}

func TestKeyForPeople(t *testing.T) {
	if got := keyForPeople("1a2b3c4d5e6f70819999"); got != "1a2b 3c4d 5e6f 7081" {
		t.Error(got)
	}
}
