package p2p

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/wtproto"
)

// epoch is when accounting begins.
var epoch = time.Unix(1e9, 0)

func testMeetings(places int) *meetings {
	m := newMeetings(time.Second, 10*time.Minute)
	m.want(places)
	return m
}

// hostID returns a peer id.
func hostID(kind string, n int) peer.ID { return peer.ID(fmt.Sprintf("%s %d", kind, n)) }

// meetAll has the hosts from 0 to n-1 met who asked us.
func meetAll(t *testing.T, m *meetings, n int, now time.Time) {
	t.Helper()
	for i := range n {
		id := hostID("guest", i)
		if code, out := m.welcome(id, now); code != wtproto.CodeNone || out != "" {
			t.Fatalf("guest %d is answered %v, and %q let go", i, code, out)
		}
		if out := m.meet(id, false, now); out != "" {
			t.Fatalf("%q let go for guest %d", out, i)
		}
	}
}

func TestMeetingsWanted(t *testing.T) {
	for _, tc := range []struct{ places, wanted, most int }{
		{0, 64, 96}, // nobody said: a native peer
		{1, 8, 16},
		{4, 8, 16},
		{6, 9, 17},
		{40, 52, 78},
		{64, 64, 96},
		{12800, 64, 96},
	} {
		if m := testMeetings(tc.places); m.wanted != tc.wanted || m.most() != tc.most {
			t.Errorf("%d places: %d meetings wanted, %d at most; want %d, %d", tc.places, m.wanted, m.most(), tc.wanted, tc.most)
		}
	}
}

// Hosts were once forgotten by age, so that whoever made up 1,024 of them had all others
// forgotten.
func TestMeetingsEvictMadeUpHosts(t *testing.T) {
	m := testMeetings(0)
	now := epoch
	meetAll(t, m, 10, now)
	m.name(hostID("operator", 0), now)
	m.learn(hostID("lan", 0), now).near = true
	for i := range 20 { // were met once
		id := hostID("real", i)
		m.welcome(id, now)
		m.meet(id, false, now)
		m.ended(id, wtproto.CodeLeft, now)
	}
	for i := range 10 * maxKnown {
		id := hostID("made up", i)
		if m.learn(id, now) == nil {
			t.Fatal("no room")
		}
		if i%3 > 0 {
			m.known[id].stand = standAsked
			m.asking++
			m.failed(id, wtproto.CodePeerUnreachable, now)
		}
	}
	for kind, n := range map[string]int{"guest": 10, "operator": 1, "lan": 1, "real": 20} {
		for i := range n {
			if m.known[hostID(kind, i)] == nil {
				t.Errorf("%s %d is forgotten", kind, i)
			}
		}
	}
	for i := range maxKnown { // somebody on the LAN has many ids, which once filled all places
		if a := m.learn(hostID("lan", 1+i), now); a != nil {
			a.near = true
		}
	}
	if m.learn(hostID("another", 0), now) == nil || m.known[hostID("operator", 0)] == nil {
		t.Error("hosts of the LAN leave no room")
	}
	if len(m.known) != maxKnown || len(m.all) != maxKnown {
		t.Errorf("%d known, %d in order", len(m.known), len(m.all))
	}
	gone := 0
	m.dropped = func(peer.ID) { gone++ }
	if m.forget(now.Add(stale + 1)); gone != maxKnown-11 || len(m.known) != 11 {
		t.Errorf("%d forgotten as stale, %d known", gone, len(m.known))
	}
}

// A host that was there waited behind a thousand made-up ones, of which 16 were tried at once for
// 5 s each: for five minutes.
func TestMeetingsFindTheRealOne(t *testing.T) {
	const silent = 5 * time.Second // an attempt
	m := testMeetings(0)
	for i := range maxKnown - 1 {
		m.learn(hostID("made up", i), epoch)
	}
	real := hostID("real", 0)
	m.learn(real, epoch)
	asked := make(map[peer.ID]time.Time)
	for now := epoch; ; now = now.Add(100 * time.Millisecond) {
		for id, at := range asked {
			if now.Sub(at) >= silent {
				m.failed(id, wtproto.CodePeerUnreachable, now)
				delete(asked, id)
			}
		}
		for a := m.next(now); a != nil; a = m.next(now) {
			asked[a.id] = now
		}
		if len(asked) > maxAsking+maxSlow {
			t.Fatalf("%d hosts are asked at once", len(asked))
		}
		if at, ok := asked[real]; ok {
			if took := at.Sub(epoch); took > 90*time.Second {
				t.Errorf("asked after %v", took)
			}
			return
		}
	}
}

// Hosts that nothing speaks against go first, and those that failed have their share.
func TestMeetingsOrder(t *testing.T) {
	m := testMeetings(1)
	const n = 400
	for i := range n {
		m.learn(hostID("fresh", i), epoch)
		a := m.learn(hostID("failed", i), epoch)
		a.failures = 1
	}
	failed := 0
	for range n {
		a := m.next(epoch)
		if a.failures > 0 {
			failed++
		}
		m.failed(a.id, wtproto.CodeForbidden, epoch)
	}
	if want := n / failedShare; failed < want/2 || failed > want*2 {
		t.Errorf("%d of %d asks went to hosts that had failed", failed, n)
	}
	m.room = topicRoom{&sharing{places: newPlaces[*topic](0)}, nil}
	if a := m.next(epoch.Add(time.Hour)); a != nil {
		t.Errorf("%q is asked, which may not be", a.id)
	}
}

// Whoever asks is met, up to a number; beyond it a newcomer takes the place of somebody who asked
// and has no circuits, now and then; and who was let go is not let in at once for somebody else.
func TestMeetingsWelcome(t *testing.T) {
	now := epoch
	m := testMeetings(1)
	m.busy = func(id peer.ID) bool { return id == hostID("guest", 3) }
	meetAll(t, m, m.most(), now)
	if code, _ := m.welcome("newcomer", now); code != wtproto.CodeBusy {
		t.Errorf("a newcomer is answered %v while all were met just now", code)
	}
	now = now.Add(time.Minute)
	var last peer.ID
	for i := range 2 * swapBurst {
		id := hostID("newcomer", i)
		code, out := m.welcome(id, now)
		if i >= swapBurst {
			if code != wtproto.CodeBusy || out != "" {
				t.Errorf("newcomer %d is answered %v for %q", i, code, out)
			}
			continue
		}
		if code != wtproto.CodeNone || out == "" || out == hostID("guest", 3) {
			t.Errorf("newcomer %d is answered %v for %q", i, code, out)
		}
		last = out
		m.meet(id, false, now)
		if m.active != m.most() {
			t.Errorf("%d meetings", m.active)
		}
	}
	now = now.Add(time.Minute)
	if code, out := m.welcome(last, now); code != wtproto.CodeBusy || out != "" {
		t.Errorf("who was let go is answered %v for %q", code, out)
	}
	m.name("operator", now)
	if code, out := m.welcome("operator", now); code != wtproto.CodeNone || out != "" {
		t.Errorf("the operator's is answered %v for %q", code, out)
	}
	if out := m.meet("operator", false, now); out != "" || m.named != 1 {
		t.Errorf("%q let go for the operator's; %d named", out, m.named)
	}
	if code, out := m.welcome(hostID("guest", 3), now); code != wtproto.CodeNone || out != "" {
		t.Errorf("one that is met is answered %v for %q", code, out)
	}
}

// A host whose places all went to those who asked chooses some itself all the same: else a part of
// the LAN that asks everybody there would be an island.
func TestMeetingsOwnChoice(t *testing.T) {
	m := testMeetings(1)
	meetAll(t, m, m.wanted, epoch)
	for i := range 50 {
		m.learn(hostID("far", i), epoch)
	}
	n := 0
	for a := m.next(epoch); a != nil; a = m.next(epoch) {
		m.meet(a.id, true, epoch)
		n++
	}
	if n != ownMeetings || m.own != ownMeetings {
		t.Errorf("%d chosen, %d counted, want %d", n, m.own, ownMeetings)
	}
}

// Each rotateEvery one without circuits makes room for one that was not met lately, once that is
// met.
func TestMeetingsRotation(t *testing.T) {
	m := testMeetings(1)
	now := epoch
	for i := range 100 {
		m.learn(hostID("host", i), now)
	}
	var kept peer.ID // has circuits
	for a := m.next(now); a != nil; a = m.next(now) {
		m.meet(a.id, true, now)
		kept = a.id
	}
	m.busy = func(id peer.ID) bool { return id == kept }
	met := make(map[peer.ID]int)
	const hours = 10
	made := 0
	for end := now.Add(hours * time.Hour); now.Before(end); {
		at := m.wake(now)
		if at.Sub(now) > 2*rotateEvery || !at.After(now) {
			t.Fatalf("next is called in %v", at.Sub(now))
		}
		now = at
		for id := range m.known {
			m.known[id].seen = now
		}
		a := m.next(now)
		if a == nil {
			continue
		}
		if made%5 == 4 { // in vain
			m.failed(a.id, wtproto.CodePeerUnreachable, now)
			made++
			a = m.next(now)
		}
		made++
		met[a.id]++
		out := m.meet(a.id, true, now)
		if out == "" || out == kept || out == a.id || m.active != m.wanted {
			t.Fatalf("%q let go for %q, and there are %d", out, a.id, m.active)
		}
		if again := m.next(now); again != nil {
			t.Fatalf("%q is asked too", again.id)
		}
	}
	if want := hours * 6; len(met) < 40 || made < want*3/4 || made > want*3/2 {
		t.Errorf("%d rotations in %d hours, %d hosts", made, hours, len(met))
	}
	if m.known[kept].stand != standMeeting {
		t.Error("the host with circuits was let go")
	}
}

// What becomes of a host after it was asked in vain, or has ended.
func TestMeetingsAfterwards(t *testing.T) {
	const id = peer.ID("host")
	ask := func(m *meetings, now time.Time) {
		if a := m.next(now); a == nil || a.id != id {
			t.Fatalf("%v is asked", a)
		}
	}
	for _, tc := range []struct {
		name     string
		do       func(m *meetings, now time.Time) bool
		want     bool // what do returns
		min, max time.Duration
	}{
		{"unreachable", func(m *meetings, now time.Time) bool {
			ask(m, now)
			return m.failed(id, wtproto.CodePeerUnreachable, now)
		}, true, time.Second, 2 * time.Second},
		{"busy, and few are met", func(m *meetings, now time.Time) bool {
			ask(m, now)
			return m.failed(id, wtproto.CodeBusy, now)
		}, false, time.Second, 2 * time.Second},
		{"busy", func(m *meetings, now time.Time) bool {
			meetAll(t, m, m.wanted/2, now)
			ask(m, now)
			return m.failed(id, wtproto.CodeBusy, now)
		}, false, busyWait, 2 * busyWait},
		{"left soon", func(m *meetings, now time.Time) bool {
			ask(m, now)
			m.meet(id, true, now)
			return m.ended(id, wtproto.CodeLeft, now.Add(settled-1))
		}, false, settled, settled + 2*time.Second},
		{"left", func(m *meetings, now time.Time) bool {
			ask(m, now)
			m.meet(id, true, now)
			return m.ended(id, wtproto.CodeLeft, now.Add(settled))
		}, true, settled, settled + 2*time.Second},
		{"let us go", func(m *meetings, now time.Time) bool {
			ask(m, now)
			m.meet(id, true, now)
			return m.ended(id, wtproto.CodeNone, now)
		}, true, time.Second, 2 * time.Second},
		{"let us go, and we have enough", func(m *meetings, now time.Time) bool {
			m.welcome(id, now)
			m.meet(id, false, now)
			meetAll(t, m, m.wanted, now)
			m.own = ownMeetings
			return m.ended(id, wtproto.CodeNone, now)
		}, false, time.Second, 2 * time.Second},
		{"moved", func(m *meetings, now time.Time) bool {
			ask(m, now)
			m.failed(id, wtproto.CodePeerUnreachable, now)
			m.again(id)
			return m.known[id].fresh(now)
		}, true, -1 << 63, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := testMeetings(1)
			m.learn(id, epoch)
			if got := tc.do(m, epoch); got != tc.want {
				t.Errorf("it is %v, want %v", got, tc.want)
			}
			a := m.known[id]
			if wait := a.next.Sub(epoch); wait < tc.min || wait > tc.max {
				t.Errorf("asked again after %v, want %v to %v", wait, tc.min, tc.max)
			}
			if a.stand != standApart || m.asking != 0 || m.slow != 0 {
				t.Errorf("it stands %d; %d asked, %d slow", a.stand, m.asking, m.slow)
			}
		})
	}
	m := testMeetings(1)
	m.learn(id, epoch)
	var last time.Duration
	for range 20 { // the delay grows
		now := m.known[id].next
		if now.IsZero() {
			now = epoch
		}
		ask(m, now)
		m.failed(id, wtproto.CodeForbidden, now)
		last = m.known[id].next.Sub(now)
	}
	if last < 5*time.Minute || last > 10*time.Minute {
		t.Errorf("after 20 failures it is asked again after %v", last)
	}
}

// Another topic may need the place of a host that is met.
func TestMeetingsRelieve(t *testing.T) {
	m := testMeetings(1)
	meetAll(t, m, 3, epoch)
	only := func(id peer.ID) bool { return id == hostID("guest", 1) }
	if out := m.relieve(epoch, only); out != "" {
		t.Errorf("%q was met just now, and is let go", out)
	}
	if out := m.relieve(epoch.Add(settled), only); out != hostID("guest", 1) || m.active != 2 {
		t.Errorf("%q is let go, %d are left", out, m.active)
	}
}

// When a host takes long, others are asked beside it. If all of them answer in the end, those who
// are too late are let go, so that they have room for others: a busy machine once met twice as
// many as it wanted, and had none for newcomers.
func TestMeetingsLate(t *testing.T) {
	m := testMeetings(1)
	now := epoch
	for i := range 100 {
		m.learn(hostID("host", i), now)
	}
	var asked []peer.ID
	for range 10 {
		for a := m.next(now); a != nil; a = m.next(now) {
			asked = append(asked, a.id)
		}
		now = now.Add(askPatience)
	}
	if len(asked) != m.wanted+leastSlow {
		t.Errorf("%d are asked beside each other, want %d", len(asked), m.wanted+leastSlow)
	}
	let := 0
	for i := len(asked) - 1; i >= 0; i-- {
		if m.meet(asked[i], true, now) == asked[i] {
			let++
		}
	}
	if let != leastSlow || m.active != m.wanted {
		t.Errorf("%d met, %d let go at once", m.active, let)
	}
}
