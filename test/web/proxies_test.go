//go:build !race

package web

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/proxy"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A page whose session goes over WebSocket through a proxy that cuts what is silent keeps it, and
// its circuit, while nobody sends anything: the gateway's Pings pass the proxy, and the browser
// answers them. TestProxiesCutWhatIsSilent of test/fleet shows that these proxies do cut.
func TestProxiesInBrowsers(t *testing.T) {
	t.Parallel()
	browser.Each(t, func(t *testing.T, page *browser.Page) {
		t.Parallel()
		for _, p := range proxy.All {
			t.Run(p.Name, func(t *testing.T) { silentBehind(t, p, page) })
		}
	})
}

func silentBehind(t *testing.T, p proxy.Proxy, page *browser.Page) {
	gw, site, _ := p.Behind(t, server.Config{WebSocketPing: proxy.Ping, Origins: []string{page.Origin}}, true)
	peer := gw.Listen(wtproto.TopicFromName("behind a proxy"))
	page.Call(t, "forget", nil, nil)
	page.Open(t, map[string]any{"url": site, "transports": []string{webSocket}})
	page.Call(t, "echoAll", map[string]any{"topic": "behind a proxy"}, nil)
	c, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := c.(*servertest.Conn)
	began := time.Now()
	gateway.Eventually(t, "both WebSockets have been silent for more than twice the proxy's patience", func() bool {
		return time.Since(began) > 2*proxy.Idle+proxy.Idle/2
	})
	data := random(1<<20, 7)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(data), err)
	}
	if got, r := transport(t, page), page.Report(t); got != webSocket || r.State != "connected" || !slices.Equal(r.Events, nil) {
		t.Errorf("the page went through %+v over %q", r, got)
	}
}
