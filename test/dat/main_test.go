// Package dat has real peers of the old world: hyperdiscovery and discovery-swarm from npm, with
// which a gateway is on the networks dat and discovery-swarm.
package dat

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/node"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script starts a script with options, and reads what it says when it is ready.
func script(t *testing.T, file, role string, options map[string]any, ready any) *node.Script {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	s := node.Start(t, file, role, string(text))
	s.Await("ready", ready)
	return s
}

// dnsServer runs npm's server of dns-discovery, and returns its address.
func dnsServer(t *testing.T) (s *node.Script, at string) {
	t.Helper()
	port := freeport.Ports(t, 1)
	s = script(t, "find.mjs", "dns", map[string]any{"listen": port, "domain": "dat.local", "multicast": false, "ttl": 60}, nil)
	return s, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// dhtNode runs a node of npm's bittorrent-dht, and returns its address. It says announce when a
// peer has announced itself.
func dhtNode(t *testing.T) (s *node.Script, at string) {
	t.Helper()
	var ready struct{ Port int }
	s = script(t, "find.mjs", "dht", map[string]any{"host": "127.0.0.1", "bootstrap": []string{}}, &ready)
	return s, net.JoinHostPort("127.0.0.1", strconv.Itoa(ready.Port))
}

// ways say where peers are found: on which server of dns-discovery, by which node of the DHT, and
// whether by multicast. An empty one is not used.
type ways struct {
	dns, dht  string
	multicast bool
}

// options adds the ways to the options of a script that runs at host.
func (w ways) options(host string, o map[string]any) map[string]any {
	if w.dns != "" || w.multicast {
		dns := map[string]any{"domain": "dat.local", "multicast": w.multicast}
		if w.dns != "" {
			dns["server"] = []string{w.dns}
		}
		o["dns"] = dns
	}
	if w.dht != "" {
		o["dht"] = map[string]any{"bootstrap": []string{w.dht}, "host": host}
	}
	return o
}

// archive is a hyperdrive that a peer holds.
type archive struct {
	Key   string
	Topic wtproto.Topic
}

// file is what a peer has written to the archive's /dat.json.
func (a archive) file() string {
	return fmt.Sprintf("{\n  \"title\": \"an archive\",\n  \"key\": %q\n}\n", a.Key)
}

// hyper runs a peer with hyperdiscovery that has archives in folders, and listens at port.
func hyper(t *testing.T, version int, w ways, port int, folders ...string) (*node.Script, []archive) {
	t.Helper()
	var ready struct{ Archives []archive }
	s := script(t, "peers.js", "hyper", w.options("127.0.0.1", map[string]any{"version": version, "port": port, "archives": folders}), &ready)
	return s, ready.Archives
}

// freePorts returns a range of n ports that are free.
func freePorts(t *testing.T, n int) dat.PortRange {
	t.Helper()
	first := freeport.Ports(t, n)
	return dat.PortRange{First: uint16(first), Last: uint16(first + n - 1)}
}

// start runs a gateway on the networks of old peers, and opens a session with it.
func start(t *testing.T, w ways, cfg dat.Config) *client.Client {
	t.Helper()
	return startGateway(t, w, cfg, server.Config{}).Dial(t, client.Config{})
}

// startGateway runs a gateway on the networks of old peers. Unless cfg has a policy, it may dial
// loopback addresses.
func startGateway(t *testing.T, w ways, cfg dat.Config, of server.Config) *gateway.Gateway {
	t.Helper()
	if cfg.Policy == nil {
		cfg.Policy = newPolicy(t, discovery.PolicyConfig{Private: true})
	}
	cfg.Bootstrap, cfg.Multicast = []string{}, w.multicast
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	if w.dns != "" {
		cfg.DNS = []string{w.dns}
	}
	if w.dht != "" {
		cfg.Bootstrap = []string{w.dht}
	}
	if cfg.Listen == "" && cfg.Ports == (dat.PortRange{}) {
		cfg.Listen = "127.0.0.1:0"
	}
	host, err := dat.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	of.Networks, of.MaxTopics = host.Networks(), 100
	return gateway.Start(t, of)
}

func newPolicy(t *testing.T, cfg discovery.PolicyConfig) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// read replicates the archive over conn in Node, and returns its /dat.json. conn stays open, but
// reads no more.
func read(t *testing.T, conn net.Conn, a archive) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text, err := json.Marshal(map[string]any{"key": a.Key, "port": l.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	reader := node.Start(t, "peers.js", "reader", string(text))
	defer reader.Kill()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(conn, in)
	}()
	back := make(chan struct{})
	go func() {
		defer close(back)
		io.Copy(in, conn)
	}()
	var file struct{ Data, Text string }
	reader.Await("file", &file)
	reader.Kill()
	in.Close()
	conn.SetReadDeadline(time.Now())
	<-done
	<-back
	data, err := base64.StdEncoding.DecodeString(file.Data)
	if err != nil || file.Text != "" {
		t.Fatalf("the reader says %+v, %v", file, err)
	}
	return string(data)
}

// first reads n bytes.
func first(t *testing.T, conn io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("read %d of %d bytes: %v", len(bytes.TrimRight(b, "\x00")), n, err)
	}
	return b
}
