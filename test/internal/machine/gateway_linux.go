package machine

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Gateway is a gateway on a machine. The clients of Join are on that machine too.
type Gateway struct {
	*program.Program
	t    *testing.T
	ns   *netns.NS
	Log  *logged
	args []string
}

// Start starts a gateway in ns, which ends with the test.
func Start(t *testing.T, ns *netns.NS, args ...string) *Gateway {
	t.Helper()
	g := &Gateway{t: t, ns: ns, Log: &logged{to: t.Output()}, args: append([]string{"--listen", "127.0.0.1:0"}, args...)}
	g.Restart()
	return g
}

// Restart starts a gateway that was killed once more, with the same arguments.
func (g *Gateway) Restart() {
	g.t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := g.ns.Command(g.t.Context(), binary, g.args...)
	cmd.Stderr = g.Log
	g.Program = program.StartCommand(g.t, cmd)
}

// Join opens a session from the gateway's machine, and joins topics by it.
func (g *Gateway) Join(names ...string) (all []*client.Topic) {
	g.t.Helper()
	cfg := client.Config{ListenPacket: func() (socket net.PacketConn, err error) {
		g.ns.Do(g.t, func() { socket, err = net.ListenPacket("udp4", "127.0.0.1:0") })
		return socket, err
	}}
	for _, h := range g.Certificate.Hashes {
		b, err := hex.DecodeString(h)
		if err != nil {
			g.t.Fatal(err)
		}
		cfg.CertHashes = append(cfg.CertHashes, [32]byte(b))
	}
	c, err := client.Dial(gateway.Context(g.t), g.QUIC, cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	for _, name := range names {
		all = append(all, gateway.Join(g.t, c, wtproto.TopicFromName(name), client.JoinOptions{}))
	}
	return all
}

// Soon is how long a peer may take to be found on the LAN. An idle machine needs at most two
// seconds; the faults that the tests look for took 17 s and more.
const Soon = 12 * time.Second

// StartOnLAN starts a gateway in ns that looks for peers on the LAN, and is found there.
func StartOnLAN(t *testing.T, ns *netns.NS, args ...string) *Gateway {
	t.Helper()
	return Start(t, ns, append([]string{"--lan", "--dht", "off", "--show-addresses"}, args...)...)
}

// StartOnDHT starts a gateway in ns that uses a private DHT.
func StartOnDHT(t *testing.T, ns *netns.NS, args ...string) *Gateway {
	t.Helper()
	return Start(t, ns, append([]string{"--dht", "private", "--log-level", "warn"}, args...)...)
}

// Multiaddr returns the address by which others reach the libp2p host of g at addr and port.
func (g *Gateway) Multiaddr(addr string, port int) string {
	return fmt.Sprintf("/ip4/%s/tcp/%d/p2p/%s", addr, port, g.P2P.ID)
}

// Ask returns what the operators' listener of g answers to a GET of path.
func (g *Gateway) Ask(path string) string {
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

// SwarmStatus returns what swarm status prints about a topic.
func (g *Gateway) SwarmStatus(topic string) string {
	g.t.Helper()
	binary, err := program.BuildSwarm()
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

// Meet takes circuits of top until one is with a peer whose address ends in end, for example
// ":7007", and which gives bytes back. It reports an error if that takes longer than [Soon].
func Meet(t *testing.T, top *client.Topic, what, end string) *client.Conn {
	t.Helper()
	began := time.Now()
	for {
		conn := gateway.Accept(t, top)
		if !strings.HasSuffix(conn.Peer().Address, end) || !Echoes(conn) {
			continue
		}
		took := time.Since(began)
		t.Logf("%s: met %s after %v", what, conn.Peer().Address, took)
		if took > Soon {
			t.Errorf("%s: met %s after %v, want less than %v", what, conn.Peer().Address, took, Soon)
		}
		return conn
	}
}

// Echoes reports whether what is sent by conn comes back.
func Echoes(conn *client.Conn) bool {
	if _, err := conn.Write([]byte("hello")); err != nil {
		return false
	}
	b := make([]byte, 5)
	n, err := conn.Read(b)
	return err == nil && strings.HasPrefix("hello", string(b[:n]))
}

// Together takes circuits of both topics until bytes pass from there to here.
func Together(t *testing.T, what string, here, there *client.Topic) {
	t.Helper()
	began := time.Now()
	conn := gateway.Accept(t, there)
	go conn.Write([]byte("hello"))
	for {
		other := gateway.Accept(t, here)
		b := make([]byte, 5)
		if n, err := other.Read(b); err == nil && strings.HasPrefix("hello", string(b[:n])) {
			break
		}
	}
	took := time.Since(began)
	t.Logf("%s: met after %v", what, took)
	if took > 2*Soon {
		t.Errorf("%s: met after %v, want less than %v", what, took, 2*Soon)
	}
}

// StartPeer runs swarm peer with --echo in ns until the test ends.
func StartPeer(t *testing.T, ns *netns.NS, args ...string) {
	t.Helper()
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(t.Context(), binary, append([]string{"peer", "--echo", "--json"}, args...)...)
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	go io.Copy(io.Discard, r) // until the program has ended
	if err != nil || !strings.Contains(line, `"addrs"`) {
		t.Fatalf("swarm peer printed %q, %v", line, err)
	}
}
