//go:build !race

package dht

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
)

// seedOutage is how long a seed is away. Seen were 20 s to 200 s.
var seedOutage = flag.Duration("seed-outage", 20*time.Second, "how long the seed of TestSeedOutage is away")

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

// within is how long it may take until somebody is met by a seed that is back: others try it once
// a minute at least, and what was seen is that they never did.
const within = 2 * time.Minute

// meetAll takes circuits of top until each of names was said on one.
func meetAll(t *testing.T, what string, top *client.Topic, names string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	began, missing := time.Now(), names
	for missing != "" {
		conn, err := top.Accept(ctx)
		if err != nil {
			t.Fatalf("%s: %s was not met within %v: %v", what, missing, within, err)
		}
		b := make([]byte, 1)
		if _, err := conn.Read(b); err != nil {
			t.Logf("%s: a circuit: %v", what, err)
			continue
		}
		missing = strings.ReplaceAll(missing, string(b), "")
	}
	t.Logf("%s: met %s after %v", what, names, time.Since(began))
}

// A seed was killed while two gateways knew each other by it. They never went back to it, so
// whoever entered by it found nobody, with no error anywhere, for as long as one looked.
func TestSeedOutage(t *testing.T) {
	t.Parallel()
	i := machine.NewInternet(t)
	ns, addr := i.Machine("seed")
	seed := machine.StartOnDHT(t, ns, "--state-dir", filepath.Join(t.TempDir(), "seed"))
	enter := seed.Multiaddr(addr, 4434)
	var tops []*client.Topic
	for n := range 2 {
		ns, _ := i.Machine("gateway")
		tops = append(tops, machine.StartOnDHT(t, ns, "--dht-seed", enter).Join("outage")...)
		if n == 1 {
			machine.Together(t, "before", tops[0], tops[1])
		}
	}
	for n, top := range tops {
		sayName(t, top, "ab"[n])
	}
	seed.Kill()
	<-time.After(*seedOutage)
	seed.Restart()
	if got := seed.Multiaddr(addr, 4434); got != enter {
		t.Fatalf("the seed is %s, want %s", got, enter)
	}
	ns, _ = i.Machine("newcomer")
	newcomer := machine.StartOnDHT(t, ns, "--dht-seed", enter)
	meetAll(t, "the seed is back", newcomer.Join("outage")[0], "ab")
}

// Of two seeds one was down at the start. Nobody tried it again, so who entered by it was alone.
func TestSecondSeedIsLate(t *testing.T) {
	t.Parallel()
	i := machine.NewInternet(t)
	var seeds []*machine.Gateway
	var enter []string
	for n := range 2 {
		ns, addr := i.Machine("seed")
		seeds = append(seeds, machine.StartOnDHT(t, ns, "--state-dir", filepath.Join(t.TempDir(), fmt.Sprint(n))))
		enter = append(enter, seeds[n].Multiaddr(addr, 4434))
	}
	seeds[1].Kill()
	ns, _ := i.Machine("gateway")
	first := machine.StartOnDHT(t, ns, "--dht-seed", enter[0], "--dht-seed", enter[1])
	top := first.Join("two seeds")[0]
	const missing = "1 of 2 seeds of the DHT do not answer"
	isTold(t, top, missing)
	sayName(t, top, 'a')
	seeds[1].Restart()
	reason(t, top, "want both seeds", func(s string) bool { return !strings.Contains(s, missing) })
	ns, _ = i.Machine("newcomer")
	newcomer := machine.StartOnDHT(t, ns, "--dht-seed", enter[1])
	meetAll(t, "by the second seed", newcomer.Join("two seeds")[0], "a")
}

// isTold waits until the reason that STATUS has for the DHT has these words.
func isTold(t *testing.T, top *client.Topic, words string) {
	t.Helper()
	reason(t, top, "want the words "+words, func(s string) bool { return strings.Contains(s, words) })
}

// reason waits until the reason that STATUS has for the DHT is as wanted.
func reason(t *testing.T, top *client.Topic, want string, wanted func(string) bool) {
	t.Helper()
	began := time.Now()
	gateway.Status(t, top, want, func(s client.Status) bool {
		return slices.ContainsFunc(s.Networks, func(n client.NetworkStatus) bool {
			return n.Name == "dht" && wanted(n.Reason)
		})
	})
	t.Logf("%s: told after %v", want, time.Since(began))
}
