//go:build !race

package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/amino"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// envMachines names the machines of a test, for the process in the namespace of the first one.
const envMachines = "TEST_MACHINES"

// Two gateways and a native peer on machines of their own enter the public DHT by one server of
// it, and everything else is as by default. A client of each gateway meets the other client and
// the native peer, and bytes pass.
func TestProgramsOnPublicDHT(t *testing.T) {
	addrs := amino.Addrs(24)
	if !netns.Inside() {
		t.Parallel()
		i := machine.NewInternet(t)
		for _, a := range addrs {
			i.Router.Addr(t, a+"/32", "lo")
		}
		machines := []string{i.Router.Name()}
		for range 3 {
			ns, _ := i.Machine("public")
			machines = append(machines, ns.Name())
		}
		for _, build := range []func() (string, error){program.BuildServer, program.BuildSwarm} {
			if _, err := build(); err != nil {
				t.Fatal(err)
			}
		}
		i.Router.Rerun(t, envMachines+"="+strings.Join(machines, " "))
		return
	}
	var machines []*netns.NS
	for _, name := range strings.Fields(os.Getenv(envMachines))[1:] {
		machines = append(machines, netns.Open(name))
	}
	options := []string{"--dht", "public", "--dht-seed", amino.Start(t, addrs)}
	machine.StartPeer(t, machines[2], append([]string{"public"}, options...)...)
	began, met := time.Now(), make(chan error, 2)
	for _, ns := range machines[:2] {
		g := machine.Start(t, ns, append([]string{"--log-level", "warn"}, options...)...)
		top := g.Join("public")[0]
		go func() { met <- meetBoth(t, top) }()
	}
	for range 2 {
		if err := <-met; err != nil {
			t.Error(err)
		}
	}
	t.Logf("all met after %v", time.Since(began))
}

// meetBoth takes circuits of top until bytes have passed with a client and with a native peer that
// echoes.
func meetBoth(t *testing.T, top *client.Topic) error {
	missing := map[bool]string{true: "client", false: "native peer"}
	data := make([]byte, 200_000)
	rand.NewChaCha8([32]byte{}).Read(data)
	ctx, cancel := context.WithTimeout(t.Context(), 3*gateway.Patience) // 27 hosts take all of a busy machine
	defer cancel()
	for len(missing) > 0 {
		conn, err := top.Accept(ctx)
		if err != nil {
			return fmt.Errorf("without a %v: %w", missing, err)
		}
		conn.SetDeadline(time.Now().Add(gateway.Patience))
		wrote := make(chan error, 1)
		go func() {
			_, err := conn.Write(data)
			wrote <- errors.Join(err, conn.CloseWrite())
		}()
		got, err := io.ReadAll(conn)
		err = errors.Join(err, <-wrote) // the other end may still read when this one is done
		conn.Close()
		if err != nil {
			t.Logf("a circuit: %v", err)
			continue
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("%d bytes came that are not the %d of the other end", len(got), len(data))
		}
		delete(missing, conn.Peer().Client)
	}
	return nil
}

// Native peers behind a firewall that drops what comes in were servers of the DHT, and a newcomer
// waited for them in vain. Now nobody asks them, and a client of a gateway outside meets each of
// them.
func TestPeersBehindFirewall(t *testing.T) {
	t.Parallel()
	const peers = 10
	i := machine.NewInternet(t)
	ns, addr := i.Machine("seed")
	enter := machine.StartOnDHT(t, ns).Multiaddr(addr, 4434)
	inside, _ := i.Machine("inside")
	machine.Nft(t, inside, "add table inet t", "add chain inet t in { type filter hook input priority 0; }",
		"add rule inet t in iifname veth0 tcp flags & (syn|ack) == syn drop")
	for range peers {
		machine.StartPeer(t, inside, "inside", "--dht", "private", "--dht-seed", enter)
	}
	ns, _ = i.Machine("newcomer")
	top := machine.StartOnDHT(t, ns, "--dht-seed", enter).Join("inside")[0]
	began, met := time.Now(), make(map[string]bool)
	for len(met) < peers {
		conn := gateway.Accept(t, top)
		if machine.Echoes(conn) {
			met[string(conn.Peer().ID)] = true
		}
	}
	t.Logf("met all %d after %v", peers, time.Since(began))
}
