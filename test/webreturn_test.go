//go:build !race

package test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/gateway"
)

// A gateway that is killed and started again with the same state has the page back, joined and with its circuits, without a reload.
func TestRestartInBrowsers(t *testing.T) {
	inBrowsers(t, func(t *testing.T, page *browser) {
		var echoed atomic.Int64
		peer := gateway.Listen(t, func(c *net.TCPConn) {
			c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				echoed.Add(1)
			}
			io.Copy(io.Discard, c)
		})
		state := t.TempDir()
		start := func(listen string) *program {
			return startServer(t, "--listen", listen, "--dht", "off", "--allow-private", "--state-dir", state,
				"--allow-origin", page.origin, "--static", "restart=tcp://"+peer.Addr().String())
		}
		p := start("127.0.0.1:0")
		page.open(t, map[string]any{"url": "https://" + p.QUIC, "hashes": p.Certificate.Hashes})
		page.call(t, "echoAll", map[string]any{"topic": "restart"}, nil)
		gateway.Eventually(t, "the peer is echoed", func() bool { return echoed.Load() == 1 })
		p.kill()
		start(p.QUIC)
		began := time.Now()
		gateway.Eventually(t, "the peer is echoed again", func() bool { return echoed.Load() == 2 })
		took := time.Since(began)
		if took > 10*time.Second {
			t.Errorf("circuits were back %v after the restart, want 10s at most", took)
		}
		t.Logf("circuits were back %v after the restart", took)
		if r := page.report(t); r.State != "connected" || len(r.Events) < 3 || r.Events[0] != "disconnected" ||
			r.Events[1] != "reconnecting" || r.Events[len(r.Events)-1] != "connected" {
			t.Errorf("the page went through %+v", r)
		}
	})
}
