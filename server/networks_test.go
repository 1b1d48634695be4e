package server

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// joinOn joins wowcool on some networks, and returns with which code that was refused.
func (c *fakeClient) joinOn(networks ...string) wtproto.Code {
	c.t.Helper()
	c.send(wtproto.Join{Topic: wowcool, Flags: announceAndLookUp, Networks: networks})
	for {
		switch m := c.next().(type) {
		case wtproto.Joined:
			return wtproto.CodeNone
		case wtproto.Left:
			return m.Code
		}
	}
}

// names returns the networks of which STATUS tells.
func names(s wtproto.Status) (names []string) {
	for _, n := range s.Networks {
		names = append(names, n.Name)
	}
	return names
}

// running returns how many joins of n go on, and how many there were.
func (n *fakeNetwork) running() (now, all int) {
	for _, j := range n.all() {
		if all++; j.ended.IsZero() {
			now++
		}
	}
	return now, all
}

// A topic is on the networks that its subscribers want together, as long as they do and for the
// grace time after that.
func TestNetworksAreThoseThatAreWanted(t *testing.T) {
	synctestNetworks(t, Config{}, func(t *testing.T, g *bubble, lan, dat *fakeNetwork) {
		want := func(when string, lanNow, lanAll, datNow, datAll int) {
			t.Helper()
			pass(time.Millisecond)
			if now, all := lan.running(); now != lanNow || all != lanAll {
				t.Errorf("%s: %d of %d joins of lan go on, want %d of %d", when, now, all, lanNow, lanAll)
			}
			if now, all := dat.running(); now != datNow || all != datAll {
				t.Errorf("%s: %d of %d joins of dat go on, want %d of %d", when, now, all, datNow, datAll)
			}
		}
		a, b := g.connect(), g.connect()
		a.joinOn("lan", "client")
		want("a wants lan", 1, 1, 0, 0)
		b.joinOn("dat", "nonsense")
		want("b wants dat", 1, 1, 1, 1)
		if s := lan.state(); !slices.Equal(s.Endpoints, []wtproto.EndpointID{a.endpoint()}) {
			t.Errorf("lan is told of %v", s.Endpoints)
		}
		if s := dat.state(); !slices.Equal(s.Endpoints, []wtproto.EndpointID{b.endpoint()}) {
			t.Errorf("dat is told of %v", s.Endpoints)
		}
		if got := names(a.status()); !slices.Equal(got, []string{"lan"}) && !slices.Equal(got, []string{"lan", "client"}) {
			t.Errorf("a is told of %v", got)
		}
		if got := names(b.status()); !slices.Equal(got, []string{"dat"}) {
			t.Errorf("b is told of %v", got)
		}
		if a.streams()+b.streams() > 0 {
			t.Error("they were connected, though b does not want clients")
		}

		// Peers are for those that want their network.
		x, y := lan.peer("x"), dat.peer("y")
		lan.see(x.sighting())
		dat.see(y.sighting())
		if p := a.circuit(); string(p.ID) != "x" || a.streams() > 0 {
			t.Errorf("a was connected with %q, and %d more", p.ID, a.streams())
		}
		p := b.circuit()
		if string(p.ID) != "y" || b.streams() > 0 {
			t.Errorf("b was connected with %q, and %d more", p.ID, b.streams())
		}
		wantRefused(t, a.ask(p.Peer, ""), wtproto.CodeForbidden)
		in := y.inbound(a.endpoint())
		dat.see(in.sighting(0))
		if _, refused := in.answer(); !slices.Equal(refused, []wtproto.Code{wtproto.CodeDeclined}) {
			t.Errorf("a peer of dat was refused by a with %v", refused)
		}

		// The last who wants a network may come back to it soon.
		b.joinOn("lan")
		pass(14 * time.Second)
		awake(a, b)
		want("nobody has wanted dat for 14 s", 1, 1, 1, 1)
		b.joinOn("dat")
		pass(14 * time.Second)
		awake(a, b)
		want("b wants dat again", 1, 1, 1, 1)
		b.joinOn("client")
		pass(10 * time.Second)
		awake(a, b)
		pass(6 * time.Second)
		want("nobody has wanted dat for 16 s", 1, 1, 0, 1)
		if s := g.Topics()[0]; len(s.Networks) == 0 || slices.ContainsFunc(s.Peers, func(p PeerReport) bool { return p.Network == "dat" }) {
			t.Errorf("the topic still has peers of dat: %+v", s)
		}
		awake(a, b)
		talk(t, p, y.circuit()) // circuits stay
		b.joinOn("dat", "lan")
		want("b wants dat once more", 1, 1, 1, 2)
		b.circuit() // with x

		// The topic stays where it was while nobody is on it.
		a.leave()
		b.leave()
		want("in the grace time", 1, 1, 1, 2)
		a.joinOn("lan")
		pass(10 * time.Second)
		awake(a, b)
		pass(6 * time.Second)
		want("a came back, and b did not", 1, 1, 0, 2)
		a.leave()
		for range 3 {
			pass(20 * time.Second)
			awake(a, b)
		}
		want("nobody is there", 1, 1, 0, 2) // but its circuits
	})
}

// synctestNetworks runs test with a gateway on two networks.
func synctestNetworks(t *testing.T, cfg Config, test func(t *testing.T, g *bubble, lan, dat *fakeNetwork)) {
	lan, dat := newFakeNetwork(t, "lan"), newFakeNetwork(t, "dat")
	cfg.Networks = []discovery.Network{lan, dat}
	inBubble(t, cfg, func(t *testing.T, g *bubble) {
		lan.news, dat.news = make(chan news), make(chan news)
		test(t, g, lan, dat)
	})
}

// Names that the gateway does not have, or the client may not use, are left out.
func TestNetworksThatNobodyMayHave(t *testing.T) {
	authorizer := grants{"": {}, "lan": {Networks: []string{"lan"}}}
	synctestNetworks(t, Config{Authorizer: authorizer, IsolateClients: true}, func(t *testing.T, g *bubble, lan, dat *fakeNetwork) {
		for _, tt := range []struct {
			token string
			names []string
			want  wtproto.Code
		}{
			{"", []string{"lan"}, wtproto.CodeNone},
			{"", []string{"nonsense", "dat"}, wtproto.CodeNone},
			{"", []string{"nonsense"}, wtproto.CodeForbidden},
			{"", []string{""}, wtproto.CodeForbidden},
			{"", []string{"client"}, wtproto.CodeForbidden}, // clients are kept apart
			{"lan", []string{"dat"}, wtproto.CodeForbidden},
			{"lan", []string{"dat", "lan"}, wtproto.CodeNone},
		} {
			c, _ := g.enter(tt.token)
			if got := c.joinOn(tt.names...); got != tt.want {
				t.Errorf("JOIN with token %q for %q: %v, want %v", tt.token, tt.names, got, tt.want)
			}
			// One that was joined is left.
			c.joinOn()
			if got := c.joinOn(tt.names...); got != tt.want {
				t.Errorf("another JOIN with token %q for %q: %v, want %v", tt.token, tt.names, got, tt.want)
			}
			c.lives()
		}
	})
}

// Without names a client gets the gateway's default.
func TestDefaultNetworks(t *testing.T) {
	synctestNetworks(t, Config{DefaultNetworks: []string{"lan", "client"}}, func(t *testing.T, g *bubble, lan, dat *fakeNetwork) {
		a, b := g.connect(), g.connect()
		a.joinOn()
		b.joinOn()
		a.circuit()
		b.circuit()
		synctest.Wait() // the two have met without a network
		if _, all := dat.running(); all > 0 {
			t.Error("dat was joined, which nobody has asked for")
		}
		if now, _ := lan.running(); now != 1 {
			t.Errorf("lan was joined %d times, want once", now)
		}
		b.joinOn("dat")
		pass(time.Second)
		if now, _ := dat.running(); now != 1 {
			t.Errorf("dat was joined %d times, want once", now)
		}
		dat.see(dat.peer("y").sighting())
		b.circuit()
		if a.streams() > 0 {
			t.Error("a was connected with a peer of dat")
		}
	})
}

// requested is a network that shows topics to strangers.
type requested struct{ *fakeNetwork }

func (requested) OnRequest() bool { return true }

// A network that shows topics to strangers is for clients that name it, whatever the gateway's
// configuration is: not for those that name none, and it cannot be made a default.
func TestNetworkOnRequest(t *testing.T) {
	lan, dat := newFakeNetwork(t, "lan"), newFakeNetwork(t, "dat")
	inBubble(t, Config{Networks: []discovery.Network{lan, requested{dat}}}, func(t *testing.T, g *bubble) {
		lan.news, dat.news = make(chan news), make(chan news)
		a, b := g.connect(), g.connect()
		a.joinOn()
		b.joinOn()
		a.circuit()
		b.circuit()
		synctest.Wait() // the two have met without a network
		if _, all := dat.running(); all > 0 {
			t.Error("dat was joined, which nobody has asked for")
		}
		if now, _ := lan.running(); now != 1 {
			t.Errorf("lan was joined %d times, want once", now)
		}
		b.joinOn("dat")
		pass(time.Second)
		if now, _ := dat.running(); now != 1 {
			t.Errorf("dat was joined %d times, want once", now)
		}
	})
	cfg := Config{Networks: []discovery.Network{requested{dat}}, DefaultNetworks: []string{"dat"}}
	if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), `default network "dat" is only for clients that ask for it by name`) {
		t.Errorf("validate = %v", err)
	}
}

// hostNetwork is a network whose peers are of two networks, as those of a libp2p host.
type hostNetwork struct{ *fakeNetwork }

func (hostNetwork) Networks() []string { return []string{"dht", "lan"} }

// A host heard of the endpoints of all clients, also of those that want only another network of it.
func TestNetworkHearsWhatEachEndpointWants(t *testing.T) {
	host := hostNetwork{newFakeNetwork(t, "dht")}
	inBubble(t, Config{Networks: []discovery.Network{host}}, func(t *testing.T, g *bubble) {
		host.news = make(chan news)
		a, b, c := g.connect(), g.connect(), g.connect()
		a.joinOn("lan")
		b.joinOn("dht", "client")
		c.joinOn()
		pass(time.Millisecond)
		s := host.state()
		for name, want := range map[string][]wtproto.EndpointID{
			"lan": {a.endpoint(), c.endpoint()}, "dht": {b.endpoint(), c.endpoint()},
		} {
			got := s.EndpointsFor(name)
			for _, e := range want {
				if !slices.Contains(got, e) || len(got) != len(want) {
					t.Errorf("%s hears of %v, want %v", name, got, want)
				}
			}
		}
		a.leave()
		b.leave()
		pass(time.Millisecond)
		if s := host.state(); s.EndpointNetworks != nil || len(s.Endpoints) != 1 {
			t.Errorf("of a client that wants all networks the host hears %+v", s)
		}
	})
}

// A network that has given up is asked again for who wants it anew, and one that is wanted again
// while it still ends is joined once more, after that.
func TestNetworkIsJoinedAgain(t *testing.T) {
	synctestNetworks(t, Config{Grace: time.Second}, func(t *testing.T, g *bubble, lan, dat *fakeNetwork) {
		a, b := g.connect(), g.connect()
		a.joinOn("lan")
		b.joinOn("dat")
		pass(time.Millisecond)
		dat.tell(news{giveUp: true})
		state := func() wtproto.NetworkState {
			all := g.Topics()[0].Networks
			return all[slices.IndexFunc(all, func(n NetworkReport) bool { return n.Name == "dat" })].State
		}
		if s := state(); s != wtproto.NetworkEnded {
			t.Errorf("dat is %v, want ended", s)
		}
		b.joinOn("dat")
		pass(time.Second)
		if _, all := dat.running(); all != 1 {
			t.Errorf("%d joins of dat, want 1: it has given up", all)
		}
		b.joinOn("lan")
		b.joinOn("dat")
		pass(time.Second)
		if now, all := dat.running(); now != 1 || all != 2 {
			t.Errorf("%d of %d joins of dat go on, want 1 of 2", now, all)
		}
		if s := state(); s != wtproto.NetworkStarting {
			t.Errorf("dat is %v, want starting", s)
		}
		dat.slow = time.Minute // to end
		b.joinOn("lan")
		pass(3 * time.Second)
		b.joinOn("dat")
		for range 4 {
			pass(20 * time.Second)
			awake(a, b)
		}
		if now, all := dat.running(); now != 1 || all != 3 {
			t.Errorf("%d of %d joins of dat go on, want 1 of 3", now, all)
		}
	})
}
