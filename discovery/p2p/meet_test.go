package p2p

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestChoose(t *testing.T) {
	ids := func(from, to int) (e []wtproto.EndpointID) {
		for i := from; i < to; i++ {
			e = append(e, endpoint(i))
		}
		return e
	}
	for _, tc := range []struct {
		name      string
		told, all []wtproto.EndpointID
		n         int
		kept      []wtproto.EndpointID // that have to be in the choice
		size      int
		more      bool
	}{
		{"none", nil, nil, 4, nil, 0, false},
		{"all fit", ids(2, 4), ids(0, 4), 4, ids(0, 4), 4, false},
		{"any", nil, ids(0, 9), 4, nil, 4, true},
		{"told before", ids(3, 7), ids(0, 9), 4, ids(3, 7), 4, true},
		{"some of them left", ids(0, 4), ids(2, 9), 4, ids(2, 4), 4, true},
		{"fewer fit", ids(0, 8), ids(0, 9), 4, nil, 4, true},
	} {
		got, more := choose(tc.told, tc.all, tc.n)
		if len(got) != tc.size || more != tc.more {
			t.Errorf("%s: %v, more %v; want %d, %v", tc.name, got, more, tc.size, tc.more)
		}
		for _, e := range tc.kept {
			if !slices.Contains(got, e) {
				t.Errorf("%s: %v lacks %v", tc.name, got, e)
			}
		}
		for i, e := range got {
			if !slices.Contains(tc.all, e) || slices.Contains(got[:i], e) {
				t.Errorf("%s: %v in %v is not there, or twice", tc.name, e, got)
			}
		}
	}
}

// What changes on one side is seen on the other.
func TestPresenceChanges(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	p := presence(false, false)
	join(t, g, p, nil)
	nm := join(t, n, discovery.Native(), nil)

	set := func(announce bool, e ...wtproto.EndpointID) {
		p.Set(discovery.State{Announce: announce, Endpoints: e})
	}
	set(true, endpoint(1)) // announced only now
	if s := nm.await("the first client", isPeer(g, endpoint(1))).sighting; s.More || s.PeerFoundUs {
		t.Errorf("sighting %+v", s)
	}
	set(true, endpoint(1), endpoint(2))
	nm.await("the second client", isPeer(g, endpoint(2)))
	set(true, endpoint(2))
	nm.await("the first client to leave", isGone(g, endpoint(1)))
	for _, need := range []bool{true, false} {
		p.Set(discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{endpoint(2)}, Need: need})
		nm.await("a change of need", func(i item) bool { return isPeer(g, endpoint(2))(i) && i.sighting.Need == need })
	}

	var many []wtproto.EndpointID
	for i := range 2 * wtproto.MaxEndpoints {
		many = append(many, endpoint(2+i))
	}
	set(true, many...)
	seen := make(map[string]bool)
	for len(seen) < wtproto.MaxEndpoints {
		i := nm.await("clients", func(i item) bool { return i.sighting.More })
		if i.sighting.Gone {
			t.Errorf("%s", describe(i))
		}
		seen[i.sighting.Peer.ID] = true
	}
	if !seen[peerID(g, endpoint(2))] {
		t.Error("of the many, the one that was told before is missing")
	}
	set(true)
	for range wtproto.MaxEndpoints {
		nm.await("the clients to leave", func(i item) bool { return i.sighting.Gone && seen[i.sighting.Peer.ID] })
	}
}

// A host heard of all endpoints of a gateway, also of those that wanted only other networks than the
// one on which it was met. It took them for peers, and its dials of them were declined.
func TestEndpointsOfOtherNetworks(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	p := presence(true, false)
	join(t, g, p, nil)
	nm := join(t, n, discovery.Native(), nil)
	set := func(e ...wtproto.EndpointID) {
		p.Set(discovery.State{Announce: true, Endpoints: e, EndpointNetworks: map[wtproto.EndpointID][]string{
			endpoint(2): {"lan"}, endpoint(3): {"dht"},
		}})
	}
	seen := make(map[string]bool)
	sees := func(e ...wtproto.EndpointID) {
		t.Helper()
		nm.await("clients", func(i item) bool {
			if seen[i.sighting.Peer.ID] = true; isPeer(g, endpoint(2))(i) {
				t.Errorf("a client that wants the LAN only is known on the DHT: %s", describe(i))
			}
			return !slices.ContainsFunc(e, func(e wtproto.EndpointID) bool { return !seen[peerID(g, e)] })
		})
	}
	set(endpoint(1), endpoint(2), endpoint(3))
	sees(endpoint(1), endpoint(3))
	set(endpoint(1), endpoint(2), endpoint(3), endpoint(4))
	sees(endpoint(4))

	// Now the gateway meets the host on the LAN.
	look(g, n.id, func(r *remote) bool {
		r.t.learnLocked(r, target{id: n.id, network: networkLAN})
		return true
	})
	left := false
	nm.await("the client that wants the LAN, in place of the one that wants the DHT", func(i item) bool {
		left = left || isGone(g, endpoint(3))(i)
		return isPeer(g, endpoint(2))(i)
	})
	if !left {
		nm.await("the client that wants the DHT to leave", isGone(g, endpoint(3)))
	}
}

// A host that leaves the topic, or is closed, has gone.
func TestDeparture(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*Host, *member)
	}{
		{"leave", func(_ *Host, m *member) { m.leave() }},
		{"close", func(h *Host, _ *member) { _ = h.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := swarmOf(t, gateway, native)
			gm := join(t, hosts[0], presence(true, true, endpoint(1)), nil)
			nm := join(t, hosts[1], discovery.Native(), echo)
			peer := gm.await("the native peer", isPeer(hosts[1], nativeEndpoint))
			c := dial(t, peer, endpoint(1))
			tc.end(hosts[1], nm)
			gm.await("its departure", isGone(hosts[1], nativeEndpoint))
			if tc.name == "leave" { // circuits live on
				testEcho(t, c, 1000)
			} else {
				_, err := c.Read(make([]byte, 1))
				wantCode(t, "Read", err, wtproto.CodePeerGone, false)
			}
			if tc.name != "leave" {
				return
			}
			// It is asked again, and that it refuses is no fault of the network.
			tried := func(r *remote) bool { return r.left && !r.asking && r.acquaintance.failures > 1 }
			eventually(t, "it was asked again", func() bool { return look(hosts[0], hosts[1].id, tried) })
			join(t, hosts[1], discovery.Native(), echo)
			gm.await("its return", func(i item) bool {
				if i.err != nil {
					t.Errorf("%s", describe(i))
				}
				return isPeer(hosts[1], nativeEndpoint)(i)
			})
		})
	}
}

// The loss of a link was once a departure, so that pairs that had ended were connected again. Now
// a host is believed to be there for a while, and is gone only if it says so, or comes back as
// another run of its program.
func TestLostLinkIsNoDeparture(t *testing.T) {
	_, large := keys(t)
	start := func(listenOn string) *Host {
		return listen(t, all(native, off, key(large), func(c *Config) { c.Listen = []string{listenOn} }))
	}
	n := start("/ip4/127.0.0.1/tcp/0")
	g := listen(t, all(gateway, off, func(c *Config) {
		c.Static = map[wtproto.Topic][]string{testTopic: n.Addrs()}
	}))
	nm := join(t, n, discovery.Native(), echo)
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	gm.await("the native peer", isPeer(n, nativeEndpoint))
	next := func(what string, wanted func(discovery.Sighting) bool) {
		t.Helper()
		gm.await(what, func(i item) bool {
			if i.sighting.Gone && !wanted(i.sighting) {
				t.Errorf("%s: it has gone", what)
			}
			return i.err == nil && i.sighting.Peer.ID == string(n.id) && wanted(i.sighting)
		})
	}
	for range 2 {
		if err := g.libp2p.Network().ClosePeer(n.id); err != nil {
			t.Fatal(err)
		}
		next("that it was lost", func(s discovery.Sighting) bool { return s.Holds == lostHold })
		next("its return", func(s discovery.Sighting) bool { return s.Holds == g.Hold })
	}
	// A program that is killed says nothing. When it is started anew, its endpoint has left and
	// joined.
	port := n.Port()
	n.links.close(t.Context())
	if err := n.libp2p.Close(); err != nil {
		t.Fatal(err)
	}
	next("that it was lost", func(s discovery.Sighting) bool { return s.Holds == lostHold })
	n2 := start(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port))
	nm2 := join(t, n2, discovery.Native(), echo)
	next("that the first run has gone", func(s discovery.Sighting) bool { return s.Gone })
	next("its second run", func(s discovery.Sighting) bool { return s.Holds == g.Hold })
	nm2.leave()
	next("its departure", func(s discovery.Sighting) bool { return s.Gone })
	nm.leave()
}

// Two hosts that find each other at the same time have one link in the end, and both know that
// they found and were found.
func TestBothFind(t *testing.T) {
	hosts := swarmOf(t, native, gateway, gateway)
	a, b := hosts[1], hosts[2]
	am := join(t, a, presence(true, true, endpoint(1)), nil)
	bm := join(t, b, presence(true, true, endpoint(2)), nil)
	am.awaitBoth(peerID(b, endpoint(2)))
	bm.awaitBoth(peerID(a, endpoint(1)))
	if a.id > b.id {
		a, b = b, a
	}
	met := func(r *remote) bool { return r.meeting && r.informed }
	eventually(t, "they have met on one link", func() bool {
		l, m := linkOf(a, b.id), linkOf(b, a.id)
		return look(a, b.id, met) && look(b, a.id, met) && l != nil && m != nil && l.ours != m.ours
	})
	// Nobody has left meanwhile.
	for _, m := range []*member{am, bm} {
		for len(m.items) > 0 {
			if i := <-m.items; i.sighting.Gone {
				t.Errorf("%s", describe(i))
			}
		}
	}
}

func TestMeetRefused(t *testing.T) {
	small, large := keys(t)
	h := listen(t, key(large))
	m := join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	elsewhere := wtproto.TopicFromName("elsewhere")
	other := s.meet(h)
	other.Digest = elsewhere.Digest()
	other.Proof = elsewhere.Proof(wtproto.ProofMeet, []byte(s.ID()), []byte(h.id))
	wrong := s.meet(h)
	wrong.Proof[0] ^= 0x80
	st := s.link(h, 0)
	for _, tc := range []struct {
		name string
		meet wtproto.Meet
	}{{"unknown topic", other}, {"wrong proof", wrong}} {
		write(t, st, tc.meet.Append(nil))
		met, err := wtproto.ParseMet(read(t, st, wtproto.TypeMet))
		if want := (wtproto.Met{Digest: tc.meet.Digest, Code: wtproto.CodeForbidden}); err != nil || !reflect.DeepEqual(met, want) {
			t.Errorf("%s: MET = %+v, %v, want %v and zeros", tc.name, met, err, wtproto.CodeForbidden)
		}
	}
	write(t, st, s.meet(h).Append(nil))
	met, err := wtproto.ParseMet(read(t, st, wtproto.TypeMet))
	if err != nil || met.Code != wtproto.CodeNone || !slices.Equal(met.Endpoints, []wtproto.EndpointID{nativeEndpoint}) ||
		!testTopic.VerifyProof(met.Proof, wtproto.ProofMet, []byte(h.id), []byte(s.ID())) {
		t.Errorf("MET = %+v, %v, want a good proof and one endpoint", met, err)
	}
	if i := m.await("the stranger", func(i item) bool { return i.sighting.Holds > 0 }); i.sighting.Peer.ID != string(s.ID()) || !i.sighting.PeerFoundUs || i.sighting.Dial != nil {
		t.Errorf("%s", describe(i))
	}
}

// A host can speak for its own kind of endpoints only.
func TestForeignEndpoints(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(gateway, key(large), func(c *Config) { c.Mode = Off }))
	m := join(t, h, presence(true, true), nil)
	s := newStranger(t, small)
	st := s.link(h, wtproto.HostGateway)
	meet := s.meet(h, endpoint(1), nativeEndpoint, endpoint(1))
	write(t, st, meet.Append(nil))
	read(t, st, wtproto.TypeMet)
	write(t, st, wtproto.Endpoints{Digest: testTopic.Digest(), Endpoints: []wtproto.EndpointID{nativeEndpoint, endpoint(2)}}.Append(nil))
	var got []string
	second := endpoint(2)
	m.await("the second client", func(i item) bool {
		if !isRecovery(i) {
			got = append(got, describe(i))
		}
		return i.sighting.Peer.ID == string(s.ID())+string(second[:])
	})
	if len(got) != 3 { // the first is there, has gone, the second is there
		t.Errorf("came: %q", got)
	}
}

// What a host may answer to MEET, other than what it should. Each is told once, and the next
// answer is taken.
func TestMeetAnswers(t *testing.T) {
	small, large := keys(t)
	var answer atomic.Pointer[func(network.Stream)] // to each MEET: on a busy machine one may come too late
	s := newStranger(t, large)
	s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) {
		if !s.greet(st, 0) {
			return
		}
		if typ, _, err := wtproto.NewReader(st).Next(); err != nil || typ != wtproto.TypeMeet {
			return
		}
		(*answer.Load())(st)
	})
	h := listen(t, all(gateway, key(small), func(c *Config) {
		c.Mode, c.AnswerTimeout, c.LookUpEvery = Off, 500*time.Millisecond, 100*time.Millisecond
		c.RetryMin, c.RetryMax = time.Millisecond, 100*time.Millisecond
		c.Static = map[wtproto.Topic][]string{testTopic: {s.addr()}}
	}))
	send := func(frame []byte) func(network.Stream) {
		return func(st network.Stream) { _, _ = st.Write(frame) }
	}
	var m *member
	for _, tc := range []struct {
		name   string
		answer func(network.Stream)
		want   wtproto.Code
	}{
		{"not on the topic", send(wtproto.Met{Digest: testTopic.Digest(), Code: wtproto.CodeForbidden}.Append(nil)), wtproto.CodeForbidden},
		{"no room", send(wtproto.Met{Digest: testTopic.Digest(), Code: wtproto.CodeBusy}.Append(nil)), wtproto.CodeBusy},
		{"a reset", func(st network.Stream) { _ = st.Reset() }, wtproto.CodePeerReset},
		{"nothing", func(network.Stream) {}, wtproto.CodePeerUnreachable},
		{"a wrong proof", send(wtproto.Met{Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofMeet, h.id)}.Append(nil)), wtproto.CodeForbidden},
		{"another frame", send(wtproto.Opened{}.Append(nil)), wtproto.CodeProtocol},
		{"a frame of a session", send(wtproto.Ping{}.Append(nil)), wtproto.CodeProtocol},
		{"a long frame", send([]byte{byte(wtproto.TypeMet), 0x80, 1, 0, 0}), wtproto.CodeTooLarge},
		{"a short frame", send([]byte{byte(wtproto.TypeMet), 1, 0}), wtproto.CodeProtocol},
	} {
		answer.Store(&tc.answer)
		if m == nil {
			m = join(t, h, presence(true, true, endpoint(1)), nil)
		}
		m.await(tc.name, isError(tc.want))
	}
	good := send(s.met(h, nativeEndpoint).Append(nil))
	answer.Store(&good)
	m.await("the stranger", func(i item) bool { return i.sighting.Peer.ID == string(s.ID()) })
	m.await("that all is well", isRecovery)
}

// Each host that a stranger made up had its line in the log, with the topic in full.
func TestStrangersFailuresAreLoggedOnce(t *testing.T) {
	var text bytes.Buffer
	h := listen(t, all(gateway, func(c *Config) { c.Mode, c.Logger = Off, slog.New(slog.NewTextHandler(&text, nil)) }))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tp := h.newTopic(ctx, testTopic, presence(false, false))
	if err := h.enter(tp); err != nil {
		t.Fatal(err)
	}
	defer h.leave(tp)
	tp.mu.Lock()
	for i := range 100 {
		r := tp.remoteLocked(peer.ID(fmt.Sprintf("stranger %d", i)))
		tp.meetings.next(time.Now())
		tp.failedLocked(r, wtproto.Errorf(wtproto.CodeForbidden, "MET: the proof is wrong"))
	}
	tp.mu.Unlock()
	got := text.String()
	if n := strings.Count(got, "cannot meet a host"); n != 1 {
		t.Errorf("%d lines, want one:\n%s", n, got)
	}
	if !strings.Contains(got, "topic="+testTopic.Short()) || strings.Contains(got, testTopic.String()) {
		t.Errorf("%s\nwant the topic by its digest", got)
	}
}
