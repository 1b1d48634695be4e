//go:build !race

package native

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/wtproto"
)

// jsPeer is a native peer that was written from docs/PROTOCOL.md on another libp2p:
// test/js-libp2p/peer.mjs.
type jsPeer struct {
	t      *testing.T
	binary []byte // its id
	ready  map[string]any
	stop   func()            // ends it
	do     func(line string) // gives it a command
	events chan map[string]any
	log    []string // of what came
}

// startJS starts one on the private DHT of seed. mode is "announce" or "lookup".
func startJS(t *testing.T, topic wtproto.Topic, seed *p2p.Host, mode string) *jsPeer {
	t.Helper()
	if _, err := os.Stat("../js-libp2p/node_modules"); err != nil {
		t.Fatalf("js-libp2p is not installed: run test/deps.sh (%v)", err)
	}
	cmd := exec.Command("node", "../js-libp2p/peer.mjs", "--topic", topic.String(), "--seed", seed.Addrs()[0], "--mode", mode)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &jsPeer{t: t, stop: func() { in.Close() }, do: func(line string) { io.WriteString(in, line+"\n") }, events: make(chan map[string]any, 1024)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e map[string]any
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("peer.mjs: %s: %v", lines.Bytes(), err)
				return
			}
			p.events <- e
		}
	}()
	t.Cleanup(func() {
		p.stop()
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		<-read
		_ = cmd.Wait()
		kill.Stop()
	})
	p.ready = p.await("ready", func(map[string]any) bool { return true })
	if p.binary, err = hex.DecodeString(p.ready["binary"].(string)); err != nil {
		t.Fatal(err)
	}
	return p
}

// await returns the next event of this name for which wanted is true.
func (p *jsPeer) await(name string, wanted func(map[string]any) bool) map[string]any {
	p.t.Helper()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-p.events:
			if !ok {
				p.t.Fatalf("peer.mjs has ended; said %s", strings.Join(p.log, " "))
			}
			if e["event"] == name && wanted(e) {
				return e
			}
			p.log = append(p.log, fmt.Sprint(e))
		case <-timer.C:
			p.t.Fatalf("waited in vain for %s of peer.mjs; it said %s", name, strings.Join(p.log, " "))
		}
	}
}

// startP2P starts a host on a private DHT. key may be nil.
func startP2P(t *testing.T, gateway bool, key ed25519.PrivateKey, seeds ...*p2p.Host) *p2p.Host {
	t.Helper()
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := p2p.Config{
		Key: key, Mode: p2p.Private, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Policy: policy, Gateway: gateway, LookUpEvery: 2 * time.Second, LookUpRest: 2 * time.Second,
	}
	for _, s := range seeds {
		cfg.Seeds = append(cfg.Seeds, s.Addrs()...)
	}
	h, err := p2p.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// keyOf returns a key whose peer id is smaller or larger than id.
func keyOf(t *testing.T, id []byte, smaller bool) ed25519.PrivateKey {
	t.Helper()
	for {
		public, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		mine := append([]byte{0, 0x24, 8, 1, 0x12, 0x20}, public...)
		if bytes.Compare(mine, id) < 0 == smaller {
			return key
		}
	}
}

// joinP2P is on topic until the test ends, and hands on what comes.
func joinP2P(t *testing.T, h *p2p.Host, topic wtproto.Topic, state discovery.State) <-chan discovery.Sighting {
	sightings := make(chan discovery.Sighting, 1024)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s, err := range h.Join(ctx, topic, discovery.NewPresence(state)) {
			if err != nil {
				t.Logf("join: %v", err)
				continue
			}
			sightings <- s
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return sightings
}

func awaitSighting(t *testing.T, c <-chan discovery.Sighting, what string, wanted func(discovery.Sighting) bool) discovery.Sighting {
	t.Helper()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		select {
		case s := <-c:
			if wanted(s) {
				return s
			}
		case <-timer.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// exchange sends size bytes and the end, and wants the same back.
func exchange(t *testing.T, s discovery.Stream, size int) {
	t.Helper()
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(data)
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(data)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v; want the %d that were sent", len(got), err, size)
	}
	if err := <-sent; err != nil {
		t.Errorf("send: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// js-libp2p and a gateway find each other, whichever of the two looks, and the gateway's circuits
// are echoed.
func TestJSLibp2pGateway(t *testing.T) {
	for _, tc := range []struct {
		mode    string
		state   discovery.State
		foundUs bool
	}{
		{"announce", discovery.State{LookUp: true}, false},
		{"lookup", discovery.State{Announce: true}, true},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			topic := wtproto.TopicFromName("js-libp2p " + tc.mode)
			seed := startP2P(t, false, nil)
			g := startP2P(t, true, nil, seed)
			clients := []wtproto.EndpointID{{1}, {2}, {3}}
			tc.state.Endpoints = clients
			sightings := joinP2P(t, g, topic, tc.state)
			js := startJS(t, topic, seed, tc.mode)
			if tc.mode == "announce" {
				js.await("announced", func(map[string]any) bool { return true })
			}
			peer := awaitSighting(t, sightings, "js-libp2p", func(s discovery.Sighting) bool { return s.Holds > 0 })
			if peer.PeerFoundUs != tc.foundUs || peer.Dial == nil || peer.Peer.Client || peer.Peer.Network != "dht" {
				t.Errorf("sighting %+v", peer)
			}
			met := js.await("met", func(e map[string]any) bool { return e["peer"] == g.ID() })
			if met["gateway"] != true || met["sent"] != tc.foundUs || len(met["endpoints"].([]any)) != len(clients) {
				t.Errorf("js-libp2p met %v", met)
			}
			for i, c := range clients {
				s, err := peer.Dial(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				size := 1000
				if i == 0 {
					size = 16 << 20
				}
				exchange(t, s, size)
				ended := js.await("ended", func(e map[string]any) bool { return e["endpoint"] == hex.EncodeToString(c[:]) })
				if ended["bytes"] != float64(size) || ended["error"] != nil {
					t.Errorf("js-libp2p says %v, want %d bytes", ended, size)
				}
			}
			// A reset reaches it, and a newer circuit of the pair replaces the older one.
			first, err := peer.Dial(t.Context(), clients[0])
			if err != nil {
				t.Fatal(err)
			}
			first.Reset(wtproto.CodeStalled)
			js.await("ended", func(e map[string]any) bool { return e["error"] == "StreamResetError" })
			older, err := peer.Dial(t.Context(), clients[1])
			if err != nil {
				t.Fatal(err)
			}
			defer older.Close()
			newer, err := peer.Dial(t.Context(), clients[1])
			if err != nil {
				t.Fatal(err)
			}
			_, err = older.Read(make([]byte, 1))
			if !errors.Is(err, &wtproto.Error{Code: wtproto.CodePeerReset, Remote: true}) {
				t.Errorf("the older circuit: %v, want a reset, which has no code there", err)
			}
			exchange(t, newer, 1000)
			js.stop()
			awaitSighting(t, sightings, "the departure of js-libp2p", func(s discovery.Sighting) bool { return s.Gone && s.Peer.ID == peer.Peer.ID })
		})
	}
}

// A gateway without a DHT sees js-libp2p on the LAN, and guesses at a topic that it is on.
func TestJSLibp2pGuess(t *testing.T) {
	topic := wtproto.TopicFromName("js-libp2p guess")
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	g, err := p2p.Listen(p2p.Config{Mode: p2p.Off, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Policy: policy, Gateway: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	sightings := joinP2P(t, g, topic, discovery.State{LookUp: true, Endpoints: []wtproto.EndpointID{{1}}})
	js := startJS(t, topic, startP2P(t, false, nil), "announce")
	var at []netip.AddrPort
	for _, a := range js.ready["addrs"].([]any) {
		if parts := strings.Split(a.(string), "/"); parts[2] == "127.0.0.1" {
			at = append(at, netip.MustParseAddrPort(parts[2]+":"+parts[4]))
		}
	}
	g.HostSeen(js.ready["id"].(string), at)
	peer := awaitSighting(t, sightings, "js-libp2p", func(s discovery.Sighting) bool { return s.Holds > 0 })
	if peer.PeerFoundUs || peer.Dial == nil || peer.Peer.Network != "lan" {
		t.Errorf("sighting %+v", peer)
	}
	s, err := peer.Dial(t.Context(), wtproto.EndpointID{1})
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, s, 1000)
}

// Two native peers, one of them js-libp2p: the one with the smaller id opens, whichever finds the
// other.
func TestJSLibp2pNative(t *testing.T) {
	for _, mode := range []string{"announce", "lookup"} {
		for _, weOpen := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, we open %v", mode, weOpen), func(t *testing.T) {
				topic := wtproto.TopicFromName("js-libp2p native")
				seed := startP2P(t, false, nil)
				js := startJS(t, topic, seed, mode)
				n := startP2P(t, false, keyOf(t, js.binary, weOpen), seed)
				state, _ := discovery.Native().State()
				state.Announce, state.LookUp = mode == "lookup", mode == "announce"
				sightings := joinP2P(t, n, topic, state)
				s := awaitSighting(t, sightings, "js-libp2p or its circuit", func(s discovery.Sighting) bool {
					if s.Peer.ID != "" && s.Peer.ID != string(js.binary) {
						t.Errorf("sighting of %x, want %x", s.Peer.ID, js.binary)
					}
					return s.Dial != nil || s.Inbound != nil
				})
				if (s.Dial != nil) != weOpen {
					t.Fatalf("sighting %+v", s)
				}
				var c discovery.Stream
				var err error
				if weOpen {
					c, err = s.Dial(t.Context(), wtproto.EndpointID{})
				} else {
					c, err = s.Inbound.Accept()
				}
				if err != nil {
					t.Fatal(err)
				}
				exchange(t, c, 1<<20)
				js.await("ended", func(e map[string]any) bool { return e["bytes"] == float64(1<<20) && e["error"] == nil })
			})
		}
	}
}
