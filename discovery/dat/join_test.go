package dat

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

var topicA = wtproto.TopicFromName("a")

// A peer that all ways report is one peer, and is told of again only to renew it.
func TestOnePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ways := []*fakeWay{newFakeWay("one"), newFakeWay("two"), newFakeWay("three")}
		h := newTestHost(t, Config{}, ways...)
		j := joinAs(t, h.plain, topicA, endpoint(1))
		synctest.Wait()
		for range 3 {
			for _, w := range ways {
				_, f := w.await(t, lookUp)
				f.report(nil)
				f.found(public("127.0.0.1:3282"))
			}
		}
		synctest.Wait()
		all := j.drain()
		if got := addressesOf(all); len(got) != 1 || got[0] != "tcp://127.0.0.1:3282" {
			t.Errorf("peers %v, want one", got)
		}
		if len(all) != 2 || all[0].Err != nil || all[0].Sighting.Peer.ID != "" {
			t.Errorf("news %+v, want that the network works, and the peer", all)
		}
		time.Sleep(renew)
		_, f := ways[1].await(t, lookUp)
		f.found(public("127.0.0.1:3282"))
		synctest.Wait()
		if got := addressesOf(j.drain()); len(got) != 1 {
			t.Errorf("after %v: peers %v, want the same again", renew, got)
		}
		j.leave()
		h.Close()
	})
}

// A LEAVE withdraws at once: not after the grace time, in which a topic has no endpoints, and not
// only when Join ends.
func TestLeaveWithdraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWay("one")
		h := newTestHost(t, Config{}, w)
		j := joinAs(t, h.plain, topicA, endpoint(1))
		synctest.Wait()
		j.presence.Set(discovery.State{Announce: true, LookUp: true})
		synctest.Wait()
		if got, want := w.said(), "follow 0, withdraw 0"; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		j.presence.Set(discovery.State{LookUp: true, Endpoints: []wtproto.EndpointID{endpoint(2)}})
		synctest.Wait()
		if got, want := w.said(), "follow 0, withdraw 0, follow 0"; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		j.leave()
		if got, want := w.said(), "follow 0, withdraw 0, follow 0, withdraw 0"; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		h.Close()
	})
}

// Who comes back while the id is being withdrawn waits for that, so that the withdrawal does not
// undo the new announcement. Join returns after the last withdrawal.
func TestReturnWhileLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWay("one")
		w.linger = func(context.Context) { time.Sleep(time.Second) }
		h := newTestHost(t, Config{}, w)
		first := joinAs(t, h.plain, topicA, endpoint(1))
		synctest.Wait()
		go first.leave()
		synctest.Wait()
		second := joinAs(t, h.plain, topicA, endpoint(2))
		synctest.Wait()
		if got, want := w.said(), "follow 0"; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := w.said(), "follow 0, withdraw 0, follow 0"; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		start := time.Now()
		second.leave()
		if took := time.Since(start); took != time.Second {
			t.Errorf("Join returned after %v, want 1s", took)
		}
		h.Close()
	})
}

// A topic of 32 bytes and its first 20 bytes with zeros are one id, on both networks.
func TestSharedID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWay("one")
		h := newTestHost(t, Config{}, w)
		var short wtproto.Topic
		copy(short[:], topicA[:20])
		joins := []*joined{
			joinWith(t, h.plain, topicA, discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{endpoint(1)}}),
			joinWith(t, h.swarm, topicA, discovery.State{LookUp: true, Endpoints: []wtproto.EndpointID{endpoint(1)}}),
			joinAs(t, h.plain, short, endpoint(2)),
		}
		synctest.Wait()
		_, f := w.await(t, lookUp)
		if s, _ := f.presence.State(); !s.Announce || len(s.Endpoints) != 3 {
			t.Errorf("state %+v, want that of all", s)
		}
		f.found(public("127.0.0.1:3282"))
		synctest.Wait()
		for i, j := range joins {
			if got := addressesOf(j.drain()); len(got) != 1 {
				t.Errorf("join %d: peers %v, want one", i, got)
			}
		}
		if got := w.said(); got != "follow 0" {
			t.Errorf("said %q, want one follow", got)
		}
		joins[0].leave()
		joins[2].leave()
		if s, _ := f.presence.State(); s.Announce || !s.LookUp {
			t.Errorf("state %+v, want that of the last", s)
		}
		h.Close()
	})
}

// The network works if one way does; if none does, it says why, once.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFakeWay("one"), newFakeWay("two")
		h := newTestHost(t, Config{}, a, b)
		j := joinWith(t, h.plain, topicA, discovery.State{LookUp: true, Endpoints: []wtproto.EndpointID{endpoint(1)}})
		synctest.Wait()
		_, fa := a.await(t, lookUp)
		_, fb := b.await(t, lookUp)
		broken := wtproto.Errorf(wtproto.CodePeerUnreachable, "no server answers")
		step := func(name string, do func(), want string) {
			t.Helper()
			do()
			synctest.Wait()
			got := ""
			for _, x := range j.drain() {
				got += fmt.Sprintf("%v|%v;", x.Err, x.Sighting.Note)
			}
			if got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		step("one fails, the other is not known", func() { fa.report(broken) }, "")
		step("both fail", func() { fb.report(errors.New("broken")) }, "dat: PEER_UNREACHABLE: no server answers|<nil>;")
		step("again", func() { fa.report(broken) }, "")
		step("one works", func() { fb.report(nil) }, "<nil>|PEER_UNREACHABLE: one does not work, other ways do: no server answers;")
		step("both work", func() { fa.report(nil) }, "<nil>|<nil>;")
		j.leave()
		h.Close()
	})
}
