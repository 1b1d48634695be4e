package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// examine runs swarm doctor, and returns its exit status and its diagnosis.
func examine(t *testing.T, args ...string) (int, diagnosis) {
	t.Helper()
	p := swarm(t, open(t), append([]string{"doctor", "--json"}, args...)...)
	status := p.wait(t)
	var d diagnosis
	if err := json.Unmarshal([]byte(p.out.String()), &d); err != nil {
		t.Fatalf("%q: %v", p.out.String(), err)
	}
	return status, d
}

// wantFindings compares findings. want has "check state" and a part of the text, the advice or the
// code.
func wantFindings(t *testing.T, d diagnosis, want map[string]string) {
	t.Helper()
	for check, part := range want {
		check, state, _ := strings.Cut(check, " ")
		i := slices.IndexFunc(d.Checks, func(v finding) bool { return v.Check == check })
		if i < 0 {
			t.Errorf("no check %s", check)
			continue
		}
		v := d.Checks[i]
		if v.State != state || !strings.Contains(v.Text+"\n"+v.Advice+"\n"+v.Code, part) {
			t.Errorf("%s: %+v, want %s, %q", check, v, state, part)
		}
	}
}

// pinned returns the address of a gateway with its hash.
func pinned(address string, hash [32]byte) string {
	return fmt.Sprintf("%s%s/?h=%x", wtproto.URLScheme, address, hash)
}

// Whatever form the address of a working gateway has, all is well there.
func TestDoctorOfAWorkingGateway(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	cfg := staticConfig(t, echo.Addr().String())
	cfg.Names = []string{"127.0.0.1"}
	g := gateway.Start(t, cfg)
	dev := g.InfoServer()
	defer dev.Close()
	address, hash := g.Addr().String(), fmt.Sprintf("%x", g.Hash)
	for _, c := range []struct {
		name, env string
		args      []string
	}{
		{"gateway URL", "", []string{pinned(address, g.Hash) + "#unused"}},
		{"host and port", "", []string{address, "--cert-hash", hash}},
		{"https", "", []string{"https://" + address + "/", "--cert-hash", hash}},
		{"info document", "", []string{dev.URL}},
		{"environment", pinned(address, g.Hash), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SWARMGATE_GATEWAY", c.env)
			status, d := examine(t, append(c.args, "--topic", "there", "--for", "1500ms")...)
			if status != 0 || !slices.Equal(d.Usable, []string{"quic", "websocket"}) || d.Transport == "" || strings.Contains(d.Gateway, "unused") {
				t.Errorf("status %d, %+v", status, d)
			}
			wantFindings(t, d, map[string]string{"tls ok": ", ALPN http/1.1; ", "quic ok": ", ALPN swarmgate; "})
			wantFindings(t, d, map[string]string{"quic ok": "UDP payloads of 1,200 bytes pass", "webtransport ok": "a page of https://" + address + " connected in"})
			wantFindings(t, d, map[string]string{
				"name ok": "is an address", "document ok": "QUIC, WebTransport", "tcp ok": "", "tls ok": "pinned, hash " + hash, "quic ok": "pinned, hash " + hash,
				"session-quic ok": "connected in", "session-websocket ok": "connected in", "clock ok": "within a minute",
				"token ok": "none is needed", "topic ok": "1 known, 0 connected; static searching",
			})
		})
	}
	p := swarm(t, open(t), "doctor", pinned(address, g.Hash), "--transport", "websocket")
	if status := p.wait(t); status != 0 || strings.Contains(p.out.String(), "session-quic") || !strings.Contains(p.out.String(), "by default it is over WebSocket") {
		t.Errorf("status %d: %s", status, p.out.String())
	}
}

// ended returns a certificate whose time is over.
func ended(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// onlyTCP serves a gateway's sessions over WebSocket on another port, on which UDP is lost.
func onlyTCP(t *testing.T) string {
	t.Helper()
	cert := gateway.Certificate(t)
	hash := sha256.Sum256(cert.Certificate[0])
	g := gateway.Start(t, server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Hashes: func() [][32]byte { return [][32]byte{hash} }})
	mux := http.NewServeMux()
	mux.Handle(wtproto.InfoPath, g.InfoHandler())
	mux.Handle(wtproto.Path, g.WebSocketHandler())
	site := httptest.NewUnstartedServer(mux)
	site.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	for silent, err := net.ListenPacket("udp", site.Listener.Addr().String()); ; silent, err = net.ListenPacket("udp", site.Listener.Addr().String()) {
		if err == nil {
			t.Cleanup(func() { silent.Close() })
			break
		}
		site.Listener.Close() // another program has the number
		if site.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	site.StartTLS()
	t.Cleanup(site.Close)
	return pinned(site.Listener.Addr().String(), hash)
}

// onlyUDP serves a gateway without a TCP port.
func onlyUDP(t *testing.T) string {
	t.Helper()
	cert := gateway.Certificate(t)
	network := gateway.Static(t, wtproto.TopicFromName("there"))
	cfg := server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	cfg.Networks = append(cfg.Networks, network)
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(socket)
	}()
	t.Cleanup(func() {
		s.Close()
		<-served
		socket.Close()
		network.Close()
	})
	<-s.Started()
	return pinned(socket.LocalAddr().String(), sha256.Sum256(cert.Certificate[0]))
}

// onlyQUIC serves connections over QUIC that agree on a protocol. If that is h3, it speaks HTTP/3
// without WebTransport. It has no sessions.
func onlyQUIC(t *testing.T, protocols ...string) string {
	t.Helper()
	cert := gateway.Certificate(t)
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protocols}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			if conn.ConnectionState().TLS.NegotiatedProtocol == http3.NextProtoH3 {
				serving.Go(func() { new(http3.Server).ServeQUICConn(conn) })
			} else {
				conn.CloseWithError(quic.ApplicationErrorCode(wtproto.CodeShutdown), "")
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return pinned(l.Addr().String(), sha256.Sum256(cert.Certificate[0]))
}

// nobody authorizes nobody.
type nobody struct{}

func (nobody) Authorize(context.Context, auth.Request) (auth.Grant, error) {
	return auth.Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "unknown token")
}

// What is wrong is told, with the code of a refusal and with what to do, and what works beside it.
func TestDoctorOfABrokenGateway(t *testing.T) {
	healthy := gateway.Start(t, server.Config{})
	old := ended(t)
	oldHash := sha256.Sum256(old.Certificate[0])
	expired := gateway.Start(t, server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{old}}, Hashes: func() [][32]byte { return [][32]byte{oldHash} }})
	closed := gateway.Start(t, server.Config{Authorizer: nobody{}, Names: []string{"127.0.0.1"}})
	for _, c := range []struct {
		name   string
		args   []string
		usable string
		want   map[string]string
	}{
		{"UDP closed", []string{onlyTCP(t)}, "websocket", map[string]string{
			"tcp ok": "", "tls ok": "pinned", "document ok": "WebSocket", "quic wrong": "with payloads of 1,200 bytes", "webtransport unknown": "see quic",
			"session-quic wrong": "", "session-websocket ok": "", "token ok": "",
		}},
		{"TCP closed", []string{onlyUDP(t)}, "quic", map[string]string{
			"tcp wrong": "let TCP port", "tls unknown": "there is no TCP", "document unknown": "", "quic ok": "pinned", "session-quic ok": "",
			"session-websocket wrong": "refused", "clock ok": "validity",
		}},
		{"wrong hash", []string{pinned(healthy.Addr().String(), [32]byte{1})}, "", map[string]string{
			"tcp ok": "", "tls wrong": fmt.Sprintf("has the hash %x", healthy.Hash), "quic wrong": "address anew", "session-quic wrong": "not one of the trusted",
			"session-websocket wrong": "not one of the trusted", "clock ok": "within a minute", "token unknown": "",
		}},
		{"no page", []string{pinned(healthy.Addr().String(), healthy.Hash), "--transport", "quic"}, "quic", map[string]string{
			"quic ok": "", "webtransport wrong": `origin "https://` + healthy.Addr().String() + `" is not allowed here`, "session-quic ok": "",
		}},
		{"advice for pages", []string{pinned(healthy.Addr().String(), healthy.Hash), "--transport", "quic"}, "quic", map[string]string{
			"webtransport wrong": "--name 127.0.0.1",
		}},
		{"no HTTP/3", []string{onlyQUIC(t, wtproto.ALPN)}, "", map[string]string{"quic ok": "ALPN swarmgate", "webtransport wrong": "no HTTP/3"}},
		{"no WebTransport", []string{onlyQUIC(t, wtproto.ALPN, http3.NextProtoH3)}, "", map[string]string{"quic ok": "", "webtransport wrong": "HTTP/3, but no WebTransport"}},
		{"nothing but HTTP/3", []string{onlyQUIC(t, http3.NextProtoH3)}, "", map[string]string{
			"quic wrong": "no application protocol", "webtransport wrong": "HTTP/3, but no WebTransport",
		}},
		{"no hash", []string{healthy.Addr().String()}, "", map[string]string{
			"tls wrong": fmt.Sprintf("--cert-hash %x", healthy.Hash), "quic wrong": fmt.Sprintf("--cert-hash %x", healthy.Hash),
		}},
		{"expired certificate", []string{pinned(expired.Addr().String(), oldHash)}, "", map[string]string{
			"tcp ok": "", "tls wrong": "has ended", "quic wrong": "renew it", "session-quic wrong": "is valid from", "clock ok": "",
		}},
		{"wrong token", []string{pinned(closed.Addr().String(), closed.Hash), "--token", "x", "--topic", "there"}, "", map[string]string{
			"tls ok": "", "quic ok": "", "webtransport ok": "UNAUTHORIZED", "session-quic wrong": "UNAUTHORIZED", "session-websocket wrong": "UNAUTHORIZED", "token wrong": "which tokens it takes",
			"topic unknown": "there is no session",
		}},
		{"no token", []string{pinned(closed.Addr().String(), closed.Hash)}, "", map[string]string{"token wrong": "the gateway wants one"}},
		{"nothing there", []string{"127.0.0.1:1", "--timeout", "1s"}, "", map[string]string{
			"name ok": "", "tcp wrong": "connection refused", "quic wrong": "over TCP neither", "session-quic wrong": "", "session-websocket wrong": "refused", "clock unknown": "",
		}},
		{"unknown name", []string{"nowhere.invalid:4433", "--timeout", "5s"}, "", map[string]string{
			"name wrong": "correct the name", "tcp unknown": "does not resolve", "quic unknown": "does not resolve", "document unknown": "",
		}},
		{"no document", []string{"http://127.0.0.1:1"}, "", map[string]string{"document wrong": "connection refused"}},
		{"no address", []string{"g:0"}, "", map[string]string{"address wrong": "invalid port"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, d := examine(t, c.args...)
			if want := min(1, 1-len(strings.Fields(c.usable))); status != want || strings.Join(d.Usable, " ") != c.usable || d.Transport != c.usable {
				t.Errorf("status %d, want %d; usable %q, by default %q, want %q", status, want, d.Usable, d.Transport, c.usable)
			}
			wantFindings(t, d, c.want)
		})
	}
}
