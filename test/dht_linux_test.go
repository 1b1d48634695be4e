//go:build !race

package test

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
)

// seedOutage is how long a seed is away. Seen were 20 s to 200 s.
var seedOutage = flag.Duration("seed-outage", 20*time.Second, "how long the seed of TestSeedOutage is away")

// startOnDHT starts a gateway in ns that uses a private DHT.
func startOnDHT(t *testing.T, ns *netns.NS, args ...string) *nsGateway {
	t.Helper()
	return startIn(t, ns, append([]string{"--dht", "private", "--log-level", "warn"}, args...)...)
}

// multiaddr returns where others reach the host of g, which is at a port of addr.
func (g *nsGateway) multiaddr(addr string, port int) string {
	return fmt.Sprintf("/ip4/%s/tcp/%d/p2p/%s", addr, port, g.P2P.ID)
}

// sayName says a name, which is one byte, on each circuit of top.
func sayName(t *testing.T, top *client.Topic, name byte) {
	go func() {
		for {
			conn, err := top.Accept(t.Context())
			if err != nil {
				return
			}
			go func() {
				conn.Write([]byte{name})
				io.Copy(io.Discard, conn)
				conn.Close()
			}()
		}
	}()
}

// meetAll takes circuits of top until each of names was said on one. It fails unless that is within
// a time.
func meetAll(t *testing.T, what string, top *client.Topic, names string, within time.Duration) {
	t.Helper()
	began := time.Now()
	missing := names
	for missing != "" {
		b := make([]byte, 1)
		if _, err := gateway.Accept(t, top).Read(b); err != nil {
			t.Logf("%s: a circuit: %v", what, err)
			continue
		}
		missing = strings.ReplaceAll(missing, string(b), "")
	}
	took := time.Since(began)
	t.Logf("%s: met %s after %v", what, names, took)
	if took > within {
		t.Errorf("%s: met %s after %v, want at most %v", what, names, took, within)
	}
}

// A seed was killed while two gateways knew each other by it. They never went back to it, so whoever
// entered by it found nobody, with no error anywhere, for as long as one looked.
func TestSeedOutage(t *testing.T) {
	t.Parallel()
	i := newInternet(t)
	ns, addr := i.machine("seed")
	seed := startOnDHT(t, ns, "--state-dir", filepath.Join(t.TempDir(), "seed"))
	enter := seed.multiaddr(addr, 4434)
	var tops []*client.Topic
	for n := range 2 {
		ns, _ := i.machine("gateway")
		tops = append(tops, startOnDHT(t, ns, "--dht-seed", enter).join("outage")...)
		if n == 1 {
			together(t, "before", tops[0], tops[1])
		}
	}
	for n, top := range tops {
		sayName(t, top, "ab"[n])
	}
	seed.kill()
	<-time.After(*seedOutage)
	seed.restart()
	if got := seed.multiaddr(addr, 4434); got != enter {
		t.Fatalf("the seed is %s, want %s", got, enter)
	}
	ns, _ = i.machine("newcomer")
	newcomer := startOnDHT(t, ns, "--dht-seed", enter)
	meetAll(t, "the seed is back", newcomer.join("outage")[0], "ab", gateway.Patience)
}

// Of two seeds one was down at the start. Nobody tried it again, so who entered by it was alone.
func TestSecondSeedIsLate(t *testing.T) {
	t.Parallel()
	i := newInternet(t)
	var seeds []*nsGateway
	var enter []string
	for n := range 2 {
		ns, addr := i.machine("seed")
		seeds = append(seeds, startOnDHT(t, ns, "--state-dir", filepath.Join(t.TempDir(), fmt.Sprint(n))))
		enter = append(enter, seeds[n].multiaddr(addr, 4434))
	}
	seeds[1].kill()
	ns, _ := i.machine("gateway")
	first := startOnDHT(t, ns, "--dht-seed", enter[0], "--dht-seed", enter[1])
	top := first.join("two seeds")[0]
	isTold(t, top, "1 of 2 seeds of the DHT do not answer")
	sayName(t, top, 'a')
	seeds[1].restart()
	isTold(t, top, "")
	ns, _ = i.machine("newcomer")
	newcomer := startOnDHT(t, ns, "--dht-seed", enter[1])
	meetAll(t, "by the second seed", newcomer.join("two seeds")[0], "a", gateway.Patience)
}

// isTold waits until STATUS has a reason with these words, or none.
func isTold(t *testing.T, top *client.Topic, words string) {
	t.Helper()
	began := time.Now()
	gateway.Status(t, top, fmt.Sprintf("want the words %q", words), func(s client.Status) bool {
		return slices.ContainsFunc(s.Networks, func(n client.NetworkStatus) bool {
			return n.Name == "dht" && strings.Contains(n.Reason, words) && (words != "") == (n.Reason != "")
		})
	})
	t.Logf("told after %v", time.Since(began))
}
