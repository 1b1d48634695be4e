//go:build !race

package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
)

// Two gateways in containers whose ports are mapped to others never met, and the reason told was a
// wrong one: there was no way to say where they are reached. Now they are told how, and meet once
// that is done.
func TestMappedPorts(t *testing.T) {
	t.Parallel()
	i := newInternet(t)
	ns, addr := i.machine("seed")
	enter := startOnDHT(t, ns).multiaddr(addr, 4434)
	var containers []*netns.NS
	var announce []string
	start := func(n int, args ...string) *nsGateway {
		return startOnDHT(t, containers[n], append([]string{"--dht-seed", enter, "--admin", "127.0.0.1:0"}, args...)...)
	}
	for n := range 2 {
		host, addr := i.machine("docker")
		port := 5434 + n
		containers = append(containers, i.container(host, addr, port))
		announce = append(announce, fmt.Sprintf("/ip4/%s/tcp/%d", addr, port))
	}
	a, b := start(0), start(1)
	here, there := a.join("mapped")[0], b.join("mapped")[0]
	const cure = "--p2p-announce"
	isTold(t, here, cure)
	isTold(t, there, cure)
	for _, g := range []*nsGateway{a, b} {
		if says := g.ask("/api/topics"); !strings.Contains(says, cure) {
			t.Errorf("/api/topics says %s", says)
		}
		if says := g.swarmStatus("mapped"); !strings.Contains(says, cure) {
			t.Errorf("swarm status says %s", says)
		}
	}
	a.kill()
	a = start(0, "--p2p-announce", announce[0])
	here = a.join("mapped")[0]
	together(t, "one is told where it is reached", here, there)
	b.kill()
	a.kill()
	a, b = start(0, "--p2p-announce", announce[0]), start(1, "--p2p-announce", announce[1])
	together(t, "both are", a.join("mapped")[0], b.join("mapped")[0])
}

// A port that is mapped to the same one needs no option: the seed shows both hosts where they are
// reached.
func TestMappedToTheSamePort(t *testing.T) {
	t.Parallel()
	i := newInternet(t)
	ns, addr := i.machine("seed")
	enter := startOnDHT(t, ns).multiaddr(addr, 4434)
	var tops []*client.Topic
	for range 2 {
		host, addr := i.machine("docker")
		tops = append(tops, startOnDHT(t, i.container(host, addr, 4434), "--dht-seed", enter).join("the same port")...)
	}
	together(t, "the same port", tops[0], tops[1])
}

// A state directory was copied to a second machine. For everybody else the two were one host, they
// never met, and nothing said why.
func TestCopiedStateDirectory(t *testing.T) {
	t.Run("on_a_LAN", func(t *testing.T) {
		t.Parallel()
		one, two := netns.New(t, "one"), netns.New(t, "two")
		netns.Link(t, one, "10.78.0.1/24", two, "10.78.0.2/24")
		dirs := copiedStates(t)
		a := startOnLAN(t, one, "--state-dir", dirs[0], "--log-level", "warn")
		b := startOnLAN(t, two, "--state-dir", dirs[1], "--log-level", "warn")
		areCopies(t, a, b)
	})
	t.Run("on_a_DHT", func(t *testing.T) {
		t.Parallel()
		i := newInternet(t)
		ns, addr := i.machine("seed")
		enter := startOnDHT(t, ns).multiaddr(addr, 4434)
		var both []*nsGateway
		for _, dir := range copiedStates(t) {
			ns, _ := i.machine("copy")
			both = append(both, startOnDHT(t, ns, "--state-dir", dir, "--dht-seed", enter))
		}
		areCopies(t, both...)
	})
}

// copiedStates returns a state directory and a copy of it.
func copiedStates(t *testing.T) [2]string {
	t.Helper()
	dir := t.TempDir()
	dirs := [2]string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	startServer(t, "--listen", "127.0.0.1:0", "--dht", "off", "--log-level", "warn", "--state-dir", dirs[0]).terminate(t)
	if err := os.CopyFS(dirs[1], os.DirFS(dirs[0])); err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if err := os.Chmod(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// areCopies waits until each of the gateways says to a client and in its log that it is a copy.
func areCopies(t *testing.T, all ...*nsGateway) {
	t.Helper()
	const words = "has this host's key and id"
	var tops []*client.Topic
	for _, g := range all {
		tops = append(tops, g.join("copied")...)
	}
	for n, top := range tops {
		isTold(t, top, words)
		gateway.Eventually(t, "the log says so", func() bool { return all[n].log.contains(words) })
		if says := all[n].swarmStatus("copied"); !strings.Contains(says, words) {
			t.Errorf("swarm status says %s", says)
		}
	}
}

// ask returns what the operators' listener of g answers.
func (g *nsGateway) ask(path string) string {
	g.t.Helper()
	operator := http.Client{Timeout: gateway.Patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, addr string) (c net.Conn, err error) {
			g.ns.Do(g.t, func() { c, err = net.Dial(network, addr) })
			return c, err
		},
	}}
	r, err := operator.Get(g.Admin + path)
	if err != nil {
		g.t.Error(err)
		return ""
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Error(err)
	}
	return string(b)
}

// swarmStatus returns what swarm status prints of a topic.
func (g *nsGateway) swarmStatus(topic string) string {
	g.t.Helper()
	binary, err := buildSwarm()
	if err != nil {
		g.t.Fatal(err)
	}
	args := []string{"status", topic, "--for", "1s", "--gateway", "https://" + g.QUIC}
	for _, h := range g.Certificate.Hashes {
		args = append(args, "--cert-hash", h)
	}
	out, err := g.ns.Command(g.t.Context(), binary, args...).CombinedOutput()
	if err != nil {
		g.t.Errorf("swarm status: %v", err)
	}
	return string(out)
}
