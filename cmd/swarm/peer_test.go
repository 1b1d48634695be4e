package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// peerArgs are the flags of a native peer on loopback, on the private DHT that is entered by
// seeds.
func peerArgs(seeds ...string) []string {
	args := []string{"peer", "there", "--dht", "private", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--allow-private"}
	for _, s := range seeds {
		args = append(args, "--dht-seed", s)
	}
	return args
}

// ready returns the ready line of a native peer with --json.
func (p *process) ready(t *testing.T) readyLine {
	t.Helper()
	gateway.Eventually(t, "the ready line", func() bool { return strings.Contains(p.out.String(), "\n") })
	line, _, _ := strings.Cut(p.out.String(), "\n")
	var r readyLine
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("ready line %s: %v", line, err)
	}
	return r
}

func TestClientMeetsAnEchoingPeer(t *testing.T) {
	host := gateway.Host(t, true)
	g := gateway.Start(t, server.Config{Networks: []discovery.Network{host}})
	peer := swarm(t, open(t), append(peerArgs(host.Addrs()...), "--echo", "--json")...)
	ready := peer.ready(t)
	if len(ready.Addrs) != 1 || !strings.HasSuffix(ready.Addrs[0], "/p2p/"+ready.ID) {
		t.Errorf("ready: %+v", ready)
	}
	want := text(2 << 20)
	p := swarm(t, strings.NewReader(want), through(g, "join", "there", "--once", "--json")...)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	all := p.events(t)
	if got := kinds(all); got != "joined peer data end left" || received(all) != want {
		t.Errorf("events: %s; the data came back: %v", got, received(all) == want)
	}
	for _, e := range all {
		if e.Event == "peer" && (e.Peer.Host != ready.ID || e.Peer.Network != "dht") {
			t.Errorf("peer: %+v, want host %s on the dht", e.Peer, ready.ID)
		}
	}
	peer.stop()
	if status := peer.wait(t); status != 0 {
		t.Errorf("peer: status %d after Ctrl-C, want 0", status)
	}
}

func TestClientMeetsAForwardingPeer(t *testing.T) {
	service := gateway.Listen(t, gateway.Echo)
	host := gateway.Host(t, true)
	g := gateway.Start(t, server.Config{Networks: []discovery.Network{host}})
	swarm(t, open(t), append(peerArgs(host.Addrs()...), "--forward", service.Addr().String(), "--json")...)
	p := swarm(t, strings.NewReader("hello"), through(g, "join", "there", "--once")...)
	if status := p.wait(t); status != 0 || p.out.String() != "hello" {
		t.Errorf("status %d, %q; want hello", status, p.out.String())
	}
}

// A peer that echoes or forwards serves each stream of a client like the first. One that has one
// standard input takes no more than one.
func TestClientOpensStreamsWithAPeer(t *testing.T) {
	const streams = 100
	service := gateway.Listen(t, gateway.Echo)
	for name, args := range map[string][]string{
		"echo":    {"--echo"},
		"forward": {"--forward", service.Addr().String()},
		"pump":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			host := gateway.Host(t, true)
			g := gateway.Start(t, server.Config{Networks: []discovery.Network{host}})
			swarm(t, open(t), append(peerArgs(host.Addrs()...), args...)...)
			top := gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("there"), client.JoinOptions{})
			first := gateway.Accept(t, top)
			if args == nil {
				_, err := top.Open(gateway.Context(t), first.Peer())
				if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeDeclined {
					t.Errorf("Open = %v, want DECLINED", err)
				}
				if _, err := first.Write([]byte("x")); err != nil {
					t.Errorf("the first circuit: %v", err)
				}
				return
			}
			var wg sync.WaitGroup
			for i := range streams {
				wg.Go(func() {
					c, err := top.Open(gateway.Context(t), first.Peer())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					say := fmt.Sprint("stream ", i)
					io.WriteString(c, say)
					c.CloseWrite()
					if got, err := io.ReadAll(c); err != nil || string(got) != say {
						t.Errorf("%q, %v came back, want %q", got, err, say)
					}
				})
			}
			wg.Wait()
			io.WriteString(first, "the first")
			first.CloseWrite()
			if got, err := io.ReadAll(first); err != nil || string(got) != "the first" {
				t.Errorf("%q, %v came back", got, err)
			}
		})
	}
	if n := service.Accepted(); n != streams+1 {
		t.Errorf("the service has had %d connections, want %d", n, streams+1)
	}
}

// Two native peers need no gateway: whichever of them may open the circuit does.
func TestNativePeersPipeToEachOther(t *testing.T) {
	seed := gateway.Seed(t)
	var peers [2]*process
	for i, say := range []string{"hello from a\n", "hello from b\n"} {
		r, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		go io.WriteString(w, say)
		peers[i] = swarm(t, r, peerArgs(seed)...)
	}
	for i, want := range []string{"hello from b\n", "hello from a\n"} {
		gateway.Eventually(t, "the other's words", func() bool {
			return peers[i].out.String() == want // and nothing else: not where it listens
		})
	}
}

func TestPeerTellsEvents(t *testing.T) {
	seed := gateway.Seed(t)
	a := swarm(t, strings.NewReader("from a"), append(peerArgs(seed), "--json")...)
	b := swarm(t, strings.NewReader("from b"), append(peerArgs(seed), "--json")...)
	gateway.Eventually(t, "both ends", func() bool {
		return strings.Contains(a.out.String(), `"end"`) && strings.Contains(b.out.String(), `"end"`)
	})
	initiators := 0
	for p, other := range map[*process]*process{a: b, b: a} {
		ready := other.ready(t)
		s := bufio.NewScanner(strings.NewReader(p.out.String()))
		s.Scan() // the ready line
		for s.Scan() {
			var e event
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if e.Event == "peer" {
				if e.Peer.Host != ready.ID || e.Peer.Client {
					t.Errorf("peer: %+v, want %s, a native one", e.Peer, ready.ID)
				}
				if e.Peer.Initiator {
					initiators++
				}
			}
		}
	}
	if initiators != 1 {
		t.Errorf("%d of two ends are the initiator, want one", initiators)
	}
}

func TestPeerKeepsItsIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var ids []string
	for range 2 {
		p := swarm(t, open(t), append(peerArgs(), "--echo", "--json", "--state-dir", dir)...)
		ready := p.ready(t)
		ids = append(ids, ready.ID)
		p.stop()
		if status := p.wait(t); status != 0 {
			t.Errorf("status %d", status)
		}
	}
	if ids[0] != ids[1] {
		t.Errorf("the id was %s, and is %s after a restart", ids[0], ids[1])
	}
}

func TestPeerListensSomewhereByDefault(t *testing.T) {
	p := swarm(t, open(t), "peer", "there", "--echo", "--json", "--dht", "off")
	if ready := p.ready(t); len(ready.Addrs) == 0 {
		t.Errorf("ready: %+v, want an address", ready)
	}
}

func TestPeerSaysWhyItCannotStart(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"peer a --dht private --dht-seed nowhere", "nowhere: must begin with"},
		{"peer a --dht off --p2p-listen /ip4/127.0.0.1/udp/1", "want /ip4/ADDRESS/tcp/PORT"},
		{"peer a --dht off --state-dir /dev/null/x", "state directory"},
	} {
		p := swarm(t, open(t), strings.Fields(c.args)...)
		if status := p.wait(t); status != statusFailed || !strings.Contains(p.errs.String(), c.want) {
			t.Errorf("%s: status %d, %s; want %s", c.args, status, p.errs.String(), c.want)
		}
	}
}

// With --once two native peers end with each other, and both have all bytes: so files go between
// two shells.
func TestPeersEndOnce(t *testing.T) {
	seed := gateway.Seed(t)
	want := text(1 << 20)
	a := swarm(t, strings.NewReader(want), append(peerArgs(seed), "--once")...)
	b := swarm(t, strings.NewReader(""), append(peerArgs(seed), "--once")...)
	if status := b.wait(t); status != 0 || b.out.String() != want {
		t.Errorf("status %d, %d bytes; want 0 and all %d", status, len(b.out.String()), len(want))
	}
	if status := a.wait(t); status != 0 || a.out.String() != "" {
		t.Errorf("the other one: status %d, %q", status, cut(a.out.String()))
	}
}
