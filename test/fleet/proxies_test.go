//go:build !race

package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/test/internal/proxy"
	"github.com/swarmgate/swarmgate/wtproto"
)

// visitor speaks WebSocket by hand, from an address.
type visitor struct {
	t      *testing.T
	http   *http.Client
	url    string
	key    string
	header http.Header
	ctx    context.Context

	control *bytesConn
	frames  *wtproto.Reader
	pings   atomic.Int64 // of all its WebSockets
}

// visit opens a session by the info document at site, from an address, with headers that it makes
// up. The error is that of the session.
func visit(t *testing.T, site, from string, secret byte, header http.Header) (*visitor, error) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	v := &visitor{t: t, header: header, ctx: gateway.Context(t), http: &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}}
	t.Cleanup(v.http.CloseIdleConnections)
	base, err := url.Parse(site + wtproto.InfoPath)
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.http.Get(base.String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var info wtproto.Info
	if err := json.NewDecoder(r.Body).Decode(&info); err != nil {
		t.Fatalf("info document: %s, %v", r.Status, err)
	}
	at, err := base.Parse(info.WebSocket)
	if err != nil || info.WebSocket == "" {
		t.Fatalf("WebSocket is at %q, %v", info.WebSocket, err)
	}
	v.url = at.String()
	var key [16]byte
	rand.Read(key[:])
	v.key = hex.EncodeToString(key[:])
	v.control = v.open("session")
	v.frames = wtproto.NewReader(v.control)
	v.write(wtproto.Hello{Version: 1, Credit: 1 << 40, Secret: wtproto.Secret{0xf0, secret}}.Append(nil))
	_, _, err = v.frames.Next()
	return v, err
}

// open opens a WebSocket. Its messages of bytes are a stream; signals of the gateway are skipped.
func (v *visitor) open(word string) *bytesConn {
	v.t.Helper()
	conn, _, err := websocket.Dial(v.ctx, v.url, &websocket.DialOptions{
		HTTPClient: v.http, HTTPHeader: v.header, Subprotocols: []string{wtproto.ALPN},
		OnPingReceived: func(context.Context, []byte) bool {
			v.pings.Add(1)
			return true
		},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { conn.CloseNow() })
	if err := conn.Write(v.ctx, websocket.MessageText, []byte(word+" "+v.key)); err != nil {
		v.t.Fatal(err)
	}
	c := &bytesConn{Conn: websocket.NetConn(v.ctx, conn, websocket.MessageBinary), ws: conn, ctx: v.ctx, windows: make(chan int64, 1)}
	conn.SetReadLimit(-1)
	return c
}

// bytesConn is a stream over a WebSocket. Another goroutine than the one that writes reads it.
type bytesConn struct {
	net.Conn
	ws   *websocket.Conn
	ctx  context.Context
	rest []byte

	windows chan int64 // takes one: the newest window
}

// send sends p within the window, of which so much was used before.
func (c *bytesConn) send(p []byte, used int64) error {
	for window := int64(64 << 10); len(p) > 0; {
		n := min(int64(len(p)), window-used, 64<<10)
		if n == 0 {
			select {
			case window = <-c.windows:
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
			continue
		}
		if _, err := c.Write(p[:n]); err != nil {
			return err
		}
		p, used = p[n:], used+n
	}
	return nil
}

func (c *bytesConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		typ, b, err := c.ws.Read(c.ctx)
		if err != nil {
			return 0, err
		}
		if typ == websocket.MessageBinary {
			c.rest = b
			continue
		}
		var window int64
		if string(b) == "fin" {
			return 0, io.EOF
		} else if _, err := fmt.Sscanf(string(b), "window %d", &window); err == nil {
			select {
			case <-c.windows:
			default:
			}
			c.windows <- window
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (v *visitor) write(b []byte) {
	v.t.Helper()
	if _, err := v.control.Write(b); err != nil {
		v.t.Fatal(err)
	}
}

// circuit joins a topic and accepts the first offer. PINGs are answered from then on, in the
// background.
func (v *visitor) circuit(topic wtproto.Topic) *bytesConn {
	v.t.Helper()
	v.write(wtproto.Join{Topic: topic, Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp}.Append(nil))
	for {
		typ, payload, err := v.frames.Next()
		if err != nil {
			v.t.Fatal(err)
		}
		if typ != wtproto.TypePeer {
			continue
		}
		p, err := wtproto.ParsePeer(payload)
		if err != nil {
			v.t.Fatal(err)
		}
		s := v.open("stream")
		s.Write(wtproto.Accept{Circuit: p.Circuit}.Append(nil))
		go func() {
			for {
				typ, payload, err := v.frames.Next()
				if err != nil {
					return
				}
				if ping, err := wtproto.ParsePing(payload); typ == wtproto.TypePing && err == nil {
					v.control.Write(wtproto.Pong(ping).Append(nil))
				}
			}
		}()
		return s
	}
}

// asked remembers who asked to come in.
type asked struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (a *asked) Authorize(_ context.Context, r auth.Request) (auth.Grant, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, r.Transport+" from "+r.Address.String())
	return auth.Grant{}, nil
}

func (a *asked) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[len(a.all)-1]
}

// A session over WebSocket passes a proxy that terminates TLS, bytes as they are, and the proxy
// does not cut what is silent, because the gateway's Pings pass it.
func TestWebSocketBehindProxies(t *testing.T) {
	for _, p := range proxy.All {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			gw, site, _ := p.Behind(t, server.Config{WebSocketPing: proxy.Ping}, false)
			topic := wtproto.TopicFromName("behind a proxy")
			peer := gw.Listen(topic)
			v, err := visit(t, site, "127.0.0.5", 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := v.circuit(topic)
			far, err := peer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			data := make([]byte, 8<<20)
			rand.Read(data)
			wg.Go(func() { // it also answers Pings
				got, err := io.ReadAll(c)
				if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
					t.Errorf("%d bytes came back, %v", len(got), err)
				}
			})
			wg.Go(func() { // an echo
				io.Copy(far, far)
				far.(*servertest.Conn).CloseWrite()
			})
			first := v.pings.Load()
			gateway.Eventually(t, "both WebSockets have been silent for more than twice the proxy's patience", func() bool {
				return v.pings.Load()-first >= 2*(2*int64(proxy.Idle/proxy.Ping)+1)
			})
			if err := c.send(data, 3); err != nil { // after ACCEPT
				t.Errorf("sending: %v", err)
			}
			c.ws.Write(v.ctx, websocket.MessageText, []byte("fin"))
		})
	}
}

// The proxies of these tests do cut what is silent, so the Pings were needed.
func TestProxiesCutWhatIsSilent(t *testing.T) {
	for _, p := range proxy.All {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			_, site, _ := p.Behind(t, server.Config{WebSocketPing: time.Hour}, false)
			v, err := visit(t, site, "127.0.0.5", 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := v.frames.Next(); err == nil || v.ctx.Err() != nil {
				t.Errorf("the silent session was not cut: %v", err)
			}
		})
	}
}

// The client's address is what the trusted proxy says, whatever the client says, and limits are of
// that address. Who is no trusted proxy is not believed.
func TestWhoseWebSocketItIs(t *testing.T) {
	for _, p := range proxy.All {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			who := &asked{}
			_, site, own := p.Behind(t, server.Config{MaxSessionsPerPrincipal: 2, Authorizer: who}, false)
			forged := http.Header{"X-Forwarded-For": {"198.51.100.7, 127.0.0.1"}}
			for i, step := range []struct {
				at, from, seen string
				refused        bool
			}{
				{site, "127.0.0.5", "127.0.0.5", false},
				{site, "127.0.0.5", "127.0.0.5", false},
				{site, "127.0.0.5", "127.0.0.5", true}, // two an address
				{site, "127.0.0.6", "127.0.0.6", false},
				{own, "127.0.0.7", "127.0.0.7", false},
			} {
				_, err := visit(t, step.at, step.from, byte(i), forged)
				if got, want := who.last(), "websocket from "+step.seen; got != want {
					t.Errorf("visit %d: seen as %s, want %s", i, got, want)
				}
				if status := websocket.CloseStatus(err); (err != nil) != step.refused || step.refused && status != 4009 {
					t.Errorf("visit %d: %v, refused %v wanted", i, err, step.refused)
				}
			}
		})
	}
}

// The program takes nginx at --dev-http and HAProxy at --listen, with the files of deploy/proxy.
func TestProgramBehindProxies(t *testing.T) {
	plain := freeport.Address(t)
	g := program.Start(t, "--listen", "127.0.0.1:0", "--dev-http", plain, "--trusted-proxy", "127.0.0.1/32", "--admin", "127.0.0.1:0", "--dht", "off")
	for i, p := range proxy.All {
		backend := plain
		if p.TLS {
			backend = g.QUIC
		}
		address := freeport.Address(t)
		p.Start(t, proxy.Front{Address: address, Backend: backend, Idle: time.Minute})
		from := fmt.Sprintf("127.0.0.%d", 5+i)
		if _, err := visit(t, "https://"+address, from, byte(i), nil); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		r, err := http.Get(g.Admin + "/api/principals")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !strings.Contains(string(b), from+"/32") {
			t.Errorf("%s: the principals are %s, %v; want %s among them", p.Name, b, err, from)
		}
	}
}
