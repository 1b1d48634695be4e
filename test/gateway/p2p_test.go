package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// childEnv makes this test's binary a native peer that echoes: its value is a topic's name and a
// seed.
const childEnv = "TEST_NATIVE"

func TestMain(m *testing.M) {
	if v := os.Getenv(childEnv); v != "" {
		child(v)
		return
	}
	goleak.VerifyTestMain(m)
}

func child(v string) {
	name, seed, _ := strings.Cut(v, " ")
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		panic(err)
	}
	h, err := p2p.Listen(p2p.Config{
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mode: p2p.Private, Seeds: []string{seed}, Policy: policy,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	RunNative(context.Background(), h, wtproto.TopicFromName(name), discovery.Native(), echo)
}

func echo(s discovery.Stream) {
	io.Copy(s, s)
	s.CloseWrite()
}

// Whichever of gateway and native peer comes first and finds the other, there is one circuit, and
// its client is the initiator.
func TestNativePeer(t *testing.T) {
	for _, tt := range []struct {
		name        string
		nativeFirst bool
		native      discovery.State
	}{
		{"native first", true, discovery.State{Announce: true, LookUp: true}},
		{"native first, announces only", true, discovery.State{Announce: true}},
		{"gateway first", false, discovery.State{Announce: true, LookUp: true}},
		{"gateway first, native looks up only", false, discovery.State{LookUp: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topic := wtproto.TopicFromName(tt.name)
			seed := Seed(t)
			tt.native.Endpoints = []wtproto.EndpointID{{}}
			native := func() *p2p.Host {
				h := Host(t, false, seed)
				Native(t, h, topic, discovery.NewPresence(tt.native), echo)
				return h
			}
			var h *p2p.Host
			if tt.nativeFirst {
				h = native()
			}
			g := Start(t, server.Config{Networks: []discovery.Network{Host(t, true, seed)}})
			top := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
			if !tt.nativeFirst {
				Eventually(t, "the gateway is on the topic", func() bool {
					all := g.Topics()
					return len(all) == 1 && all[0].Networks[0].State == wtproto.NetworkSearching
				})
				h = native()
			}
			conn := Accept(t, top)
			if p := conn.Peer(); p.Network != "dht" || !p.Initiator || p.Client || len(p.ID) == 0 {
				t.Errorf("Peer = %+v", p)
			}
			data := random(1 << 20)
			go func() {
				conn.Write(data)
				conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
				t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(data))
			}
			if got := g.Topics()[0].Peers; len(got) != 1 {
				t.Errorf("peers known: %+v, want the one called %s", got, h.ID())
			}
		})
	}
}

// A gateway that announces is a provider of its own topic, and finds itself: it never connects to
// itself.
func TestNeverOurselves(t *testing.T) {
	g := Start(t, server.Config{Networks: []discovery.Network{Host(t, true, Seed(t))}})
	topic := wtproto.TopicFromName("alone")
	top := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // several look-up rounds
	defer cancel()
	if conn, err := top.Accept(ctx); err == nil {
		t.Errorf("met %+v", conn.Peer())
	}
	if all := g.Topics(); len(all) != 1 || len(all[0].Peers) != 0 {
		t.Errorf("Topics = %+v, want one without peers", all)
	}
}

// A killed libp2p peer ends its circuit with PEER_GONE.
func TestKilledNativePeer(t *testing.T) {
	seed := Seed(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=killed "+seed)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(out).ReadString('\n')
	g := Start(t, server.Config{Networks: []discovery.Network{Host(t, true, seed)}})
	conn := Accept(t, Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("killed"), client.JoinOptions{}))
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	killed := time.Now()
	_, err = conn.Read(make([]byte, 1))
	if code, _ := Code(err); code != wtproto.CodePeerGone {
		t.Errorf("Read = %v, want PEER_GONE", err)
	}
	t.Logf("PEER_GONE %v after the kill", time.Since(killed))
	cmd.Wait()
}

// Clients that read nothing hold up neither others at the same native peer, nor does a peer that
// reads nothing.
func TestStalledCircuitsWithOneHost(t *testing.T) {
	const stalled = 40
	topic := wtproto.TopicFromName("one host")
	seed := Seed(t)
	var mu sync.Mutex
	n := 0
	release := make(chan struct{})
	defer close(release)
	Native(t, Host(t, false, seed), topic, discovery.Native(), func(s discovery.Stream) {
		mu.Lock()
		i := n
		n++
		mu.Unlock()
		switch {
		case i >= stalled:
			echo(s)
		case i%2 == 0: // sends what nobody reads
			for b := make([]byte, 64<<10); ; {
				if _, err := s.Write(b); err != nil {
					return
				}
			}
		default: // reads nothing of what is sent
			<-release
		}
	})
	g := Start(t, server.Config{IsolateClients: true, MaxSessionsPerPrincipal: -1, Networks: []discovery.Network{Host(t, true, seed)}})
	chunk := random(64 << 10)
	var wg sync.WaitGroup
	for range stalled {
		conn := Accept(t, Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{}))
		wg.Go(func() {
			for err := error(nil); err == nil; {
				conn.SetWriteDeadline(time.Now().Add(time.Second))
				_, err = conn.Write(chunk)
			}
		})
	}
	wg.Wait()
	conn := Accept(t, Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{}))
	data := random(8 << 20)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the circuit beside %d stalled ones: %d bytes, %v; want %d", stalled, len(got), err, len(data))
	}
}

// Clients of two gateways meet through the DHT: one circuit, exactly one initiator.
func TestGatewaysMeet(t *testing.T) {
	seed := Seed(t)
	topic := wtproto.TopicFromName("gateways")
	var tops []*client.Topic
	for range 2 {
		g := Start(t, server.Config{Networks: []discovery.Network{Host(t, true, seed)}})
		tops = append(tops, Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{}))
	}
	a, b := Accept(t, tops[0]), Accept(t, tops[1])
	if a.Peer().Initiator == b.Peer().Initiator {
		t.Errorf("initiator: %v and %v, want exactly one", a.Peer().Initiator, b.Peer().Initiator)
	}
	for _, conn := range []*client.Conn{a, b} {
		if p := conn.Peer(); !p.Client || p.Network != "dht" {
			t.Errorf("Peer = %+v, want a client behind another gateway", p)
		}
	}
	data := random(1 << 20)
	for _, pair := range [][2]*client.Conn{{a, b}, {b, a}} {
		go func() {
			pair[0].Write(data)
			pair[0].CloseWrite()
		}()
		if got, err := io.ReadAll(pair[1]); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
		}
	}
}

// What cannot be reached is bounded by the timeouts and told with its reason, to the operator and
// to the client.
func TestUnreachableIsTold(t *testing.T) {
	topic := wtproto.TopicFromName("unreachable")
	g := Start(t, server.Config{Networks: []discovery.Network{
		Static(t, topic, freeport.Address(t)),
		Host(t, true, "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGRUaMbkCsSsMqFTYAkvyJyKBRCUJcGJZJuYkxMXKaCGy"),
	}})
	top := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
	Eventually(t, "the operator is told", func() bool {
		for _, s := range g.Topics() {
			if s.Networks[1].State == wtproto.NetworkFailing && s.Networks[1].Reason != "" &&
				len(s.Peers) == 1 && s.Peers[0].Refused && s.Peers[0].Code == wtproto.CodePeerUnreachable {
				return true
			}
		}
		return false
	})
	Status(t, top, "the client is told", func(status client.Status) bool {
		return len(status.Networks) >= 2 && status.Networks[0].Refused == 1 &&
			status.Networks[0].LastCode == wtproto.CodePeerUnreachable && status.Networks[1].State == wtproto.NetworkFailing
	})
}
