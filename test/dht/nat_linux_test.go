//go:build !race

package dht

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// Two gateways in containers whose ports are mapped to others never met, and the reason told was a
// wrong one: there was no way to say where they are reached. Now they are told how, and meet once
// that is done.
func TestMappedPorts(t *testing.T) {
	t.Parallel()
	i := machine.NewInternet(t)
	ns, addr := i.Machine("seed")
	enter := machine.StartOnDHT(t, ns).Multiaddr(addr, 4434)
	var containers []*netns.NS
	var announce []string
	start := func(n int, args ...string) *machine.Gateway {
		return machine.StartOnDHT(t, containers[n], append([]string{"--dht-seed", enter, "--admin", "127.0.0.1:0"}, args...)...)
	}
	for n := range 2 {
		host, addr := i.Machine("docker")
		port := 5434 + n
		containers = append(containers, i.Container(host, addr, port))
		announce = append(announce, fmt.Sprintf("/ip4/%s/tcp/%d", addr, port))
	}
	a, b := start(0), start(1)
	here, there := a.Join("mapped")[0], b.Join("mapped")[0]
	const cure = "--p2p-announce"
	isTold(t, here, cure)
	isTold(t, there, cure)
	for _, g := range []*machine.Gateway{a, b} {
		if says := g.Ask("/api/topics"); !strings.Contains(says, cure) {
			t.Errorf("/api/topics says %s", says)
		}
		if says := g.SwarmStatus("mapped"); !strings.Contains(says, cure) {
			t.Errorf("swarm status says %s", says)
		}
	}
	a.Kill()
	a = start(0, "--p2p-announce", announce[0])
	here = a.Join("mapped")[0]
	machine.Together(t, "one is told where it is reached", here, there)
	b.Kill()
	a.Kill()
	a, b = start(0, "--p2p-announce", announce[0]), start(1, "--p2p-announce", announce[1])
	machine.Together(t, "both are", a.Join("mapped")[0], b.Join("mapped")[0])
}

// A port that is mapped to the same one needs no option: the seed shows both hosts where they are
// reached.
func TestMappedToTheSamePort(t *testing.T) {
	t.Parallel()
	i := machine.NewInternet(t)
	ns, addr := i.Machine("seed")
	enter := machine.StartOnDHT(t, ns).Multiaddr(addr, 4434)
	var tops []*client.Topic
	for range 2 {
		host, addr := i.Machine("docker")
		tops = append(tops, machine.StartOnDHT(t, i.Container(host, addr, 4434), "--dht-seed", enter).Join("the same port")...)
	}
	machine.Together(t, "the same port", tops[0], tops[1])
}

// A state directory was copied to a second machine. For everybody else the two were one host, they
// never met, and nothing said why.
func TestCopiedStateDirectory(t *testing.T) {
	t.Run("on_a_LAN", func(t *testing.T) {
		t.Parallel()
		one, two := netns.New(t, "one"), netns.New(t, "two")
		netns.Link(t, one, "10.78.0.1/24", two, "10.78.0.2/24")
		dirs := copiedStates(t)
		a := machine.StartOnLAN(t, one, "--state-dir", dirs[0], "--log-level", "warn")
		b := machine.StartOnLAN(t, two, "--state-dir", dirs[1], "--log-level", "warn")
		areCopies(t, a, b)
	})
	t.Run("on_a_DHT", func(t *testing.T) {
		t.Parallel()
		i := machine.NewInternet(t)
		ns, addr := i.Machine("seed")
		enter := machine.StartOnDHT(t, ns).Multiaddr(addr, 4434)
		var both []*machine.Gateway
		for _, dir := range copiedStates(t) {
			ns, _ := i.Machine("copy")
			both = append(both, machine.StartOnDHT(t, ns, "--state-dir", dir, "--dht-seed", enter))
		}
		areCopies(t, both...)
	})
}

// copiedStates returns a state directory and a copy of it.
func copiedStates(t *testing.T) [2]string {
	t.Helper()
	dir := t.TempDir()
	dirs := [2]string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--log-level", "warn", "--state-dir", dirs[0]).Terminate(t)
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
func areCopies(t *testing.T, all ...*machine.Gateway) {
	t.Helper()
	const words = "has this host's key and id"
	var tops []*client.Topic
	for _, g := range all {
		tops = append(tops, g.Join("copied")...)
	}
	for n, top := range tops {
		isTold(t, top, words)
		gateway.Eventually(t, "the log says so", func() bool { return all[n].Log.Contains(words) })
		if says := all[n].SwarmStatus("copied"); !strings.Contains(says, words) {
			t.Errorf("swarm status says %s", says)
		}
	}
}
