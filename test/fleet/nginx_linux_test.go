//go:build !race

package fleet

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// balanced is a fleet behind nginx, with the configuration of deploy/fleet: clients, the balancer
// and the gateways are each on machines of their own.
type balanced struct {
	t       *testing.T
	clients *netns.NS
	fleet   *netns.NS
	members []*program.Program
	pidFile string // of nginx
}

// Where they are.
const (
	balancerOutside = "10.88.1.1"
	balancerInside  = "10.88.2.1"
	balancerPort    = "4433"
	addresses       = 12 // of clients
	eachAddress     = 2  // clients of it
	everybody       = 64 // max peers with which each meets all others: a gateway chooses half of them
)

func clientAddr(i int) string { return fmt.Sprintf("10.88.1.%d", 101+i) }

// startBalanced starts three gateways and nginx.
func startBalanced(t *testing.T) *balanced {
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	b := &balanced{t: t, clients: netns.New(t, "clients"), fleet: netns.New(t, "fleet")}
	balancer := netns.New(t, "balancer")
	dev, _ := netns.Link(t, b.clients, clientAddr(0)+"/24", balancer, balancerOutside+"/24")
	for i := 1; i < addresses; i++ {
		b.clients.Addr(t, clientAddr(i)+"/24", dev)
	}
	_, dev = netns.Link(t, balancer, balancerInside+"/24", b.fleet, "10.88.2.11/24")
	hosts := "127.0.0.1 localhost\n"
	var seed []string
	for i := range 3 {
		addr := fmt.Sprintf("10.88.2.%d", 11+i)
		if i > 0 {
			b.fleet.Addr(t, addr+"/24", dev)
		}
		hosts += fmt.Sprintf("%s gateway-%d\n", addr, i+1)
		cmd := b.fleet.Command(t.Context(), binary, append([]string{
			"--listen", addr + ":" + balancerPort, "--name", balancerOutside, "--admin", addr + ":9090", "--allow-origin", "*",
			"--dht", "private", "--p2p-listen", "/ip4/" + addr + "/tcp/4434", "--dial-allow", "10.88.2.0/24",
			"--trusted-proxy", balancerInside + "/32", "--max-sessions-per-principal", "2", "--handshakes-per-address", "5", "--log-level", "warn",
		}, seed...)...)
		m := program.StartCommand(t, cmd)
		b.members = append(b.members, m)
		seed = []string{"--dht-seed", b.members[0].P2P.Addrs[0]}
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := filepath.Abs("../../deploy/fleet/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	nginx := balancer.Command(t.Context(), "unshare", "-m", "sh", "-c",
		`mount --bind "$0" /etc/hosts && exec nginx -c "$1" -e stderr -g "daemon off; error_log stderr notice; pid $0.pid;"`, file, conf)
	nginx.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	netns.Daemon(t, nginx, "start worker process")
	b.pidFile = file + ".pid"
	return b
}

// reload has nginx read its configuration again, and waits until the workers that it had take
// nothing more.
func (b *balanced) reload() {
	b.t.Helper()
	text, err := os.ReadFile(b.pidFile)
	if err != nil {
		b.t.Fatal(err)
	}
	pid := strings.TrimSpace(string(text))
	workers, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		b.t.Fatal(err)
	}
	master, err := strconv.Atoi(pid)
	if err == nil {
		err = syscall.Kill(master, syscall.SIGHUP)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for _, worker := range strings.Fields(string(workers)) {
		gateway.Eventually(b.t, "an old worker takes nothing more", func() bool {
			name, err := os.ReadFile("/proc/" + worker + "/cmdline")
			return err != nil || strings.Contains(string(name), "is shutting down")
		})
	}
}

// hashes returns those of all gateways.
func (b *balanced) hashes() (all [][32]byte, text []string) {
	b.t.Helper()
	for _, m := range b.members {
		for _, h := range m.Certificate.Hashes {
			raw, err := hex.DecodeString(h)
			if err != nil {
				b.t.Fatal(err)
			}
			all, text = append(all, [32]byte(raw)), append(text, h)
		}
	}
	return all, text
}

// dial opens a session through the balancer, from that address.
func (b *balanced) dial(from string) *client.Client {
	b.t.Helper()
	hashes, _ := b.hashes()
	c, err := client.Dial(gateway.Context(b.t), balancerOutside+":"+balancerPort, client.Config{
		CertHashes: hashes,
		Silence:    10 * time.Second,
		Transports: []string{client.TransportQUIC},
		ListenPacket: func() (socket net.PacketConn, err error) {
			b.clients.Do(b.t, func() { socket, err = net.ListenPacket("udp4", from+":0") })
			return socket, err
		},
	})
	if err != nil {
		b.t.Fatalf("from %s: %v", from, err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// get asks a host on TCP for a path, in a namespace and from an address. secure is for HTTPS; the
// hash of its certificate is returned.
func (b *balanced) get(ns *netns.NS, from, host, path string, secure bool) (body []byte, hash string, err error) {
	var c net.Conn
	ns.Do(b.t, func() {
		d := net.Dialer{Timeout: gateway.Patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		c, err = d.Dial("tcp4", host)
	})
	if err != nil {
		return nil, "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(gateway.Patience))
	if secure {
		t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		if err := t.Handshake(); err != nil {
			return nil, "", err
		}
		sum := sha256.Sum256(t.ConnectionState().PeerCertificates[0].Raw)
		c, hash = t, hex.EncodeToString(sum[:])
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, "", err
	}
	defer r.Body.Close()
	body, err = io.ReadAll(r.Body)
	return body, hash, err
}

// sessions returns how many sessions a gateway has.
func (b *balanced) sessions(i int) int {
	b.t.Helper()
	addr := fmt.Sprintf("10.88.2.%d", 11+i)
	var text []byte
	gateway.Eventually(b.t, "the metrics are there", func() bool { // it has limits for this address too
		var err error
		text, _, err = b.get(b.fleet, addr, addr+":9090", "/metrics", false)
		return err == nil
	})
	sum := 0
	for _, m := range regexp.MustCompile(`(?m)^swarmgate_sessions{.*} (\d+)$`).FindAllSubmatch(text, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		sum += n
	}
	return sum
}

// guest is a client that tries each circuit which it gets.
type guest struct {
	c   *client.Client
	top *client.Topic

	mu    sync.Mutex
	conns map[wtproto.EndpointID]*client.Conn // guarded by mu; the newest with each
	lost  int                                 // guarded by mu; sessions
}

// meet accepts circuits until ctx ends, and closes the client. The initiator of two sends a word,
// and gets it back.
func (g *guest) meet(ctx context.Context, t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer g.c.Close() // ends those that wait for a word
	wg.Go(func() {
		for e := range g.c.Events(ctx) {
			if d, ok := e.(client.Disconnected); ok {
				t.Logf("lost a session: %v", d.Err)
				g.mu.Lock()
				g.lost++
				clear(g.conns)
				g.mu.Unlock()
			}
		}
	})
	for {
		conn, err := g.top.Accept(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			if conn.Peer().Initiator && try(conn) != nil {
				return // lost
			}
			g.mu.Lock()
			g.conns[endpointOf(conn)] = conn
			g.mu.Unlock()
			if !conn.Peer().Initiator {
				io.Copy(conn, conn)
			}
		})
	}
}

// try sends a word, and waits until it is back.
func try(conn *client.Conn) error {
	conn.SetDeadline(time.Now().Add(gateway.Patience))
	defer conn.SetDeadline(time.Time{})
	if _, err := conn.Write([]byte("word")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}

// losses returns how many sessions it has lost.
func (g *guest) losses() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

// chosen yields the circuits that are for this side to try.
func (g *guest) chosen() iter.Seq[*client.Conn] {
	g.mu.Lock()
	conns := slices.Collect(maps.Values(g.conns))
	g.mu.Unlock()
	return func(yield func(*client.Conn) bool) {
		for _, conn := range conns {
			if conn.Peer().Initiator && !yield(conn) {
				return
			}
		}
	}
}

// met returns with how many there are circuits.
func (g *guest) met() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Programs and a page reach a fleet by nginx, with the configuration of deploy/fleet: more of them
// than one address may be, each address always at one gateway. Who loses it comes to another one.
func TestFleetBehindNginx(t *testing.T) {
	b := startBalanced(t)
	topic := wtproto.TopicFromName("behind nginx")
	ctx, end := context.WithCancel(gateway.Context(t))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	var guests []*guest
	for i := range addresses {
		from := clientAddr(i)
		body, hash, err := b.get(b.clients, from, balancerOutside+":"+balancerPort, wtproto.InfoPath, true)
		var info wtproto.Info
		if err == nil {
			err = json.Unmarshal(body, &info)
		}
		if err != nil || info.QUIC != balancerOutside+":"+balancerPort || !slices.Contains(info.Certificate.Hashes, hash) {
			t.Fatalf("the info document for %s is %s with %s: %v", from, body, hash, err)
		}
		for range eachAddress {
			g := &guest{c: b.dial(from), conns: make(map[wtproto.EndpointID]*client.Conn)}
			if hashes := g.c.Session().CertHashes; hex.EncodeToString(hashes[0][:]) != hash {
				t.Errorf("a session from %s is at another gateway than its info document", from)
			}
			g.top = gateway.Join(t, g.c, topic, client.JoinOptions{MaxPeers: everybody})
			wg.Go(func() { g.meet(ctx, t) })
			guests = append(guests, g)
		}
	}
	page := browser.Drive(t, b.clients.Command(context.WithoutCancel(t.Context()), "node", browser.Script(t, "drive.mjs"), "chromium"), "client.html")
	_, hashes := b.hashes()
	page.Open(t, map[string]any{"url": "https://" + balancerOutside + ":" + balancerPort, "hashes": hashes})
	page.Call(t, "echoAll", map[string]any{"topic": "behind nginx", "maxPeers": everybody}, nil)

	all := len(guests) + 1
	everybodyMet := func() bool {
		for _, g := range guests {
			if g.met() != all-1 {
				return false
			}
		}
		return true
	}
	gateway.Eventually(t, "everybody meets everybody", everybodyMet)
	gateway.Eventually(t, "the page meets everybody", func() bool { return page.Report(t).Met == all-1 })
	var sessions []int
	most, sum := 0, 0
	for i := range b.members {
		sessions = append(sessions, b.sessions(i))
		sum += sessions[i]
		if most == 0 || sessions[i] > sessions[most] {
			most = i // not the first, which is the seed
		}
	}
	t.Logf("sessions at the gateways: %v", sessions)
	if sum != all || slices.Max(sessions) == all || slices.Max(sessions) <= 2 {
		t.Errorf("%v sessions at the gateways, want %d in all, at more than one, and more than an address may have", sessions, all)
	}

	killed := time.Now()
	b.members[most].Kill()
	gateway.Eventually(t, "those who lost their gateway meet everybody at another one", func() bool {
		lost := 0
		for _, g := range guests {
			lost += g.losses()
		}
		return lost >= sessions[most]-1 && everybodyMet() // one may be the page
	})
	t.Logf("everybody has met everybody again %v after SIGKILL", time.Since(killed))
	gateway.Eventually(t, "all are at the other gateways", func() bool {
		sum := 0
		for i := range b.members {
			if i != most {
				sum += b.sessions(i)
			}
		}
		return sum == all
	})
}

// The third reload of nginx once ended the sessions of all clients: each gives a session another
// port, and the gateway ran out of connection ids of the client. Now as many reloads as one likes
// cost nobody a session, nor a byte.
func TestNginxReloads(t *testing.T) {
	b := startBalanced(t)
	topic := wtproto.TopicFromName("reloads")
	ctx, end := context.WithCancel(gateway.Context(t))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	var guests []*guest
	for i := range addresses {
		g := &guest{c: b.dial(clientAddr(i)), conns: make(map[wtproto.EndpointID]*client.Conn)}
		g.top = gateway.Join(t, g.c, topic, client.JoinOptions{MaxPeers: everybody})
		wg.Go(func() { g.meet(ctx, t) })
		guests = append(guests, g)
	}
	page := browser.Drive(t, b.clients.Command(context.WithoutCancel(t.Context()), "node", browser.Script(t, "drive.mjs"), "chromium"), "client.html")
	_, hashes := b.hashes()
	page.Open(t, map[string]any{"url": "https://" + balancerOutside + ":" + balancerPort, "hashes": hashes})
	page.Call(t, "echoAll", map[string]any{"topic": "reloads", "maxPeers": everybody}, nil)
	gateway.Eventually(t, "everybody meets everybody", func() bool {
		return !slices.ContainsFunc(guests, func(g *guest) bool { return g.met() != len(guests) })
	})
	for i := range 5 {
		b.reload()
		var talks sync.WaitGroup
		for _, g := range guests {
			for conn := range g.chosen() {
				talks.Go(func() {
					if err := try(conn); err != nil {
						t.Errorf("after reload %d a circuit is lost: %v", i+1, err)
					}
				})
			}
		}
		talks.Wait()
	}
	for _, g := range guests {
		if n := g.losses(); n > 0 {
			t.Errorf("a client has lost %d sessions", n)
		}
	}
	if losses := page.Report(t).Losses; len(losses) > 0 {
		t.Errorf("the page has lost %v", losses)
	}
}

// What HTTPS gets through the balancer is counted by the address of the client.
func TestHTTPSBehindNginxCountsAddresses(t *testing.T) {
	b := startBalanced(t)
	info := func(from int) error {
		_, _, err := b.get(b.clients, clientAddr(from), balancerOutside+":"+balancerPort, wtproto.InfoPath, true)
		return err
	}
	refused := 0
	for range 200 {
		if info(0) != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("one address was refused nothing")
	}
	for i := 1; i < addresses; i++ {
		if err := info(i); err != nil {
			t.Errorf("another address, %s: %v", clientAddr(i), err)
		}
	}
}
