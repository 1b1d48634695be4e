package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// What keeps somebody from being found is told to clients in words, and without addresses unless
// these are shown.
func TestReasonFor(t *testing.T) {
	cause := errors.New("dial tcp 192.0.2.1:80: connect: connection refused")
	remote := func(c wtproto.Code) error { return &wtproto.Error{Code: c, Remote: true, Reason: "MEET was refused"} }
	for _, tc := range []struct {
		name         string
		err          error
		show         bool
		words, whole string // whole is contained in what operators see
	}{
		{"no error", nil, false, "", ""},
		{"its reason", &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "open the port", Err: cause}, false, "open the port", "192.0.2.1:80"},
		{"within another one", fmt.Errorf("p2p: 192.0.2.1: %w", wtproto.Errorf(wtproto.CodeBusy, "wait")), false, "wait", "p2p: 192.0.2.1: BUSY: wait"},
		{
			"addresses", wtproto.Errorf(wtproto.CodeForbidden, "192.0.2.1:80 is in 192.0.2.0/24, ask (fe80::1%%eth0) or [::1]:2; tcp://host:1 or /ip4/192.0.2.1/tcp/1."), false,
			"an address is in a range, ask (an address) or an address; an address or an address.", "192.0.2.1:80",
		},
		{"addresses that are shown", wtproto.Errorf(wtproto.CodeForbidden, "192.0.2.1:80 is our own"), true, "192.0.2.1:80 is our own", "192.0.2.1:80"},
		{"no addresses", wtproto.Errorf(wtproto.CodeForbidden, "port 80 of 3 at 12:30, a/b, e.g."), false, "port 80 of 3 at 12:30, a/b, e.g.", "12:30"},
		{"declined", remote(wtproto.CodeDeclined), false, "the peer wants no circuit with this client: join anew, on either side, to ask again", "DECLINED (remote): MEET was refused"},
		{"not on the topic", remote(wtproto.CodeForbidden), false, "the host is not on the topic, or may not be: join the topic there too, by the same name", "FORBIDDEN (remote)"},
		{"no room", remote(wtproto.CodeBusy), false, "the peer has no room for more: raise its --max-peers, or wait until another one leaves", "BUSY (remote)"},
		{"a code of a program", remote(wtproto.CodeApplication + 1), false, "0x101", "0x101"},
		{"no words", &wtproto.Error{Code: wtproto.CodePeerGone}, false, "the connection with the peer was lost: it is tried again", "PEER_GONE"},
		{"no code", cause, false, "the gateway has a fault: its log and /api/topics say more", cause.Error()},
		{"long", wtproto.Errorf(wtproto.CodeInternal, "%s", strings.Repeat("é", 600)), false, strings.Repeat("é", 128), "INTERNAL: éé"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := reasonFor(tc.err, tc.show); got != tc.words {
				t.Errorf("clients are told %q, want %q", got, tc.words)
			}
			if got := detail(tc.err); !strings.Contains(got, tc.whole) || len(got) > 1024 {
				t.Errorf("operators are told %q, want %q in it", got, tc.whole)
			}
		})
	}
}

// Each state in which no peer is found has its reason in STATUS and at /api/topics. The reason
// goes when the state is over.
func TestReasons(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		dead := g.lan.peer("1")
		dead.answers(func(context.Context) error {
			return fmt.Errorf("lan: %w", &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "check the machine", Err: errors.New("192.0.2.1")})
		})
		var s wtproto.Status
		failing := fmt.Errorf("seed: %w", wtproto.Errorf(wtproto.CodePeerUnreachable, "configure another seed"))
		unseen := discovery.Sighting{Note: wtproto.Errorf(wtproto.CodePeerUnreachable, "forward the port")}
		for i, step := range []struct {
			news         news
			words, whole string
		}{
			{news{}, "", ""},
			{news{sighting: unseen}, "forward the port", "forward the port"},
			{news{sighting: discovery.Sighting{Queued: true}}, reasonQueued, reasonQueued},
			{news{err: failing}, "configure another seed", failing.Error()},
			{news{}, "", ""},
			{news{sighting: dead.sighting()}, "check the machine", "192.0.2.1"},
			{news{sighting: discovery.Sighting{Peer: dead.sighting().Peer, Gone: true}}, "", ""},
			{news{giveUp: true}, reasonEnded, reasonEnded},
		} {
			g.lan.tell(step.news)
			if next := c.status(); next.Topic != (wtproto.Topic{}) { // else nothing has changed
				s = next
			}
			if got := s.Networks[0].Reason; got != step.words {
				t.Errorf("step %d: STATUS says %q, want %q", i, got, step.words)
			}
			r := g.Topics()[0]
			if got := r.Networks[0].Reason; !strings.Contains(got, step.whole) || (got == "") != (step.words == "") {
				t.Errorf("step %d: reported %q, want %q in it", i, got, step.whole)
			}
			if len(r.Peers) == 1 && r.Peers[0].Reason != r.Networks[0].Reason {
				t.Errorf("step %d: the peer has the reason %q, want that of the network", i, r.Peers[0].Reason)
			}
		}
	})
}

// Clients that are kept apart once counted as known, and nobody was told why they never met.
func TestReasonIsolated(t *testing.T) {
	inBubble(t, Config{IsolateClients: true}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		s := b.status()
		if n := s.Networks[len(s.Networks)-1]; s.Known != 0 || n != isolated {
			t.Errorf("STATUS %+v, want nobody known, and %+v", s, isolated)
		}
		if all := g.Topics()[0].Networks; all[len(all)-1].Reason != reasonIsolated {
			t.Errorf("reported %+v, want why", all)
		}
	})
}
