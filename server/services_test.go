package server

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// locatedStream is the stream of a service that is somewhere.
type locatedStream struct {
	fakePeerStream
	at netip.AddrPort
}

func (s locatedStream) Remote() netip.AddrPort { return s.at }

// at returns the sighting of a service that is known to be at places and answers at answers.
func (p *fakePeer) at(src discovery.Source, answers string, places ...string) discovery.Sighting {
	p.Service = &discovery.Service{Source: src}
	for _, a := range places {
		p.Service.At = append(p.Service.At, netip.MustParseAddrPort(a))
	}
	s := p.sighting()
	s.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
		stream, err := p.dial(ctx, from)
		if err != nil {
			return nil, err
		}
		return locatedStream{stream.(fakePeerStream), netip.MustParseAddrPort(answers)}, nil
	}
	return s
}

// fixedNetwork is a fakeNetwork that knows its peers beforehand.
type fixedNetwork struct {
	*fakeNetwork
	peers []discovery.Sighting
}

func (n *fixedNetwork) Peers(wtproto.Topic) []discovery.Sighting { return n.peers }

// twoNetworks runs test with clients of a gateway whose topic has the network "static" and "lan".
func twoNetworks(t *testing.T, test func(t *testing.T, g *bubble, static *fixedNetwork, join func() *fakeClient)) {
	synctest.Test(t, func(t *testing.T) {
		static := &fixedNetwork{fakeNetwork: newFakeNetwork(t, "static")}
		g := besideLAN(t, static)
		test(t, g, static, func() *fakeClient {
			c := g.connect()
			c.join(wtproto.JoinLookUp, 0)
			return c
		})
	})
}

// besideLAN returns a gateway whose topic has n and "lan".
func besideLAN(t *testing.T, n discovery.Network) *bubble {
	lan := newFakeNetwork(t, "lan")
	g := newBubble(t, Config{Networks: []discovery.Network{lan, n}, Idle: time.Hour, ShowAddresses: true})
	g.lan = lan
	return g
}

const (
	here  = "10.1.0.5:80"
	there = "10.1.0.6:80"
)

// A TCP service that the operator wrote down and that is on the LAN too was two peers: each client
// was connected to it twice.
func TestServiceOfTwoNetworksIsOne(t *testing.T) {
	t.Run("by its address", func(t *testing.T) {
		twoNetworks(t, func(t *testing.T, g *bubble, static *fixedNetwork, join func() *fakeClient) {
			s, l := static.peer("s"), g.lan.peer("l")
			static.peers = []discovery.Sighting{s.at(discovery.SourceConfigured, here, here)}
			a := join()
			g.lan.see(l.at(discovery.SourceLAN, here, here, "[fd01::5]:80"))
			for _, c := range []*fakeClient{a, join()} {
				if x := c.circuit(); x.Network != "static" || x.Address != "tcp://"+here {
					t.Errorf("told %+v", x.Peer)
				}
			}
			pass(time.Minute)
			if n, m := len(s.dialed()), len(l.dialed()); n != 2 || m != 0 {
				t.Errorf("dialed %d and %d times, want 2 and 0", n, m)
			}
			if st := a.status(); st.Known != 2 {
				t.Errorf("%d endpoints known, want the service and the other client", st.Known)
			}
			for _, p := range g.Topics()[0].Peers {
				if want := map[string]string{"static": "", "lan": "73"}[p.Network]; p.SameAs != want {
					t.Errorf("reported %+v, want same_as %q", p, want)
				}
			}
		})
	})
	t.Run("by its name", func(t *testing.T) {
		twoNetworks(t, func(t *testing.T, g *bubble, static *fixedNetwork, join func() *fakeClient) {
			s, l := static.peer("s"), g.lan.peer("l")
			static.peers = []discovery.Sighting{s.at(discovery.SourceConfigured, here)} // where that is nobody knows before
			a := join()
			if x := a.circuit(); x.Address != "tcp://"+here {
				t.Errorf("told %+v", x.Peer)
			}
			g.lan.see(l.at(discovery.SourceLAN, here, here))
			join().circuit()
			pass(time.Minute)
			if n, m := len(s.dialed()), len(l.dialed()); n != 2 || m != 0 {
				t.Errorf("dialed %d and %d times, want 2 and 0", n, m)
			}
		})
	})
	t.Run("by two names", func(t *testing.T) {
		twoNetworks(t, func(t *testing.T, g *bubble, static *fixedNetwork, join func() *fakeClient) {
			s, u := static.peer("s"), static.peer("u")
			static.peers = []discovery.Sighting{s.at(discovery.SourceConfigured, here), u.at(discovery.SourceConfigured, here)}
			a := join()
			pass(time.Minute)
			if n := a.streams(); n != 1 {
				t.Fatalf("%d circuits, want one", n)
			}
			b := join()
			pass(time.Minute)
			if n, m := b.streams(), len(s.dialed())+len(u.dialed()); n != 1 || m > 3 {
				t.Errorf("%d circuits and %d dials, want one and at most 3", n, m)
			}
		})
	})
}

// What somebody on the LAN says keeps nobody from a static peer.
func TestStaticServiceCannotBeTakenOver(t *testing.T) {
	twoNetworks(t, func(t *testing.T, g *bubble, static *fixedNetwork, join func() *fakeClient) {
		s, l := static.peer("s"), g.lan.peer("l")
		static.peers = []discovery.Sighting{s.at(discovery.SourceConfigured, here, here)}
		a := join()
		l.refuses(wtproto.CodePeerUnreachable)
		g.lan.see(l.at(discovery.SourceLAN, there, here, there), l.gone(), l.at(discovery.SourceLAN, there, there, here))
		x := a.circuit()
		g.lan.see(l.gone())
		talk(t, x, s.circuit())
		// The liar answers elsewhere, where it is a peer of its own once the static one fails.
		s.refuses(wtproto.CodePeerUnreachable)
		l.answers(nil)
		g.lan.see(l.at(discovery.SourceLAN, there, here, there))
		b := join()
		if y := b.circuit(); y.Network != "lan" || y.Address != "tcp://"+there {
			t.Errorf("told %+v, want the one of the LAN", y.Peer)
		}
		s.answers(nil)
		if y := b.circuit(); y.Network != "static" {
			t.Errorf("told %+v, want the static one too", y.Peer)
		}
	})
}

// Once the trusted peer is not known any more, or its circuit has ended, the one of the LAN counts.
func TestServiceOfTheLANTakesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trusted := newFakeNetwork(t, "trusted")
		g := besideLAN(t, trusted)
		s, l := trusted.peer("s"), g.lan.peer("l")
		a := g.connect()
		a.join(wtproto.JoinLookUp, 0)
		trusted.see(s.at(discovery.SourceConfigured, here, here))
		x, y := a.circuit(), s.circuit()
		g.lan.see(l.at(discovery.SourceLAN, here, here))
		trusted.see(s.gone())
		pass(time.Minute)
		if n := len(l.dialed()); n != 0 { // the circuit lives on
			t.Errorf("dialed %d times where the client is connected", n)
		}
		talk(t, x, y)
		reset(y, wtproto.CodePeerReset)
		if x := a.circuit(); x.Network != "lan" {
			t.Errorf("told %+v, want the one of the LAN", x.Peer)
		}
	})
}

// A service on the LAN that moves is shown where it is.
func TestAddressOfServiceIsTheOneConnectedTo(t *testing.T) {
	twoNetworks(t, func(t *testing.T, g *bubble, _ *fixedNetwork, join func() *fakeClient) {
		l := g.lan.peer("l")
		a := join()
		g.lan.see(l.at(discovery.SourceLAN, there, here, there))
		if x := a.circuit(); x.Address != "tcp://"+there {
			t.Errorf("told %q, want %s", x.Address, there)
		}
		if r := g.Topics()[0].Peers[0]; r.Address != "tcp://"+there || r.Seen != l.Address {
			t.Errorf("reported %+v", r)
		}
		g.lan.see(l.at(discovery.SourceLAN, here, here))
		if r := g.Topics()[0].Peers[0]; r.Address != l.Address || r.Seen != "" {
			t.Errorf("reported %+v once it has moved", r)
		}
	})
}
