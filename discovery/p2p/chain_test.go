package p2p

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/wtproto"
)

// chained returns the meetings of gateway "m", which has met as many as it wants: guests with
// smaller ids, which are native peers. The words of known say who else is known, and how things
// stand with it.
func chained(t *testing.T, known string, now time.Time) *meetings {
	t.Helper()
	m := testMeetings(1)
	m.chain = newChain("m")
	meetAll(t, m, m.wanted, now)
	for _, a := range m.all {
		m.know(a.id, false)
	}
	m.own = ownMeetings
	for _, word := range strings.Fields(known) {
		id, how, _ := strings.Cut(word, ":")
		a := m.learn(peer.ID(id), now)
		for _, how := range strings.Split(how, ",") {
			switch how {
			case "met":
				m.know(a.id, true)
				m.meet(a.id, false, now)
			case "native":
				m.know(a.id, false)
			case "failed":
				a.failures = 1
			case "waits":
				a.failures, a.next = 1, now.Add(time.Minute)
			case "asked":
				a.stand, a.since = standAsked, now
				m.asking++
			case "slow":
				a.stand, a.since = standAsked, now.Add(-askPatience)
				m.asking++
			}
		}
	}
	return m
}

// A gateway that had met as many as it wanted, and nobody with a greater id, headed an island of
// clients, though it had found greater ones: 1,000 gateways with a client each were [996 4].
func TestNextGreaterIsAsked(t *testing.T) {
	for _, tc := range []struct{ name, known, want string }{
		{"nobody", "", ""},
		{"smaller ones only", "a l", ""},
		{"the next one", "z p r a", "p"},
		{"is met", "z p:met r", ""},
		{"a nearer one than is met", "z:met p r:met", "p"},
		{"is asked", "p:asked r", ""},
		{"is asked and takes long", "p:slow r z", "r"},
		{"has failed just now", "p:waits r", "r"},
		{"has failed, and nothing speaks against another one", "p:failed r", "r"},
		{"has failed, and the other one is met", "p:failed r:met", "p"},
		{"all have failed", "r:failed p:failed q:waits", "p"},
		{"native peers are not in the chain", "n:native o:met,native p", "p"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := chained(t, tc.known, epoch)
			if got := m.asks(epoch); got != (tc.want != "") {
				t.Errorf("asks is %v", got)
			}
			got := ""
			if a := m.next(epoch); a != nil {
				got = string(a.id)
			}
			if got != tc.want {
				t.Errorf("%q is asked, want %q", got, tc.want)
			}
		})
	}
	m := chained(t, "p", epoch)
	m.chain = chain{}
	if a := m.next(epoch); a != nil {
		t.Errorf("a native peer asks %q", a.id)
	}
}

// Of what is made up one after the other is asked, at a rate, and the real one that comes after
// all of it is met in the end. Then what is made up is asked now and then.
func TestMadeUpGreaterIDs(t *testing.T) {
	m := chained(t, "", epoch)
	const fakes = 200
	for i := range fakes {
		m.learn(hostID("made up", i), epoch)
	}
	for _, a := range slices.Clone(m.all) {
		if strings.HasPrefix(string(a.id), "made up") {
			m.drop(a)
			m.learn("n"+a.id, epoch)
		}
	}
	m.learn("real", epoch)
	asked, now := 0, epoch
	var metAt time.Time
	for now.Before(epoch.Add(time.Hour)) {
		for a := m.next(now); a != nil; a = m.next(now) {
			if a.climb { // else it is the rotation's turn
				asked++
			}
			if a.id == "real" {
				m.know(a.id, true)
				m.meet(a.id, true, now)
				metAt = now
			} else {
				m.failed(a.id, wtproto.CodePeerUnreachable, now)
			}
		}
		at := m.wake(now)
		if !at.After(now) {
			t.Fatalf("next is called again in %v", at.Sub(now))
		}
		now = at
		if asked > chainBurst+int(now.Sub(epoch)/chainEvery)+1 {
			t.Fatalf("%d are asked in %v", asked, now.Sub(epoch))
		}
	}
	if took := metAt.Sub(epoch); metAt.IsZero() || took > fakes*chainEvery {
		t.Errorf("the real one is met after %v", took)
	}
}

// The next greater gateway and the next smaller one stay, whatever makes room: rotation, another
// topic, a newcomer. Once a nearer one is met, the one before may go.
func TestChainStays(t *testing.T) {
	m := chained(t, "l:met z:met p:met a:met", epoch)
	now := epoch.Add(rotateEvery)
	gone := make(map[peer.ID]bool)
	for {
		out := m.relieve(now, func(peer.ID) bool { return true })
		if out == "" {
			break
		}
		gone[out] = true
	}
	if gone["l"] || gone["p"] || !gone["a"] || !gone["z"] || m.active != 2 {
		t.Errorf("%d are left, gone are %v", m.active, gone)
	}
	m.learn("o", now)
	if a := m.next(now); a == nil || a.id != "o" {
		t.Fatalf("%v is asked", a)
	}
	m.know("o", true)
	m.meet("o", true, now)
	if out := m.relieve(now, func(peer.ID) bool { return true }); out != "p" {
		t.Errorf("%q goes, want the one that is next no more", out)
	}
}

// One that is next to us is let in by a host that is full; others, and native peers, are not, and
// not any number of those that say so.
func TestChainLetsIn(t *testing.T) {
	m := chained(t, "l:met p:met", epoch)
	for i := 0; m.active < m.most(); i++ {
		m.meet(hostID("further guest", i), false, epoch)
	}
	for _, tc := range []struct {
		id      peer.ID
		gateway bool
		want    wtproto.Code
	}{
		{"z", true, wtproto.CodeBusy},
		{"a", true, wtproto.CodeBusy},
		{"la", false, wtproto.CodeBusy},
		{"la", true, wtproto.CodeNone},
		{"o", true, wtproto.CodeNone},
	} {
		m.learn(tc.id, epoch)
		m.know(tc.id, tc.gateway)
		code, out := m.welcome(tc.id, epoch)
		if code != tc.want || out != "" {
			t.Errorf("%q, a gateway: %v, is answered %v for %q, want %v", tc.id, tc.gateway, code, out, tc.want)
		}
		if code == wtproto.CodeNone {
			if out := m.meet(tc.id, false, epoch); out != "" {
				t.Errorf("%q let go for %q", out, tc.id)
			}
		}
	}
	now := epoch.Add(time.Minute)
	let := 0
	for i := range 2 * chainBurst {
		id := "m" + peer.ID(rune('z'-i)) // each is nearer than the one before
		m.learn(id, now)
		m.know(id, true)
		code, _ := m.welcome(id, now)
		if code == wtproto.CodeNone {
			let++
			if out := m.meet(id, false, now); out != "" {
				t.Errorf("%q let go for %q", out, id)
			}
		}
		if m.active > m.most()+chainRoom {
			t.Fatalf("%d are met, want %d at most", m.active, m.most()+chainRoom)
		}
	}
	if let < 1 || let > chainBurst {
		t.Errorf("%d are let in at once, want %d at most", let, chainBurst)
	}
}
