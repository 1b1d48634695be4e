//go:build !race

package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A page of a few dozen lines, written from the protocol's document, joins, gets a circuit that
// the gateway opened and one that it was offered, and echoes 8 MiB on each; and it learns the code
// and the reason with which a gateway ends its session.
func TestChromium(t *testing.T) {
	t.Parallel()
	data := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{8}).Read(data)
	want := sha256.Sum256(data)
	echoed := make(chan [32]byte, 2)
	peer := gateway.Listen(t, func(c *net.TCPConn) {
		go func() {
			c.Write(data)
			c.CloseWrite()
		}()
		var got bytes.Buffer
		io.Copy(&got, c)
		echoed <- sha256.Sum256(got.Bytes())
	})
	topic := wtproto.TopicFromName("page")
	page := browser.Start(t, "chromium", "page.html")
	g := gateway.Start(t, server.Config{
		Origins:        []string{page.Origin},
		IsolateClients: true, // the page keeps its sessions
		Networks:       []discovery.Network{gateway.Static(t, topic, peer.Addr().String())},
	})
	args := func(more map[string]any) map[string]any {
		more["url"] = g.URL + wtproto.Path
		more["hash"] = hex.EncodeToString(g.Hash[:])
		return more
	}
	for how, flags := range map[string]wtproto.JoinFlags{
		"opened":  wtproto.JoinLookUp,
		"offered": wtproto.JoinLookUp | wtproto.JoinOfferOnly,
	} {
		var got struct {
			How    string
			Echoed int
		}
		page.Call(t, "run", args(map[string]any{"topic": topic.String(), "flags": flags}), &got)
		if got.How != how || got.Echoed != len(data) {
			t.Errorf("the page got %+v, want %s and %d bytes", got, how, len(data))
		}
		if sum := <-echoed; sum != want {
			t.Errorf("%s: the echo has another checksum", how)
		}
	}
	var closed struct {
		CloseCode wtproto.Code
		Reason    string
	}
	frame := wtproto.Join{Topic: topic}.Append(nil)
	page.Call(t, "closed", args(map[string]any{"frame": hex.EncodeToString(frame)}), &closed)
	if closed.CloseCode != wtproto.CodeProtocol || closed.Reason == "" {
		t.Errorf("the page saw %+v, want PROTOCOL and a reason", closed)
	}
}
