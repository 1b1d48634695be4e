package gateway

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Two clients of two gateways open 100 streams with each other at once, 50 each.
func TestStreamsAcrossGateways(t *testing.T) {
	const streams = 50
	topic := wtproto.TopicFromName("streams across gateways")
	seed := Seed(t)
	var tops []*client.Topic
	var firsts []*client.Conn
	for range 2 {
		g := Start(t, server.Config{Networks: []discovery.Network{Host(t, true, seed)}})
		tops = append(tops, Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{Streams: true}))
	}
	for _, top := range tops {
		firsts = append(firsts, Accept(t, top))
		if p := firsts[len(firsts)-1].Peer(); p.Network != "dht" || !p.Client || p.Further {
			t.Fatalf("met %+v, want a client of another gateway", p)
		}
	}
	var wg sync.WaitGroup
	for i, top := range tops {
		for range streams {
			wg.Go(func() { // what the other one opens
				conn := Accept(t, top)
				if p := conn.Peer(); !p.Further || p.Initiator {
					t.Errorf("accepted %+v", p)
				}
				io.Copy(conn, conn)
				conn.Close()
			})
		}
		for n := range streams {
			wg.Go(func() {
				conn, err := top.Open(Context(t), firsts[i].Peer())
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(Patience))
				want := bytes.Repeat([]byte(fmt.Sprint(i, n, ";")), 10_000)
				go func() {
					conn.Write(want)
					conn.CloseWrite()
				}()
				if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes came back of %d, %v", len(got), len(want), err)
				}
			})
		}
	}
	wg.Wait()
	for _, top := range tops {
		if peers := top.Peers(); len(peers) != 1 {
			t.Errorf("%d peers, want one", len(peers))
		}
	}
	firsts[0].Write([]byte("x"))
	firsts[1].SetReadDeadline(time.Now().Add(Patience))
	if _, err := io.ReadFull(firsts[1], make([]byte, 1)); err != nil {
		t.Errorf("the first circuit: %v", err)
	}
}
