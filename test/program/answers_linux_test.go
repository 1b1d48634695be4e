//go:build !race

package program

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/machine"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// asks sends lines of a request as they are, to http://HOST:PORT or https://HOST:PORT, and returns
// the answer and its body.
func asks(site string, lines ...string) (*http.Response, []byte, error) {
	scheme, at, _ := strings.Cut(site, "://")
	c, err := net.Dial("tcp", at)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(gateway.Patience))
	if scheme == "https" {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, nil, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r.Body)
	return r, body, err
}

// What browsers, health checks and operators get of the program by HTTP. The tests of cmd/server
// have every case; here a flag, a listener and a header of each are those of the program.
func TestAnswersOfTheProgram(t *testing.T) {
	_, cert, key := writeAuthority(t)
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--no-lan", "--dev-http", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--cert", cert, "--key", key, "--name", "gateway.example", "--allow-origin", "https://*.app.example:443", "--pprof", "--qlog")
	_, port, _ := net.SplitHostPort(p.QUIC)
	public, dev, admin := "https://127.0.0.1:"+port, strings.TrimSuffix(p.Info, wtproto.InfoPath), p.Admin
	plain := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--no-lan", "--admin", "127.0.0.1:0")

	module, content, err := asks(public, "GET /client.js HTTP/1.1", "Host: gateway.example:"+port, "Accept-Encoding: gzip")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(strings.NewReader(string(content)))
	if err != nil {
		t.Fatalf("/client.js is not compressed: %v, %v", module.Header, err)
	}
	text, err := io.ReadAll(z)
	if err != nil || len(text) <= len(content) {
		t.Errorf("/client.js: %d bytes are %d, %v", len(content), len(text), err)
	}
	immutable := fmt.Sprintf("/client.js?v=%x", sha256.Sum256(text))

	const none = "" // there is no such header
	type headers map[string]string
	host := "Host: gateway.example:" + port
	for _, c := range []struct {
		site, lines string // separated by |
		status      int
		want        headers
	}{
		{public, "GET /client.js HTTP/1.1|" + host + "|Accept-Encoding: gzip|If-None-Match: " + module.Header.Get("ETag"), 304, nil},
		{public, "GET /client.js HTTP/1.1|" + host, 200, headers{
			"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*", "Content-Encoding": none,
		}},
		{public, "GET " + immutable + " HTTP/1.1|" + host, 200, headers{"Cache-Control": "public, max-age=31536000, immutable"}},
		{public, "GET / HTTP/1.1|" + host, 200, headers{
			"Strict-Transport-Security": "max-age=31536000", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		}},
		{dev, "GET / HTTP/1.1|Host: localhost", 200, headers{"Strict-Transport-Security": none, "Cross-Origin-Opener-Policy": "same-origin"}},
		{"https://" + plain.QUIC, "GET / HTTP/1.1|Host: localhost", 200, headers{"Strict-Transport-Security": none}},

		{public, "GET " + wtproto.InfoPath + " HTTP/1.1|" + host + "|Origin: https://gateway.example:" + port, 200, nil},
		{public, "GET " + wtproto.InfoPath + " HTTP/1.1|" + host + "|Origin: https://a.b.app.example", 200, headers{"Access-Control-Allow-Origin": "https://a.b.app.example"}},
		{public, "GET " + wtproto.InfoPath + " HTTP/1.1|" + host + "|Origin: https://app.example", 403, nil},

		{public, "OPTIONS / HTTP/1.0", 200, nil},
		{admin, "GET /readyz HTTP/1.0", 200, nil},
		{dev, "OPTIONS / HTTP/1.0", 200, nil},
		{admin, "GET /readyz HTTP/1.1|Host: rebound.example", 421, nil},
		{dev, "GET / HTTP/1.1|Host: rebound.example", 421, nil},
		{dev, "GET / HTTP/1.1|Host: app.localhost", 200, nil},

		{admin, "GET /metrics HTTP/1.1|Host: localhost|Origin: https://evil.example", 403, nil},
		{admin, "GET /metrics HTTP/1.1|Host: localhost|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors", 403, nil},
		{admin, "GET /debug/pprof/ HTTP/1.1|Host: localhost", 200, nil},
		{admin, "GET /debug/qlog?address=x HTTP/1.1|Host: localhost", 400, nil},
		{plain.Admin, "GET /debug/pprof/ HTTP/1.1|Host: localhost", 404, nil},
		{plain.Admin, "GET /debug/qlog HTTP/1.1|Host: localhost", 404, nil},
		{public, "GET /debug/pprof/ HTTP/1.1|" + host, 404, nil},
	} {
		r, _, err := asks(c.site, strings.Split(c.lines, "|")...)
		if err != nil {
			t.Errorf("%s: %q: %v", c.site, c.lines, err)
			continue
		}
		if r.StatusCode != c.status {
			t.Errorf("%s: %q: %s, want %d", c.site, c.lines, r.Status, c.status)
		}
		for name, want := range c.want {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q: %s %q, want %q", c.site, c.lines, name, got, want)
			}
		}
	}

	mistakes := []string{"https://a.example:99999", "*.a.example", "https://a.*.example", "https://[::1", "a.example", "https://a.example/page"}
	var args []string
	for _, m := range mistakes {
		args = append(args, "--allow-origin", m)
	}
	status, printed := ends(t, nil, args...)
	for _, m := range mistakes {
		if want := fmt.Sprintf("swarmgate: --allow-origin: %q", m); status != 2 || !strings.Contains(printed, want) {
			t.Errorf("status %d, and nothing says %s:\n%s", status, want, printed)
		}
	}
}

// With docker -p 443:4433, and behind a router or a Service, clients reach another port than the
// one that the gateway listens on. Pages were sent to the latter, where nobody is.
func TestAnotherPortOutside(t *testing.T) {
	const address, inner = "198.51.100.2", "172.17.0.2"
	host, outside, inside := netns.New(t, "docker"), netns.New(t, "client"), netns.New(t, "container")
	netns.Link(t, outside, "198.51.100.1/24", host, address+"/24")
	netns.Link(t, host, "172.17.0.1/16", inside, inner+"/16")
	inside.IP(t, "route", "add", "default", "via", "172.17.0.1")
	host.Sysctl(t, "net/ipv4/ip_forward", "1")
	machine.Nft(t, host, "add table ip docker", "add chain ip docker in { type nat hook prerouting priority -100; }",
		"add rule ip docker in ip daddr "+address+" tcp dport 443 dnat to "+inner+":4433",
		"add rule ip docker in ip daddr "+address+" udp dport 443 dnat to "+inner+":4433")
	server, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	swarm, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{address, address + ":443"} {
		p := program.StartCommand(t, inside.Command(t.Context(), server, "--listen", ":4433", "--name", name, "--dht", "off", "--no-lan", "--log-level", "warn"))
		var info wtproto.Info
		outside.Do(t, func() {
			_, body, err := asks("https://"+address+":443", "GET "+wtproto.InfoPath+" HTTP/1.1", "Host: "+address)
			if err := errors.Join(err, json.Unmarshal(body, &info)); err != nil {
				t.Error(err)
			}
		})
		if info.QUIC != address+":443" || info.WebTransport != "https://"+address+":443"+wtproto.Path {
			t.Errorf("--name %s: clients are told %s and %s, want port 443", name, info.QUIC, info.WebTransport)
		}
		ctx := gateway.Context(t)
		out, err := outside.Command(ctx, swarm, "doctor", "--json", "--cert-hash", p.Certificate.Hashes[0], "https://"+address).Output()
		if err != nil {
			t.Errorf("--name %s: swarm doctor: %v", name, err)
		}
		wantChecks(t, string(out), "quic websocket", map[string]string{
			"document ok": "", "tcp ok": "", "quic ok": "", "webtransport ok": "a page of https://" + address + " connected",
		})
		p.Terminate(t)
	}
}
