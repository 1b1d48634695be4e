package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Why a client that is connected with nobody finds nobody.
func TestProspects(t *testing.T) {
	both := prospects{announces: true, looksUp: true}
	announces, looksUp := prospects{announces: true}, prospects{looksUp: true}
	with := func(p prospects, change func(*prospects)) prospects {
		change(&p)
		return p
	}
	others := func(p prospects, o roles) prospects {
		p.others = o
		return p
	}
	for _, tt := range []struct {
		name          string
		p             prospects
		client, peers string
	}{
		{"nobody else", both, reasonAlone, ""},
		{"nobody else yet", with(both, func(p *prospects) { p.early = true }), "", ""},
		{"nobody else, and no network", with(both, func(p *prospects) { p.nowhere = true }), reasonAloneHere, ""},
		{"nobody else, it only looks up", looksUp, reasonNoAnnouncer, ""},
		{"nobody else, it only announces", announces, reasonNoSearcher, ""},
		{"nobody else who does anything", others(both, roles{neither: 2}), reasonAlone, reasonBothAnnounce},
		{"others elsewhere", with(both, func(p *prospects) { p.another = true }), "", ""},
		{"others with tokens", with(both, func(p *prospects) { p.barred = 1 }), reasonOthersLeftOut, ""},
		{"neither", others(prospects{}, roles{both: 1}), reasonNeither, ""},
		{"both sides only look up", others(looksUp, roles{lookUp: 3}), reasonBothLookUp, reasonBothLookUp},
		{"both sides only announce", others(announces, roles{announce: 3, neither: 1}), reasonBothAnnounce, reasonBothAnnounce},
		{"its token forbids to announce", others(with(looksUp, func(p *prospects) { p.denied = true }), roles{lookUp: 1}), reasonMayNotTell, reasonMayNotTell},
		{"its token forbids to look up", others(with(announces, func(p *prospects) { p.denied = true }), roles{announce: 1}), reasonMayNotLookUp, reasonMayNotLookUp},
		{"no place", with(others(both, roles{both: 1}), func(p *prospects) { p.full = true }), reasonFull, reasonFull},
		{"too many dials failed", with(others(both, roles{both: 1}), func(p *prospects) { p.resting, p.tried = true, 1 }), "", reasonResting},
		{"others without room", others(both, roles{both: 2, lookUp: 1}), reasonOthersGo, ""},
		{"all have ended", with(others(both, roles{both: 2}), func(p *prospects) { p.tried, p.ended = 2, 2 }), reasonMetAll, reasonMetAll},
		{"one of two has ended", with(others(both, roles{both: 2}), func(p *prospects) { p.tried, p.ended = 2, 1 }), "", ""},
		{"its own id", with(others(both, roles{both: 1}), func(p *prospects) { p.itself = 1 }), reasonOthersGo, reasonSame},
		{"others only announce, to who watches", with(others(looksUp, roles{announce: 2}), func(p *prospects) { p.tried, p.declined = 2, 2 }), reasonOthersAnnounce, ""},
		{"others only look up, to who watches", with(others(announces, roles{lookUp: 2}), func(p *prospects) { p.tried, p.declined = 2, 2 }), reasonOthersLookUp, ""},
		{"one other, to who watches", with(others(looksUp, roles{announce: 1}), func(p *prospects) { p.tried, p.declined = 1, 1 }), "", ""},
		{"a server is just being met", with(others(looksUp, roles{announce: 2}), func(p *prospects) { p.tried = 2 }), "", ""},
		{"a server was met", with(others(looksUp, roles{announce: 2}), func(p *prospects) { p.tried, p.ended = 2, 2 }), reasonMetAll, reasonMetAll},
		{"a client was met", with(others(announces, roles{lookUp: 1}), func(p *prospects) { p.tried, p.ended = 1, 1 }), reasonMetAll, reasonMetAll},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.p.client(); got != tt.client || len(got) > wtproto.MaxNetworkReason {
				t.Errorf("of clients: %q, want %q", got, tt.client)
			}
			if got := tt.p.peers(); got != tt.peers || len(got) > wtproto.MaxNetworkReason {
				t.Errorf("of peers: %q, want %q", got, tt.peers)
			}
		})
	}
}

// reasonOn returns what STATUS of c says of a network, "absent" if it is not in it.
func (c *fakeClient) reasonOn(network string) string {
	c.t.Helper()
	for _, n := range c.lastStatus().Networks {
		if n.Name == network {
			return n.Reason
		}
	}
	return "absent"
}

// lastStatus is status, of which nothing may have changed.
func (c *fakeClient) lastStatus() wtproto.Status {
	c.t.Helper()
	if s := c.status(); s.Topic != (wtproto.Topic{}) {
		c.seen = s
	}
	return c.seen
}

// Two clients that both only looked up, or both only announced, never met, and nothing said why.
func TestReasonsOfBothSides(t *testing.T) {
	for _, tt := range []struct {
		name          string
		flags         wtproto.JoinFlags
		alone, words  string
		watcher       wtproto.JoinFlags // who asks what the matter is, and takes no circuit
		told, foundBy string
	}{
		{"look up", wtproto.JoinLookUp, reasonNoAnnouncer, reasonBothLookUp, wtproto.JoinAnnounce, reasonOthersLookUp, reasonBothLookUp},
		{"announce", wtproto.JoinAnnounce, reasonNoSearcher, reasonBothAnnounce, wtproto.JoinLookUp, reasonOthersAnnounce, reasonBothAnnounce},
	} {
		inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
			a := g.connect()
			a.join(tt.flags, 0)
			if got := a.reasonOn(wtproto.NetworkClient); got != tt.alone && got != "absent" {
				t.Errorf("%s: alone: %q", tt.name, got)
			}
			if got := a.reasonOn(wtproto.NetworkClient); got != tt.alone {
				t.Errorf("%s: alone: %q, want %q", tt.name, got, tt.alone)
			}
			b := g.connect()
			b.join(tt.flags, 0)
			for _, c := range []*fakeClient{a, b} {
				if got := c.reasonOn(wtproto.NetworkClient); got != tt.words {
					t.Errorf("%s: %q, want %q", tt.name, got, tt.words)
				}
			}
			reports := g.Topics()[0].Networks
			if got := reports[len(reports)-1]; got.Name != wtproto.NetworkClient || got.Reason != "2 of 2 clients: "+tt.words {
				t.Errorf("%s: operators are told %+v", tt.name, got)
			}
			w := g.connect() // swarm status
			w.join(tt.watcher|wtproto.JoinOfferOnly, 0)
			for range 2 {
				w.send(wtproto.Decline{Circuit: expect[wtproto.Peer](w).Circuit, Code: wtproto.CodeDeclined})
			}
			if got := w.reasonOn(wtproto.NetworkClient); got != tt.told {
				t.Errorf("%s: who watches is told %q, want %q", tt.name, got, tt.told)
			}
			p := g.lan.peer("p")
			s := p.sighting()
			s.PeerFoundUs = tt.flags == wtproto.JoinLookUp
			g.lan.see(s)
			if got := a.reasonOn("lan"); got != tt.foundBy {
				t.Errorf("%s: of a peer on the LAN: %q, want %q", tt.name, got, tt.foundBy)
			}
			b.join(announceAndLookUp, 0)
			if got := b.reasonOn(wtproto.NetworkClient); got != "absent" {
				t.Errorf("%s: one does both, and is told %q", tt.name, got)
			}
		})
	}
}

// A token that leaves networks out made them vanish from STATUS, without a word.
func TestReasonsOfTokens(t *testing.T) {
	grants := grants{
		"lan": {Networks: []string{"lan"}}, "client": {Networks: []string{wtproto.NetworkClient}},
		"quiet": {DenyAnnounce: true}, "": {},
	}
	inBubble(t, Config{Authorizer: grants, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		free, _ := g.enter("")
		free.join(announceAndLookUp, 0)
		lan, _ := g.enter("lan")
		lan.join(announceAndLookUp, 0)
		if got := lan.reasonOn(wtproto.NetworkClient); got != reasonLeftOut {
			t.Errorf("a token without clients: %q", got)
		}
		if got := free.reasonOn(wtproto.NetworkClient); got != reasonOthersLeftOut {
			t.Errorf("beside a token without clients: %q", got)
		}
		client, _ := g.enter("client")
		client.join(announceAndLookUp, 0)
		if got := client.reasonOn("lan"); got != reasonLeftOut {
			t.Errorf("a token without the LAN: %q", got)
		}
		if got := client.reasonOn(wtproto.NetworkClient); got != "absent" {
			t.Errorf("two that may meet: %q", got)
		}
		free.leave()
		client.leave()
		lan.leave()
		for range 2 {
			quiet, _ := g.enter("quiet")
			quiet.join(announceAndLookUp, 0)
			free = quiet
		}
		if got := free.reasonOn(wtproto.NetworkClient); got != reasonMayNotTell {
			t.Errorf("tokens that forbid to announce: %q", got)
		}
	})
}

// A client that has no circuits left is told so, and the observer once, and not with each second
// that it waits.
func TestReasonNoPlace(t *testing.T) {
	refused := 0
	observer := Observer{Refused: func(l LimitName, _ wtproto.Code) {
		if l == LimitCircuitsSession {
			refused++
		}
	}}
	inBubble(t, Config{MaxCircuits: 1, Idle: time.Hour, Observer: &observer}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		p := g.lan.peer("p")
		p.answers(func(context.Context) error { return nil })
		g.lan.see(p.sighting())
		pass(time.Second)
		other := wtproto.TopicFromName("another")
		c.send(wtproto.Join{Topic: other, Flags: announceAndLookUp})
		g.connect().send(wtproto.Join{Topic: other, Flags: announceAndLookUp})
		pass(2 * lonelyAfter)
		c.allPending()
		pass(time.Minute)
		if refused != 1 {
			t.Errorf("the limit was met %d times in a minute, want once", refused)
		}
		for _, topic := range g.Topics() {
			if last := topic.Networks[len(topic.Networks)-1]; topic.Topic == other && !strings.Contains(last.Reason, reasonFull) {
				t.Errorf("operators are told %+v, want %q", last, reasonFull)
			}
		}
	})
}

// Circuits that have ended are not made again until one side joins anew, and what was to be done
// about it was not said.
func TestReasonMetAll(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		x, y := a.circuit(), b.circuit()
		x.CloseWrite()
		y.CloseWrite()
		for _, c := range []*fakeClient{a, b} {
			if got := c.reasonOn(wtproto.NetworkClient); got != reasonMetAll {
				t.Errorf("%q, want %q", got, reasonMetAll)
			}
		}
		a.leave()
		a.join(announceAndLookUp, 0)
		for _, c := range []*fakeClient{a, b} {
			if got := c.reasonOn(wtproto.NetworkClient); got != "absent" {
				t.Errorf("they are connected, and told %q", got)
			}
		}
	})
}

// Two clients with one secret at two gateways are never connected.
func TestReasonSameSecret(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		e := c.endpoint()
		g.lan.see(discovery.Sighting{
			Peer: discovery.Peer{Network: "lan", ID: "host" + string(e[:]), Client: true}, Holds: time.Minute,
		})
		g.lan.see(discovery.Sighting{
			Peer: discovery.Peer{Network: "lan", ID: "host" + string(e[:]), Client: true}, Holds: time.Minute, PeerFoundUs: true,
		})
		if got := c.reasonOn("lan"); got != reasonSame {
			t.Errorf("%q, want %q", got, reasonSame)
		}
	})
}
