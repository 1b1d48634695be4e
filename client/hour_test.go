package client_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// An HTTP client over a circuit once worked until the server's idle timeout closed the circuit, and
// then never again. Now an ordinary server and client work for an hour of virtual time, with pauses
// that are longer than what either keeps a connection for.
func TestHTTPForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		router := new(simnet.PerfectRouter)
		sim := &simnet.Simnet{Router: router}
		link := simnet.NodeBiDiLinkSettings{Latency: 10 * time.Millisecond}
		socket := sim.NewEndpoint(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 4433}, link)
		var sockets []net.PacketConn
		for i := range 2 {
			sockets = append(sockets, sim.NewEndpoint(&net.UDPAddr{IP: net.IPv4(198, 51, 100, byte(i+1)).To4(), Port: 1}, link))
		}
		if err := sim.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			sim.Close()
			<-time.After(time.Minute) // quic-go's timers of closed connections
		}()
		cert, err := servertest.NewCertificate()
		if err != nil {
			t.Fatal(err)
		}
		gw, err := server.New(server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- gw.Serve(socket) }()
		<-gw.Started()
		enter := func(n int) *client.Topic {
			c, err := client.Dial(t.Context(), "192.0.2.1:4433", client.Config{
				CertHashes:   [][32]byte{sha256.Sum256(cert.Certificate[0])},
				ListenPacket: func() (net.PacketConn, error) { return sockets[n], nil },
				Transports:   []string{client.TransportQUIC},
				NoReconnect:  true, // a session that is lost fails the test
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			top, err := c.Join(t.Context(), streamsTopic, client.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return top
		}

		web := &http.Server{
			IdleTimeout: 2 * time.Minute,
			Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }),
		}
		l := enter(0).Listen()
		go web.Serve(l)
		top := enter(1)
		first, err := top.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var opened atomic.Int64
		transport := http.DefaultTransport.(*http.Transport).Clone() // with its idle timeout of 90s
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			opened.Add(1)
			return top.Open(ctx, first.Peer())
		}
		transport.Proxy = nil
		browser := &http.Client{Transport: transport}

		began, requests := time.Now(), 0
		for pause := 10 * time.Second; time.Since(began) < time.Hour; pause = min(2*pause, 5*time.Minute) {
			var wg sync.WaitGroup
			for i := range 10 {
				requests++
				wg.Go(func() {
					words := fmt.Sprintf("request %d after %v", i, time.Since(began))
					resp, err := browser.Post("http://peer/", "text/plain", strings.NewReader(words))
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					if b, err := io.ReadAll(resp.Body); err != nil || string(b) != words {
						t.Errorf("the answer is %q, %v, want %q", b, err, words)
					}
				})
			}
			wg.Wait()
			<-time.After(pause)
		}
		if n := opened.Load(); n < 20 || n > int64(requests)+10 {
			t.Errorf("%d streams for %d requests", n, requests)
		}
		t.Logf("%d requests on %d streams", requests, opened.Load())
		transport.CloseIdleConnections()
		web.Close()
		if err := top.Close(); err != nil {
			t.Error(err)
		}
		if err := gw.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
		if _, err := top.Open(t.Context(), first.Peer()); !errors.Is(err, net.ErrClosed) {
			if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code == wtproto.CodeNone {
				t.Errorf("Open in the end = %v", err)
			}
		}
	})
}
