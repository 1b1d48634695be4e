//go:build !race

package lan

import (
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"github.com/swarmgate/swarmgate/wtproto"
)

// echoOn runs an echo service on a TCP port in ns, which kill ends with SIGKILL, and its
// connections.
func echoOn(t *testing.T, ns *netns.NS, port string) (kill func()) {
	t.Helper()
	cmd := ns.Command(t.Context(), "socat", "-d", "-d", "TCP6-LISTEN:"+port+",fork,reuseaddr,ipv6-v6only=0", "EXEC:cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	netns.Daemon(t, cmd, "listening on")
	return func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// publish has avahi publish a service of a topic.
func publish(t *testing.T, a *netns.AvahiDaemon, ns *netns.NS, name, port, topic string) (withdraw func()) {
	t.Helper()
	cmd := ns.Command(t.Context(), "avahi-publish", "-s", name, "_swarmgate._tcp", port, "topic="+wtproto.TopicFromName(topic).String())
	cmd.Env = a.Env
	return netns.Daemon(t, cmd, "Established under name")
}

// lost reads the end of a service that was killed, and ends the circuit.
func lost(t *testing.T, conn *client.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the circuit with a killed service goes on")
	}
	conn.Close()
}

// found waits until STATUS says that the LAN has n peers of top. It fails unless that is soon.
func found(t *testing.T, top *client.Topic, what string, n int) {
	t.Helper()
	began := time.Now()
	gateway.Status(t, top, fmt.Sprintf("%s: %d found", what, n), func(s client.Status) bool {
		return slices.ContainsFunc(s.Networks, func(x client.NetworkStatus) bool { return x.Name == "lan" && x.Found == n })
	})
	took := time.Since(began)
	t.Logf("%s: %d found after %v", what, n, took)
	if took > machine.Soon {
		t.Errorf("%s: %d found after %v, want less than %v", what, n, took, machine.Soon)
	}
}

// A killed service was not connected to again for ever, a new one was found after 17 s, and a
// goodbye was noticed after 68 s. A client that stays is connected again, whatever becomes of the
// service.
func TestLANServiceComesBack(t *testing.T) {
	for _, lan := range []struct {
		name        string
		here, there string // addresses of the two ends of the cable
	}{
		{"IPv4", "10.76.0.1/24", "10.76.0.2/24"},
		{"IPv6_alone", "", ""},
	} {
		t.Run(lan.name, func(t *testing.T) {
			t.Parallel()
			here, there := netns.New(t, "gateway"), netns.New(t, "service")
			if lan.here != "" {
				for _, which := range []string{"all", "default"} {
					here.Sysctl(t, "net/ipv6/conf/"+which+"/disable_ipv6", "1")
				}
			}
			netns.Link(t, here, lan.here, there, lan.there)
			if lan.here == "" {
				for _, ns := range []*netns.NS{here, there} { // without a second for duplicates; link-local ones come by themselves
					ns.Sysctl(t, "net/ipv6/conf/veth0/accept_dad", "0")
				}
			}
			avahi := netns.StartAvahi(t, there)
			g := machine.StartOnLAN(t, here, "--log-level", "warn")
			all := g.Join("lan", "another")
			top, another := all[0], all[1]
			kill := echoOn(t, there, "7007")
			found(t, top, "before", 0)
			withdraw := publish(t, avahi, there, "echo", "7007", "lan")
			conn := machine.Meet(t, top, "announced", ":7007")

			kill()
			lost(t, conn)
			<-time.After(2 * time.Second)
			kill = echoOn(t, there, "7007")
			conn = machine.Meet(t, top, "killed and restarted", ":7007")

			avahi.Kill()
			avahi.Start()
			found(t, top, "avahi restarted", 1)
			kill()
			lost(t, conn)
			withdraw()
			kill = echoOn(t, there, "7008")
			withdraw = publish(t, avahi, there, "echo", "7008", "lan")
			conn = machine.Meet(t, top, "at another port", ":7008")

			withdraw()
			found(t, top, "taken back", 0)
			if !machine.Echoes(conn) {
				t.Error("the circuit ended with the announcement")
			}
			publish(t, avahi, there, "echo", "7008", "another")
			other := machine.Meet(t, another, "of another topic", ":7008")
			found(t, top, "of another topic", 0)
			if lan.there != "" {
				kill()
				lost(t, other)
				there.Addr(t, "10.76.0.3/24", "veth0")
				there.IP(t, "addr", "del", lan.there, "dev", "veth0")
				there.IP(t, "addr", "replace", "10.76.0.3/24", "dev", "veth0") // it went with the first one
				echoOn(t, there, "7008")
				machine.Meet(t, another, "at another address", "10.76.0.3:7008")
			}
		})
	}
}

// Two gateways without a DHT find each other by the LAN, on two machines and on one, and again
// after one was killed and restarted with the same state: their clients meet.
func TestLANGatewaysMeetAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		machine int // of the second gateway
	}{{"two_machines", 1}, {"one_machine", 0}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			machines := []*netns.NS{netns.New(t, "one"), netns.New(t, "two")}
			netns.Link(t, machines[0], "10.77.0.1/24", machines[1], "10.77.0.2/24")
			if c.machine == 0 {
				netns.StartAvahi(t, machines[0]) // a third one on the port
			}
			dir := t.TempDir()
			start := func(i int, ns *netns.NS) *machine.Gateway {
				return machine.StartOnLAN(t, ns, "--state-dir", filepath.Join(dir, fmt.Sprint(i)), "--log-level", "warn")
			}
			a, b := start(0, machines[0]), start(1, machines[c.machine])
			here, there := a.Join("lan")[0], b.Join("lan")[0]
			machine.Together(t, "at first", here, there)
			b.Kill()
			b.Restart()
			there = b.Join("lan")[0]
			machine.Together(t, "restarted", here, there)
		})
	}
}

// A native peer that knows no DHT is found by the LAN alone.
func TestLANSwarmPeer(t *testing.T) {
	t.Parallel()
	here, there := netns.New(t, "gateway"), netns.New(t, "peer")
	netns.Link(t, here, "10.75.0.1/24", there, "10.75.0.2/24")
	machine.StartPeer(t, there, "lan", "--lan", "--dht", "off")
	machine.Meet(t, machine.StartOnLAN(t, here).Join("lan")[0], "swarm peer", "")
}
