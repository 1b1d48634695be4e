package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A peer that asks for an endpoint gets the newest session of it that is there, whatever order
// they join and leave in.
func TestNewestOfEndpoint(t *testing.T) {
	m := newManual(t, Config{IsolateClients: true})
	r := rand.New(rand.NewPCG(1, 2))
	join := wtproto.Join{Topic: wowcool, Flags: announceAndLookUp}
	var there []*subscription // in the order in which they joined
	for step := range 2000 {
		e := wtproto.EndpointID{byte(r.IntN(4)), byte(r.IntN(2))}
		if n := len(there); n > 0 && r.IntN(2) == 0 {
			i := r.IntN(n)
			m.handle(unsubscribed{there[i]})
			there = slices.Delete(there, i, i+1)
		} else {
			there = append(there, m.addAs(e, join))
		}
		var want *subscription
		for _, s := range there {
			if s.session.endpoint == e {
				want = s
			}
		}
		if got := m.at(e); got != want {
			t.Fatalf("step %d: endpoint %x is %p, want %p", step, e[:2], got, want)
		}
		if len(m.subs) != len(there) {
			t.Fatalf("step %d: %d subscribers, want %d", step, len(m.subs), len(there))
		}
	}
}

// A session that has ended, and has not left its topics yet, does not stand in the way of an older
// one with its endpoint.
func TestEndedSessionOfEndpoint(t *testing.T) {
	m := newManual(t, Config{IsolateClients: true})
	e := wtproto.EndpointID{1}
	join := wtproto.Join{Topic: wowcool, Flags: announceAndLookUp}
	older, newer := m.addAs(e, join), m.addAs(e, join)
	newer.session.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the test ends it"))
	if got := m.at(e); got != older {
		t.Errorf("the endpoint is %p, want the older session %p", got, older)
	}
	older.session.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the test ends it"))
	if got := m.at(e); got != nil {
		t.Errorf("the endpoint is %p though both sessions have ended", got)
	}
}

// What serves to find other clients is made when there is a second one. Most topics have one.
func TestPoolsOfLoneClient(t *testing.T) {
	m := newManual(t, Config{})
	join := wtproto.Join{Topic: wowcool, Flags: announceAndLookUp, MaxPeers: 1}
	first := m.add(join)
	m.block(first)
	m.unblocked(first)
	if m.clients != nil || first.seenClients != nil {
		t.Errorf("%d pools for one client, who remembers what it has seen of %d", len(m.clients), len(first.seenClients))
	}
	second := m.add(join)
	if first.mates != 1 || second.mates != 1 {
		t.Errorf("the two clients have %d and %d mates, want each other", first.mates, second.mates)
	}
	for _, s := range m.subs {
		s.session.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the test is over"))
	}
	for _, s := range m.subs {
		s.session.abortAll()
	}
	m.until(func() bool { return m.circuits == 0 })
}

// armedAt asks a topic's loop when its timer will go off: the zero time without one.
type armedAt chan time.Time

func (e armedAt) apply(t *topic) {
	if (t.timer != nil) == t.armed.IsZero() {
		panic("the timer is not what armed says")
	}
	e <- t.armed
}

// A topic has a timer as long as something will be due, also after the timer went off or was set
// anew, and ends when its grace time is over.
func TestTimerOfTopic(t *testing.T) {
	inBubble(t, Config{Grace: time.Minute, Silence: time.Hour, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, other := g.connect(), g.connect()
		c.join(wtproto.JoinAnnounce, 0)
		synctest.Wait()
		loop := g.router.all()[0]
		armed := func() time.Time {
			reply := make(armedAt, 1)
			loop.post(reply)
			return <-reply
		}
		for i := range 3 {
			if now := time.Now(); !armed().After(now) {
				t.Errorf("round %d: the timer is set to %v at %v, want a time to come", i, armed(), now)
			}
			pass(time.Minute)
			if at := armed(); !at.IsZero() {
				t.Errorf("round %d: at rest the timer is set to %v", i, at)
			}
			other.join(wtproto.JoinAnnounce, 0)
			other.leave()
			synctest.Wait()
		}
		pass(time.Minute)
		c.leave()
		pass(59 * time.Second)
		if n := len(g.router.all()); n != 1 {
			t.Errorf("%d topics in the grace time, want 1", n)
		}
		pass(time.Second)
		if n := len(g.router.all()); n != 0 {
			t.Errorf("%d topics after the grace time, want none", n)
		}
	})
}
