//go:build !race

package soak

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// plan says what a soak does, and nothing but its seed decides that: neither time nor luck. How
// far a soak comes with its plan depends on the machine.
type plan struct{ seed uint64 }

// act is one thing that clients and peers do with the gateway. Its i-th circuit has the i-th of
// Scripts, from the first on again if there are not enough.
type act struct {
	Kind       actKind
	Transports []string // of its sessions, as many as it has
	Group      int      // which TCP services
	Natives    int      // libp2p peers, which come and go with the act
	Scripts    []script
	Further    []script // of further circuits, which are short
	Leave      bool     // topics before the session ends
}

// actKind is a kind of [act].
type actKind string

const (
	actVisit   actKind = "visit"   // a session meets TCP services
	actParty   actKind = "party"   // sessions meet each other on a topic that is new
	actNatives actKind = "natives" // a session meets libp2p peers on a topic that is new
	actRefused actKind = "refused" // there is no such token
	actExpires actKind = "expires" // the token ends while the session has circuits
	actReplace actKind = "replace" // two sessions of one client
	actLimits  actKind = "limits"  // a principal wants more sessions, topics and circuits than it may have
	actBytes   actKind = "bytes"   // a principal wants more bytes than it may have
)

// often says how often each kind comes, in a hundred.
var often = []struct {
	kind actKind
	of   int
}{
	{actVisit, 54}, {actParty, 16}, {actNatives, 6}, {actRefused, 6}, {actExpires, 3}, {actReplace, 5}, {actLimits, 6}, {actBytes, 4},
}

// act returns the i-th act. The first ones are one of each kind.
func (p plan) act(i int) act {
	r := rand.New(rand.NewPCG(p.seed, uint64(i)))
	a := act{Group: r.IntN(groups), Leave: r.IntN(2) == 0}
	n := r.IntN(100)
	for _, o := range often {
		if a.Kind = o.kind; n < o.of {
			break
		}
		n -= o.of
	}
	if i < len(often) {
		a.Kind = often[i].kind
	}
	sessions := 1
	switch a.Kind {
	case actParty:
		sessions = 2 + r.IntN(3)
	case actReplace:
		sessions = 2
	case actLimits:
		sessions = 3
	case actNatives:
		a.Natives = 1 + r.IntN(2)
	}
	if slices.Contains([]actKind{actVisit, actParty, actNatives}, a.Kind) {
		for range r.IntN(50) {
			a.Further = append(a.Further, newTrade(r))
		}
	}
	for range sessions {
		a.Transports = append(a.Transports, []string{client.TransportQUIC, client.TransportWebSocket}[r.IntN(2)])
	}
	for range 1 + r.IntN(6) {
		a.Scripts = append(a.Scripts, newScript(r))
	}
	return a
}

// authorizer says what decides who comes in.
func (p plan) authorizer() string {
	return []string{"token file", "file of keys"}[p.seed%2]
}

// newTrade returns a script of a short circuit.
func newTrade(r *rand.Rand) script {
	s := script{Kind: scriptTrade, Up: r.IntN(256), Down: r.IntN(256)}
	if r.IntN(8) == 0 {
		s.Up += r.IntN(64 << 10)
	}
	if r.IntN(8) == 0 {
		s.Down += r.IntN(64 << 10)
	}
	return s
}

// newScript returns a script of any circuit.
func newScript(r *rand.Rand) script {
	s := newTrade(r)
	switch n := r.IntN(20); {
	case n < 10:
	case n < 13:
		s.Up, s.Down = r.IntN(2<<20), r.IntN(2<<20)
	case n < 15: // more than the windows of both sides
		s.Up, s.Down = r.IntN(3<<20), r.IntN(3<<20)
		s.PauseMS = 50 + r.IntN(500)
	case n < 17:
		s.Kind, s.Rounds = scriptTalk, 1+r.IntN(20)
	case n < 19:
		s.Kind, s.Rounds, s.ByLeader = scriptReset, r.IntN(5), r.IntN(2) == 0
		s.Code = wtproto.CodeApplication + wtproto.Code(r.IntN(1000))
	default:
		s.Kind, s.Down, s.ByLeader = scriptCut, 1+r.IntN(1<<20), r.IntN(2) == 0
		s.Code = wtproto.CodeApplication + wtproto.Code(r.IntN(1000))
	}
	return s
}

// A seed is a plan: the same one gives the same acts, and each other one others.
func TestPlanReplays(t *testing.T) {
	kinds := make(map[actKind]int)
	same := 0
	for i := range 1000 {
		a := plan{7}.act(i)
		kinds[a.Kind]++
		if again := (plan{7}).act(i); !reflect.DeepEqual(a, again) {
			t.Errorf("act %d is %+v, and %+v the second time", i, a, again)
		}
		if reflect.DeepEqual(a, plan{8}.act(i)) {
			same++
		}
	}
	if same > 100 { // refusals say little
		t.Errorf("%d of 1000 acts of two seeds are the same", same)
	}
	all := 0
	for _, o := range often {
		all += o.of
		if n := kinds[o.kind]; n < 5*o.of || n > 20*o.of {
			t.Errorf("%d of 1000 acts are %s, want about %d", n, o.kind, 10*o.of)
		}
	}
	if all != 100 {
		t.Errorf("the kinds are %d in a hundred", all)
	}
}
