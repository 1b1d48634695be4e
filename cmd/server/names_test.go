package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/internal/freeport"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// asks sends a request line and headers as they are, on a connection of its own, and returns the
// answer.
func asks(t *testing.T, address, request string) (*http.Response, string) {
	t.Helper()
	scheme, at, _ := strings.Cut(address, "://")
	var c net.Conn
	var err error
	if scheme == "https" {
		c, err = tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true})
	} else {
		c, err = net.Dial("tcp", at)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if deadline, ok := gwtest.Context(t).Deadline(); ok {
		c.SetDeadline(deadline)
	}
	io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n")+"\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s: %q got no answer: %v", address, request, err)
	}
	return r, body(t, r)
}

// told returns the address that a gateway tells somebody who knows it as host.
func told(t *testing.T, address, host string) string {
	t.Helper()
	_, text := asks(t, address, "GET "+wtproto.InfoPath+" HTTP/1.1\nHost: "+host+"\nConnection: close")
	var info wtproto.Info
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatalf("%s as %s: %v in %q", address, host, err, text)
	}
	if info.WebTransport != "https://"+info.QUIC+wtproto.Path {
		t.Errorf("WebTransport is at %s, QUIC at %s", info.WebTransport, info.QUIC)
	}
	return info.QUIC
}

// With docker run -p 443:4433, behind a router or a Service, the port that clients reach is not the
// one that the gateway listens on, and pages once connected to the latter.
func TestClientsAreToldThePortThatTheyReach(t *testing.T) {
	for _, c := range []struct{ args, host, want, dev string }{
		{"", "gateway.example", "gateway.example:443", ""},
		{"", "gateway.example:8443", "gateway.example:8443", ""},
		{"", "[2001:db8::1]:8443", "[2001:db8::1]:8443", ""},
		{"--name public.example", "public.example:8443", "public.example:8443", "public.example:PORT"},
		{"--name public.example --name other.example", "other.example", "public.example:443", "public.example:PORT"},
		{"--name public.example:443", "public.example:8443", "public.example:443", "public.example:443"},
		{"--name [2001:db8::1]:443", "[2001:db8::1]", "[2001:db8::1]:443", "[2001:db8::1]:443"},
	} {
		port := strconv.Itoa(freeport.Ports(t, 1))
		i := start(t, append(strings.Fields(c.args), "--listen", ":"+port, "--dev-http", "127.0.0.1:0")...)
		if got := told(t, "https://127.0.0.1:"+port, c.host); got != c.want {
			t.Errorf("%q: who knows it as %s is told %s, want %s", c.args, c.host, got, c.want)
		}
		if c.dev == "" {
			continue // plain HTTP has no such host
		}
		// The port of plain HTTP is none of QUIC.
		if got, want := told(t, strings.TrimSuffix(i.Info, wtproto.InfoPath), c.host), strings.Replace(c.dev, "PORT", port, 1); got != want {
			t.Errorf("%q: who knows it as %s by plain HTTP is told %s, want %s", c.args, c.host, got, want)
		}
	}
}

// A page that came from the gateway by a port that a router maps was once one of another origin.
func TestOwnPagesAtAnotherPortMayConnect(t *testing.T) {
	port := strconv.Itoa(freeport.Ports(t, 1))
	start(t, "--listen", ":"+port, "--name", "gateway.example")
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{"gateway.example:8443", "https://gateway.example:8443", 200},
		{"gateway.example", "https://gateway.example", 200},
		{"gateway.example:" + port, "https://gateway.example", 200},
		{"gateway.example:8443", "https://gateway.example:9443", 403},
		{"evil.example:8443", "https://evil.example:8443", 403},
		{"gateway.example:8443", "http://gateway.example:8443", 403},
	} {
		r, _ := asks(t, "https://127.0.0.1:"+port, "GET "+wtproto.InfoPath+" HTTP/1.1\nHost: "+c.host+"\nOrigin: "+c.origin+"\nConnection: close")
		if r.StatusCode != c.status {
			t.Errorf("a page of %s asks %s: %s, want %d", c.origin, c.host, r.Status, c.status)
		}
	}
}

// Health checks that send no Host (HAProxy's, those of HTTP/1.0) once got 421, and marked the
// gateway down. Browsers always send one.
func TestHealthChecksNeedNoHost(t *testing.T) {
	i := start(t, "--dev-http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	dev := strings.TrimSuffix(i.Info, wtproto.InfoPath)
	for _, c := range []struct {
		address, request string
		status           int
	}{
		{i.Admin, "GET /readyz HTTP/1.0", 200},
		{i.Admin, "GET /healthz HTTP/1.0", 200},
		{i.Admin, "OPTIONS / HTTP/1.0", 200},
		{dev, "OPTIONS / HTTP/1.0", 200},
		{"https://" + i.QUIC, "OPTIONS / HTTP/1.0", 200},
		{i.Admin, "GET /readyz HTTP/1.1\nHost:\nConnection: close", 200},
		{i.Admin, "GET /readyz HTTP/1.1\nHost: rebound.example\nConnection: close", 421},
		{i.Admin, "GET /readyz HTTP/1.0\nHost: rebound.example", 421},
		{dev, "GET " + wtproto.InfoPath + " HTTP/1.0", 200},
		{dev, "GET / HTTP/1.0", 200},
		{"https://" + i.QUIC, "GET " + wtproto.InfoPath + " HTTP/1.0", 200},
	} {
		if r, text := asks(t, c.address, c.request); r.StatusCode != c.status {
			t.Errorf("%s: %q: %s %s, want %d", c.address, c.request, r.Status, text, c.status)
		} else if strings.Contains(c.request, wtproto.InfoPath) && !strings.Contains(text, i.QUIC) {
			t.Errorf("%s: %q is told %s, want %s in it", c.address, c.request, text, i.QUIC)
		}
	}
}

// Docker Compose makes names with underscores, a complete name ends with a dot, browsers take each
// name below localhost for this machine, and people write international names as they are.
func TestNamesThatMachinesHave(t *testing.T) {
	i := start(t, "--dev-http", "127.0.0.1:0", "--name", "my_app_gateway", "--name", "gateway.example.", "--name", "bücher.example")
	dev := strings.TrimSuffix(i.Info, wtproto.InfoPath)
	_, port, _ := net.SplitHostPort(i.QUIC)
	_, devPort, _ := strings.Cut(strings.TrimPrefix(dev, "http://"), ":")
	for host, status := range map[string]int{
		"my_app_gateway": 200, "gateway.example": 200, "gateway.example.": 200, "xn--bcher-kva.example": 200, "app.localhost": 200, "a.b.localhost": 200,
		"app_gateway": 421, "localhost.evil.example": 421, "bucher.example": 421,
	} {
		if r, _ := asks(t, dev, "GET / HTTP/1.1\nHost: "+host+":"+devPort+"\nConnection: close"); r.StatusCode != status {
			t.Errorf("Host %s: %s, want %d", host, r.Status, status)
		}
	}
	for origin, status := range map[string]int{
		"https://my_app_gateway": 200, "https://gateway.example.": 200, "https://xn--bcher-kva.example:" + port: 200, "http://app.localhost:" + devPort: 200,
		"http://app.localhost": 403, "https://app.localhost:" + devPort: 403,
	} {
		if r, _ := get(t, i.Info, "Origin", origin); r.StatusCode != status {
			t.Errorf("a page of %s: %s, want %d", origin, r.Status, status)
		}
	}
	r, _ := get(t, "https://127.0.0.1:"+port+"/")
	for _, name := range []string{"my_app_gateway", "gateway.example", "xn--bcher-kva.example"} {
		if err := r.TLS.PeerCertificates[0].VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

// What no browser sends was once taken for an origin, and then refused every page.
func TestAllowedOriginsAreThoseThatBrowsersSend(t *testing.T) {
	i := start(t, "--allow-origin", "https://one.example:443", "--allow-origin", "HTTP://Two.Example:80/", "--allow-origin", "https://bücher.example:8443",
		"--allow-origin", "https://[2001:0DB8:0::1]", "--allow-origin", "https://*.below.example", "--allow-origin", "http://my_app:3000")
	for origin, status := range map[string]int{
		"https://one.example": 200, "http://two.example": 200, "https://xn--bcher-kva.example:8443": 200, "https://[2001:db8::1]": 200,
		"https://a.below.example": 200, "https://a.b.below.example": 200, "http://my_app:3000": 200,
		"https://below.example": 403, "http://a.below.example": 403, "https://a.below.example:444": 403, "https://notbelow.example": 403,
		"https://one.example:444": 403, "null": 403, "https://evil.example/.below.example": 403,
	} {
		if r, _ := get(t, i.Info, "Origin", origin); r.StatusCode != status {
			t.Errorf("a page of %s: %s, want %d", origin, r.Status, status)
		}
	}
	var errs strings.Builder
	bad := []string{"https://a.example:99999", "*.a.example", "https://*", "https://a.*.example", "https://[::1", "a.example", "null", "wss://a.example", "https://a.example/page"}
	var args []string
	for _, o := range bad {
		args = append(args, "--allow-origin", o)
	}
	if status := run(t.Context(), args, io.Discard, &errs); status != statusUsage {
		t.Errorf("status %d, want %d", status, statusUsage)
	}
	for _, o := range bad {
		if want := fmt.Sprintf("swarmgate: --allow-origin: %q", o); !strings.Contains(errs.String(), want) {
			t.Errorf("nothing says %s:\n%s", want, errs.String())
		}
	}
}

// A page elsewhere whose browser reaches the admin listener could once have it do work, and
// measure how long that takes.
func TestAdminIsNotForPagesElsewhere(t *testing.T) {
	i := start(t, "--admin", "127.0.0.1:0", "--name", "gateway.example", "--allow-origin", "*")
	at := strings.TrimPrefix(i.Admin, "http://")
	_, port, _ := net.SplitHostPort(at)
	for _, c := range []struct {
		host, header string
		status       int
	}{
		{at, "", 200},
		{at, "Origin: " + i.Admin, 200},
		{"localhost:" + port, "Origin: http://localhost:" + port, 200},
		{"gateway.example", "Origin: https://gateway.example", 200}, // by a proxy with TLS
		{"gateway.example:443", "Origin: https://gateway.example", 200},
		{at, "Origin: https://evil.example", 403},
		{at, "Origin: http://127.0.0.1", 403},
		{at, "Origin: http://localhost:" + port, 403},
		{at, "Origin: null", 403},
		{at, "Origin: ", 403},
		{at, "Origin: " + i.Admin + "\nOrigin: https://evil.example", 403},
		{"", "Origin: https://evil.example", 403},
		{at, "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors", 403},
		{at, "Sec-Fetch-Site: same-site\nSec-Fetch-Mode: cors", 403},
		{at, "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 200},
		{at, "Sec-Fetch-Site: same-origin\nSec-Fetch-Mode: cors", 200},
		{at, "Sec-Fetch-Site: none\nSec-Fetch-Mode: navigate", 200},
	} {
		for _, path := range []string{"/healthz", "/metrics", "/api/topics"} {
			request := "GET " + path + " HTTP/1.1\nHost: " + c.host + "\nConnection: close"
			if c.header != "" {
				request += "\n" + c.header
			}
			r, _ := asks(t, i.Admin, request)
			if r.StatusCode != c.status {
				t.Errorf("%s of %q with %q: %s, want %d", path, c.host, c.header, r.Status, c.status)
			}
			if r.Header.Get("Access-Control-Allow-Origin") != "" || r.StatusCode == 200 && r.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
				t.Errorf("%s of %q with %q: %v", path, c.host, c.header, r.Header)
			}
		}
	}
}
