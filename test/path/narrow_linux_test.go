//go:build !race

package path

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

func TestMain(m *testing.M) { os.Exit(browser.Main(m)) }

// narrow is the smallest MTU that IPv6 allows: that of WireGuard in many networks, of 6in4, and of
// relays of VPNs.
const narrow = "1280"

// way is a client, two routers and a gateway, in a row.
type way struct {
	t               *testing.T
	client, gateway *netns.NS
	routers         [2]*netns.NS
	cables          [3][2]end // from the client to the gateway
	program         *program.Program
	slow            bool // a router lets through 8 MB/s each way
}

// end is the end of a cable at a machine.
type end struct {
	ns  *netns.NS
	dev string
}

// families are the addresses of the gateway.
var families = []struct{ name, addr string }{{"IPv4", "10.81.3.2"}, {"IPv6", "fd81:3::2"}}

// port is where the gateway listens.
const port = "4433"

// newWay starts all of that. The topic "echo" has one peer, which sends back what comes.
func newWay(t *testing.T, args ...string) *way {
	t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	w := &way{t: t, client: netns.New(t, "client"), gateway: netns.New(t, "gateway")}
	w.routers = [2]*netns.NS{netns.New(t, "near"), netns.New(t, "far")}
	row := []*netns.NS{w.client, w.routers[0], w.routers[1], w.gateway}
	for i := range w.cables {
		a, b := row[i], row[i+1]
		devA, devB := netns.Link(t, a, fmt.Sprintf("10.81.%d.1/24", i+1), b, fmt.Sprintf("10.81.%d.2/24", i+1))
		a.Addr(t, fmt.Sprintf("fd81:%d::1/64", i+1), devA)
		b.Addr(t, fmt.Sprintf("fd81:%d::2/64", i+1), devB)
		w.cables[i] = [2]end{{a, devA}, {b, devB}}
	}
	for _, r := range w.routers {
		r.Sysctl(t, "net/ipv4/ip_forward", "1")
		r.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	}
	for _, r := range []struct {
		ns       *netns.NS
		via4, v6 string
	}{
		{w.client, "10.81.1.2", "fd81:1::2"},
		{w.routers[0], "10.81.2.2", "fd81:2::2"},
		{w.routers[1], "10.81.2.1", "fd81:2::1"},
		{w.gateway, "10.81.3.1", "fd81:3::1"},
	} {
		r.ns.IP(t, "route", "add", "default", "via", r.via4)
		r.ns.IP(t, "-6", "route", "add", "default", "via", r.v6)
	}
	netns.Daemon(t, w.gateway.Command(t.Context(), "socat", "-d", "-d", "TCP-LISTEN:7007,fork,reuseaddr,bind=127.0.0.1", "EXEC:cat"), "listening on")
	args = append([]string{"--listen", ":" + port, "--dht", "off", "--no-lan", "--static", "echo=tcp://127.0.0.1:7007", "--log-level", "warn"}, args...)
	for _, f := range families {
		args = append(args, "--name", f.addr)
	}
	w.program = program.StartCommand(t, w.gateway.Command(t.Context(), binary, args...))
	return w
}

// set gives one cable the MTU narrow, and the others 1500; -1 narrows none. Without icmp the
// routers tell nobody that a packet was too large.
func (w *way) set(cable int, icmp bool) {
	w.t.Helper()
	for _, r := range w.routers {
		machine.Nft(w.t, r, "flush ruleset")
		if !icmp {
			machine.Nft(w.t, r, "add table inet silent", "add chain inet silent out { type filter hook output priority 0; }",
				"add rule inet silent out icmp type destination-unreachable drop", "add rule inet silent out icmpv6 type packet-too-big drop")
		}
	}
	if w.slow {
		machine.Nft(w.t, w.routers[1], "add table inet slow", "add chain inet slow forward { type filter hook forward priority 0; }")
		for _, e := range []end{w.cables[1][1], w.cables[2][0]} {
			machine.Nft(w.t, w.routers[1], "add rule inet slow forward iifname "+e.dev+" limit rate over 8 mbytes/second burst 512 kbytes drop")
		}
	}
	for i, c := range w.cables {
		mtu := "1500"
		if i == cable {
			mtu = narrow
		}
		for _, e := range c {
			e.ns.IP(w.t, "link", "set", e.dev, "mtu", mtu)
		}
	}
	for _, ns := range []*netns.NS{w.client, w.gateway} { // what they have learned of the way before
		ns.IP(w.t, "route", "flush", "cache")
		ns.IP(w.t, "-6", "route", "flush", "cache")
	}
}

// each calls test on each kind of way.
func (w *way) each(test func(where string, icmp bool)) {
	for _, icmp := range []bool{true, false} {
		for i, where := range []string{"at the client", "in the middle", "at the gateway"} {
			w.set(i, icmp)
			if !icmp {
				where += ", without ICMP"
			}
			test(where, icmp)
		}
	}
}

// url is where the gateway is, for programs.
func (w *way) url(addr string) string {
	return "swarmgate://" + net.JoinHostPort(addr, port) + "/?h=" + w.program.Certificate.Hashes[0]
}

// On a way with a cable of MTU 1280 there was no session, because the first packets of both ends
// had 1,280 bytes, and it did not matter whether a router said so: QUIC cannot divide them.
// WebSocket was connected, and stalled unless a router said that its segments were too large.
func TestNarrowWay(t *testing.T) {
	t.Parallel()
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 256<<10)
	rand.Read(data)
	w := newWay(t)
	w.each(func(where string, _ bool) {
		for _, f := range families {
			for _, transport := range []string{"quic", "websocket"} {
				ctx, cancel := context.WithTimeout(t.Context(), gateway.Patience)
				cmd := w.client.Command(ctx, binary, "join", "echo", "--once", "--no-reconnect", "--gateway", w.url(f.addr), "--transport", transport)
				var errs bytes.Buffer
				cmd.Stdin, cmd.Stderr = bytes.NewReader(data), &errs
				out, err := cmd.Output()
				cancel()
				if err != nil || !bytes.Equal(out, data) {
					t.Errorf("narrow %s, %s over %s: %d of %d bytes came back, %v\n%s", where, transport, f.name, len(out), len(data), err, errs.Bytes())
				}
			}
		}
	})
}

// echoed is a peer that sends data, and reports whether all of it comes back.
func (w *way) echoed(port string, data []byte, results chan<- error) {
	w.t.Helper()
	w.peer(port, func(c net.Conn) {
		go func() {
			_, _ = c.Write(data) // what comes back says how it went
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(got, data) {
			err = fmt.Errorf("%d bytes of %d came back", len(got), len(data))
		}
		select {
		case results <- err:
		case <-w.t.Context().Done():
		}
	})
}

// Neither browser had WebTransport on such a way.
func TestNarrowWayInBrowsers(t *testing.T) {
	t.Parallel()
	w := newWay(t, "--allow-origin", "*", "--static", "page=tcp://127.0.0.1:7008")
	data := make([]byte, 1<<20)
	rand.Read(data)
	results := make(chan error)
	w.echoed("7008", data, results)
	for _, name := range []string{"chromium", "firefox"} {
		page := browser.Drive(t, w.client.Command(context.WithoutCancel(t.Context()), "node", browser.Script(t, "drive.mjs"), name, "any-certificate"), "client.html")
		w.each(func(where string, icmp bool) {
			for _, f := range families {
				for _, transport := range []string{"webtransport", "websocket"} {
					if icmp && transport == "websocket" {
						continue // any TCP connection works then
					}
					what := fmt.Sprintf("narrow %s, %s in %s over %s", where, transport, name, f.name)
					page.Call(t, "forget", nil, nil)
					target := map[string]any{"url": "https://" + net.JoinHostPort(f.addr, port), "transports": []string{transport}}
					if got := page.OpenAtLast(t, target); got.Gateway == "" {
						t.Errorf("%s: connect: %+v", what, got)
						continue
					}
					page.Call(t, "echoAll", map[string]any{"topic": "page"}, nil)
					timeout := time.After(gateway.Patience)
					for done := false; !done; {
						select {
						case err := <-results: // an error is that of a page that has gone
							done = err == nil
						case <-timeout:
							t.Errorf("%s: no echo: %+v", what, page.Report(t))
							done = true
						}
					}
				}
			}
		})
	}
}
