package client

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// connectProxy is an HTTP proxy that connects everybody with one address.
type connectProxy struct {
	*httptest.Server
	asked atomic.Int64 // CONNECTs
	where atomic.Value // of the last
}

func newConnectProxy(t *testing.T, to string) *connectProxy {
	p := new(connectProxy)
	var copies sync.WaitGroup
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.where.Store(r.Method + " " + r.Host)
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		copies.Go(func() { io.Copy(far, buffered); far.Close() })
		copies.Go(func() { io.Copy(near, far); near.Close() })
	}))
	t.Cleanup(func() {
		p.Close()
		copies.Wait()
	})
	return p
}

// WebSocket goes through the proxy of the environment, which is asked to connect with the
// gateway's name, and the certificate is checked as it is without a proxy.
func TestProxy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		noProxy string
		user    string
		trust   func(g *fake, c *Config)
		direct  bool
		want    string // in the error; empty for none
	}{
		{"by hash", "", "me:secret@", func(g *fake, c *Config) {
			c.CertHashes = [][32]byte{sha256.Sum256(g.cert.Certificate[0])}
		}, false, ""},
		{"by an authority", "", "me:secret@", func(g *fake, c *Config) {
			c.RootCAs = x509.NewCertPool()
			c.RootCAs.AddCert(g.cert.Leaf)
		}, false, ""},
		{"another hash", "", "me:secret@", func(g *fake, c *Config) { c.CertHashes = make([][32]byte, 1) }, false, "not one of the trusted"},
		{"refused", "", "", func(g *fake, c *Config) { c.CertHashes = make([][32]byte, 1) }, false, "Proxy Authentication Required"},
		{"not for this host", "example", "me:secret@", func(g *fake, c *Config) { c.CertHashes = make([][32]byte, 1) }, true, "not by this test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newWSGateway(t)
			p := newConnectProxy(t, g.addr)
			t.Setenv("HTTPS_PROXY", strings.Replace(p.URL, "http://", "http://"+tt.user, 1))
			t.Setenv("NO_PROXY", tt.noProxy)
			cfg := g.config()
			cfg.CertHashes = nil
			tt.trust(g, &cfg)
			var dialed atomic.Value
			cfg.dialTCP = func(ctx context.Context, network, address string) (net.Conn, error) {
				dialed.Store(address)
				if tt.direct {
					return nil, &net.AddrError{Err: "not by this test", Addr: address}
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			g.addr = "gateway.example:4433"
			result := g.dial(cfg)
			if tt.want == "" {
				r := g.accept()
				r.send(welcome)
				d := <-result
				if d.err != nil {
					t.Fatal(d.err)
				}
				defer d.client.Close()
				conn, s := r.circuit(r.join(d.client, topicA, JoinOptions{}), 1)
				echo(t, conn, s)
				if n := p.asked.Load(); n != 2 {
					t.Errorf("the proxy was asked %d times, want twice", n)
				}
			} else if d := <-result; d.err == nil || !strings.Contains(d.err.Error(), tt.want) {
				t.Errorf("Dial = %v, want %q", d.err, tt.want)
			}
			want := p.Listener.Addr().String()
			if tt.direct {
				want = g.addr
			} else if got := p.where.Load(); got != "CONNECT "+g.addr {
				t.Errorf("the proxy was asked for %v", got)
			}
			if got := dialed.Load(); got != want {
				t.Errorf("dialed %v, want %v", got, want)
			}
		})
	}
}
