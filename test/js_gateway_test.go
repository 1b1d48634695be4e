//go:build !race

package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A peer on js-libp2p echoes 16 MiB to a Go client, through a gateway that found it on the DHT, and through one that it found.
func TestJSPeerThroughGateway(t *testing.T) {
	for _, mode := range []string{"announce", "lookup"} {
		t.Run(mode, func(t *testing.T) {
			seed := startP2P(t, false, nil)
			topic := wtproto.TopicFromName("js " + mode)
			startFirst := mode == "announce"
			if startFirst {
				startJS(t, topic, seed, mode)
			}
			g := gateway.Start(t, server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed.Addrs()[0])}})
			top := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
			if !startFirst {
				gateway.Announced(t, startP2P(t, true, nil, seed), topic)
				startJS(t, topic, seed, mode)
			}
			conn := gateway.Accept(t, top)
			if p := conn.Peer(); p.Network != "dht" || !p.Initiator {
				t.Errorf("Peer = %+v", p)
			}
			data := make([]byte, 16<<20)
			rand.NewChaCha8([32]byte{16}).Read(data)
			go func() {
				conn.Write(data)
				conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
				t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(data))
			}
		})
	}
}

// A client and a peer on js-libp2p open a hundred streams with each other at once, either of them,
// beside one that nobody reads. The gateway alone opens first circuits.
func TestJSPeerStreams(t *testing.T) {
	const streams = 100
	seed := startP2P(t, false, nil)
	topic := wtproto.TopicFromName("js streams")
	js := startJS(t, topic, seed, "announce")
	g := gateway.Start(t, server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed.Addrs()[0])}})
	top := gateway.Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true})
	first := gateway.Accept(t, top)

	// echoed sends what is larger than the first windows, and wants it back with its end.
	echoed := func(c *client.Conn, i int) {
		defer c.Close()
		data := make([]byte, 50_000+i)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		go func() {
			c.Write(data)
			c.CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
			t.Errorf("stream %d: %d bytes, %v; want %d", i, len(got), err, len(data))
		}
	}
	wantCode := func(c *client.Conn, want wtproto.Code) {
		t.Helper()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, &wtproto.Error{Code: want, Remote: true}) {
			t.Errorf("Read = %v, want %v", err, want)
		}
	}
	stalled, err := top.Open(gateway.Context(t), first.Peer())
	if err != nil {
		t.Fatal(err)
	}
	full := make(chan error, 1)
	go func() { // what comes back is not read
		_, err := stalled.Write(make([]byte, 32<<20))
		full <- err
	}()

	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range streams {
			c := gateway.Accept(t, top)
			if p := c.Peer(); !p.Further || p.Initiator || p.Client || p.Network != "dht" {
				t.Errorf("PEER = %+v", p)
			}
			wg.Go(func() { echoed(c, i) })
		}
	})
	js.do(fmt.Sprintf("open %d", streams))
	for i := range streams {
		wg.Go(func() {
			c, err := top.Open(gateway.Context(t), first.Peer())
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			if p := c.Peer(); !p.Further || !p.Initiator {
				t.Errorf("PEER = %+v", p)
			}
			echoed(c, streams+i)
		})
	}
	wg.Wait()

	// Resets pass either way; js-libp2p neither sends nor reads their codes.
	stalled.Reset(0x107)
	<-full
	js.await("ended", func(e map[string]any) bool { return e["further"] == true && e["error"] == "StreamResetError" })
	cut, err := top.Open(gateway.Context(t), first.Peer())
	if err != nil {
		t.Fatal(err)
	}
	js.do("reset")
	wantCode(cut, wtproto.CodePeerReset)
	echoed(first, 7)
	gateway.Eventually(t, "nothing is left", func() bool { return g.Topics()[0].Circuits == 0 })
}
