package server

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A join is answered whatever the networks do, and the circuits of one network need no other.
func TestSilentNetworkDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent, lan := newFakeNetwork(t, "dht"), newFakeNetwork(t, "lan")
		g := newBubble(t, Config{Networks: []discovery.Network{silent, lan}})
		start := time.Now()
		c := g.connect()
		c.join(announceAndLookUp, 0)
		p := lan.peer("1")
		lan.see(p.sighting())
		talk(t, c.circuit(), p.circuit())
		if took := time.Since(start); took != 0 {
			t.Errorf("joined and connected after %v, want at once", took)
		}
		s := c.status()
		want := []wtproto.NetworkStatus{
			{Name: "dht", State: wtproto.NetworkStarting},
			{Name: "lan", State: wtproto.NetworkSearching, Found: 1},
		}
		if !slices.Equal(s.Networks, want) || s.Known != 1 || s.Connected != 1 || s.More {
			t.Errorf("STATUS %+v, want networks %+v, 1 known and connected", s, want)
		}
	})
}

// A network may bring peers that are reached by another.
func TestPeerOfAnotherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dht, lan := newFakeNetwork(t, "dht"), newFakeNetwork(t, "lan")
		g := newBubble(t, Config{Networks: []discovery.Network{dht, lan}})
		c := g.connect()
		c.join(announceAndLookUp, 0)
		lan.see(dht.peer("1").sighting())
		if x := c.circuit(); x.Network != "dht" {
			t.Errorf("told %+v, want network dht", x.Peer)
		}
		if s := c.status(); s.Networks[0].Found != 1 || s.Networks[1].Found != 0 {
			t.Errorf("STATUS %+v, want the peer found on dht", s)
		}
	})
}

// A network that has much to do says so; whoever finds us meanwhile changes nothing of it.
func TestNetworkQueued(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		var last wtproto.NetworkStatus
		for i, step := range []struct {
			news  news
			state wtproto.NetworkState
			found uint64
		}{
			{news{sighting: discovery.Sighting{Queued: true}}, wtproto.NetworkQueued, 0},
			{news{sighting: g.lan.peer("1").sighting()}, wtproto.NetworkQueued, 1},
			{news{err: errors.New("no way")}, wtproto.NetworkFailing, 1},
			{news{sighting: discovery.Sighting{Queued: true}}, wtproto.NetworkQueued, 1},
			{news{}, wtproto.NetworkSearching, 1},
			{news{sighting: g.lan.peer("2").sighting()}, wtproto.NetworkSearching, 2},
		} {
			g.lan.tell(step.news)
			pass(2 * time.Second)
			if s := c.status(); s.Topic != (wtproto.Topic{}) {
				last = s.Networks[0]
			}
			if last.State != step.state || last.Found != step.found {
				t.Errorf("step %d: STATUS %+v, want %v and %d found", i, last, step.state, step.found)
			}
			if r := g.Topics()[0].Networks[0]; r.State != step.state {
				t.Errorf("step %d: reported %+v, want %v", i, r, step.state)
			}
		}
	})
}

func TestNetworkFailing(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		unreachable := fmt.Errorf("seed: %w", wtproto.Errorf(wtproto.CodePeerUnreachable, "nobody"))
		for _, step := range []struct {
			err    error // nil says that it works
			state  wtproto.NetworkState
			code   wtproto.Code
			text   string
			logged int
		}{
			{nil, wtproto.NetworkSearching, wtproto.CodeNone, "", 0},
			{unreachable, wtproto.NetworkFailing, wtproto.CodePeerUnreachable, unreachable.Error(), 1},
			{unreachable, wtproto.NetworkFailing, wtproto.CodePeerUnreachable, unreachable.Error(), 1},
			{errors.New("something else"), wtproto.NetworkFailing, wtproto.CodeInternal, "something else", 2},
			{nil, wtproto.NetworkSearching, wtproto.CodeNone, "", 2},
			{unreachable, wtproto.NetworkFailing, wtproto.CodePeerUnreachable, unreachable.Error(), 2}, // not twice a minute
		} {
			g.lan.tell(news{err: step.err})
			s := c.status()
			if s.Topic != (wtproto.Topic{}) { // else nothing has changed
				if n := s.Networks[0]; n.State != step.state || n.LastCode != step.code {
					t.Errorf("after %v: STATUS %+v, want %v with %v", step.err, n, step.state, step.code)
				}
			}
			if r := g.Topics()[0].Networks[0]; r.State != step.state || r.LastCode != step.code || r.Reason != step.text {
				t.Errorf("after %v: reported %+v, want %v with %v", step.err, r, step.state, step.code)
			}
			if n := g.log.count("network failing"); n != step.logged {
				t.Errorf("after %v: logged %d times, want %d", step.err, n, step.logged)
			}
		}
		g.lan.tell(news{giveUp: true})
		if s := c.status(); s.Networks[0].State != wtproto.NetworkEnded {
			t.Errorf("STATUS %+v, want ended", s)
		}
	})
}

// STATUS comes when it changes, and at most once a second.
func TestStatusOnceASecond(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour, PingAfter: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(0, 0)
		var at []time.Time
		var known []uint64
		go func() {
			for n := range 100 {
				g.lan.news <- news{sighting: g.lan.peer(string(rune(1000 + n))).sighting()}
				<-time.After(50 * time.Millisecond)
			}
		}()
		for len(known) == 0 || known[len(known)-1] < 100 {
			known = append(known, expect[wtproto.Status](c).Known)
			at = append(at, time.Now())
		}
		for i := range at[1:] {
			if gap := at[i+1].Sub(at[i]); gap != time.Second {
				t.Errorf("STATUS %d after %v, want 1s", i+1, gap)
			}
		}
		if len(at) != 6 {
			t.Errorf("%d STATUS over 5s, want 6, with %v known", len(at), known)
		}
		// What does not change is not told again.
		g.lan.see(g.lan.peer(string(rune(1000))).sighting())
		pass(time.Minute)
		if n := c.control.unread(); n != 0 {
			t.Errorf("%d bytes of STATUS without news", n)
		}
	})
}

// A sighting says how long it holds.
func TestSightingsExpire(t *testing.T) {
	inBubble(t, Config{Idle: 10 * time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinAnnounce, 0) // and dials nobody
		sight := func(id string, holds time.Duration) {
			s := g.lan.peer(id).sighting()
			s.Holds = holds
			g.lan.see(s)
		}
		remembered := func() (ids string) {
			for _, p := range g.Topics()[0].Peers {
				ids += string(p.ID)
			}
			return ids
		}
		sight("1", 90*time.Second)
		sight("2", 10*time.Minute)
		sight("3", -1)
		sight("4", 0) // says nothing of it
		pass(60 * time.Second)
		sight("1", 90*time.Second)
		for _, step := range []struct {
			pass time.Duration
			want string // hexadecimal
		}{
			{90*time.Second - 1, "313233"},
			{1, "3233"},
			{450*time.Second - 1, "3233"},
			{1, "33"},
			{50 * time.Minute, "33"},
		} {
			pass(step.pass)
			if got := remembered(); got != step.want {
				t.Errorf("after %v: peers %s remembered, want %s", step.pass, got, step.want)
			}
		}
		sight("3", time.Minute)
		pass(time.Minute)
		if got := remembered(); got != "" {
			t.Errorf("peers %s remembered, want none", got)
		}
	})
}

func TestGoneIsForgotten(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, x, p, y := g.open("1")
		g.lan.see(p.gone())
		talk(t, x, y) // circuits live on
		if s := c.status(); s.Known != 0 || s.Connected != 1 {
			t.Errorf("STATUS %+v, want 0 known, 1 connected", s)
		}
		y.lose()
		pass(10 * time.Second)
		if n := len(p.dialed()); n != 1 {
			t.Errorf("a peer that has left was dialed %d times, want once", n)
		}
		g.lan.see(p.gone(), p.sighting())
		if d := p.dialed(); len(d) != 2 || !d[1].at.Equal(time.Now()) {
			t.Errorf("a peer that has come back was dialed at %v, want at once", d)
		}
	})
}

// A peer that has left and come back while its circuit went on is dialed again once that is lost,
// though all were looked at meanwhile and it had its circuit then.
func TestBackBeforeItsCircuitIsLost(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, _, p, y := g.open("1")
		g.lan.see(p.gone(), p.sighting())
		g.lan.see(g.lan.peer("2").sighting())
		c.circuit() // with the other one: there is nobody else to look for
		synctest.Wait()
		y.lose()
		pass(10 * time.Second)
		if n := len(p.dialed()); n != 2 {
			t.Errorf("the peer was dialed %d times, want again after the loss", n)
		}
	})
}

// A peer that leaves while it is being dialed is dialed for nobody else.
func TestGoneWhileDialed(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		cs := g.joiners(3)
		p := g.lan.peer("1")
		release := p.waits()
		g.lan.see(p.sighting(), p.gone())
		release()
		pass(10 * time.Second)
		streams := 0
		for _, c := range cs {
			streams += c.streams()
		}
		if n := len(p.dialed()); n != 1 || streams != 1 {
			t.Errorf("%d dials and %d circuits, want the one that was in progress", n, streams)
		}
	})
}

func TestPeersRemembered(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinAnnounce, 0)
		for n := range 1100 {
			g.lan.see(g.lan.peer(string(rune(1000 + n))).sighting())
		}
		if s := c.status(); s.Known != 1024 || !s.More {
			t.Errorf("STATUS: %d known, more %v, want 1024 and more", s.Known, s.More)
		}
		g.lan.see(g.lan.peer(string(rune(1000))).gone())
		if s := c.status(); s.Known != 1023 || s.More {
			t.Errorf("STATUS: %d known, more %v, want 1023 and no more", s.Known, s.More)
		}
		more := g.lan.peer("a").sighting()
		more.More = true
		g.lan.see(g.lan.peer(string(rune(1001))).gone(), more)
		if s := c.status(); s.Known != 1023 || !s.More {
			t.Errorf("STATUS: %d known, more %v, want 1023 and more, as a host says", s.Known, s.More)
		}
	})
}

// A topic stays on its networks for 15 s after its last subscriber and its last circuit.
func TestGrace(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		start := time.Now()
		c.join(announceAndLookUp, 0)
		pass(time.Second)
		c.leave()
		if s := g.lan.state(); !s.Announce || !s.LookUp || len(s.Endpoints) != 0 {
			t.Errorf("in the grace time the network is told %+v, want the same without endpoints", s)
		}
		pass(15*time.Second - 1)
		c.join(wtproto.JoinLookUp, 0) // just in time
		if s := g.lan.state(); s.Announce || !s.LookUp || len(s.Endpoints) != 1 {
			t.Errorf("the network is told %+v", s)
		}
		pass(time.Second)
		c.leave()
		left := time.Now()
		pass(15 * time.Second)
		joins := g.lan.all()
		if len(joins) != 1 || joins[0].topic != wowcool || !joins[0].began.Equal(start) || joins[0].ended.Sub(left) != 15*time.Second {
			t.Errorf("joins %+v, want one from %v until 15s after %v", joins, start, left)
		}
		if n := len(g.Topics()); n != 0 {
			t.Errorf("%d topics are left", n)
		}
		c.join(announceAndLookUp, 0)
		if n := len(g.lan.all()); n != 2 {
			t.Errorf("joined %d times, want again", n)
		}
	})
}

func TestGraceBeginsAfterLastCircuit(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, x, _, y := g.open("1")
		c.leave()
		pass(10 * time.Minute)
		talk(t, x, y)
		reset(x, wtproto.CodeApplication)
		synctest.Wait()
		ended := time.Now()
		pass(time.Minute)
		if joins := g.lan.all(); len(joins) != 1 || joins[0].ended.Sub(ended) != 15*time.Second {
			t.Errorf("joins %+v, want one that ended 15s after %v", joins, ended)
		}
	})
}

// The networks learn how many places there are for peers of other hosts: all that clients of this
// gateway cannot take, and of each member a quarter at least. The number does not change with each
// circuit, since that would wake networks for nothing.
func TestWant(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			if s := g.lan.state(); s.Want != n {
				t.Errorf("%d are wanted, want %d", s.Want, n)
			}
		}
		a, b, c, d := g.connect(), g.connect(), g.connect(), g.connect()
		a.join(announceAndLookUp, 8)
		want(8)
		presence := g.lan.all()[0].presence
		_, changed := presence.State()
		p := g.lan.peer("1")
		g.lan.see(p.sighting())
		reset(a.circuit(), wtproto.CodeApplication)
		pass(time.Minute)
		select {
		case <-changed:
			t.Error("a circuit came and went, and the network was woken")
		default:
		}
		b.join(wtproto.JoinLookUp, 4)
		want(7 + 3)
		c.join(announceAndLookUp, 1)
		want(6 + 2 + 1)
		d.join(0, 4) // nobody
		want(5 + 1 + 1)
		c.leave()
		a.join(announceAndLookUp, 64)
		want(62 + 2)
		b.leave()
		d.leave()
		a.leave()
		want(64) // in the grace time
	})
	inBubble(t, Config{IsolateClients: true, DefaultPeers: -1}, func(t *testing.T, g *bubble) {
		for i := range 3 {
			g.connect().join(announceAndLookUp, uint64(i)*8)
		}
		if s := g.lan.state(); s.Want != unlimitedPlaces+8+16 {
			t.Errorf("%d are wanted, want all places", s.Want)
		}
	})
}

// The networks learn for whom a topic is: one session of each principal that others may meet. In
// the grace time it is for nobody.
func TestPayers(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			s := g.lan.state()
			if len(s.For) != n {
				t.Errorf("%d pay, want %d", len(s.For), n)
			}
			seen := make(map[any]bool)
			for _, p := range s.For {
				if len(p) != 2 || seen[p[0]] {
					t.Errorf("payers %v, want an account and a session each, of different accounts", s.For)
				}
				seen[p[0]] = true
			}
		}
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 8)
		want(1)
		b.join(announceAndLookUp, 8) // of the same address
		want(1)
		a.leave()
		want(1)
		var others []*fakeClient
		for i := range discovery.MaxPayers + 2 {
			l := newFakeLink()
			l.from = net.IPv4(192, 0, 2, byte(i))
			c := g.dialOver(l)
			c.hello()
			expect[wtproto.Welcome](c)
			c.join(announceAndLookUp, 8)
			others = append(others, c)
		}
		want(discovery.MaxPayers)
		b.leave()
		for _, c := range others {
			c.leave()
		}
		want(0)
	})
}
