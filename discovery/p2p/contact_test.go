package p2p

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

var (
	contactStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	errNoAnswer  = errors.New("no answer")
)

const contactHold = time.Hour

// endpointSet is what a contact keeps of a gateway's endpoints.
func endpointSet(numbers ...int) map[wtproto.EndpointID]bool {
	set := make(map[wtproto.EndpointID]bool)
	for _, n := range numbers {
		set[endpoint(n)] = true
	}
	return set
}

// endpointList is what a gateway tells of its endpoints.
func endpointList(state wtproto.EndpointsState, numbers ...int) wtproto.Endpoints {
	e := wtproto.Endpoints{State: state}
	for _, n := range numbers {
		e.Endpoints = append(e.Endpoints, endpoint(n))
	}
	return e
}

func endpointIDs(numbers ...int) (ids []wtproto.EndpointID) {
	return endpointList(0, numbers...).Endpoints
}

// Each event in each state that it treats in its own way.
func TestContactEvents(t *testing.T) {
	now := contactStart
	parted := func(code wtproto.Code) func(*contact) effects {
		return func(c *contact) effects { return c.parted(code, contactHold) }
	}
	found := func(c *contact) effects { return c.found(contactHold) }
	one, oneAndTwo := endpointList(0, 1), endpointList(0, 1, 2)
	for _, tc := range []struct {
		name  string
		in    contact
		event func(*contact) effects
		want  contact
		do    effects
	}{
		{
			"found while apart",
			contact{},
			found,
			contact{},
			effects{},
		}, {
			"found while meeting",
			contact{meeting: true, foundUs: true, endpoints: endpointSet(1)},
			found,
			contact{meeting: true, foundUs: true, weFound: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: contactHold},
		}, {
			"found again while meeting",
			contact{meeting: true, weFound: true, endpoints: endpointSet(1)},
			found,
			contact{meeting: true, weFound: true, endpoints: endpointSet(1)},
			effects{},
		}, {
			"accepted",
			contact{asking: true, failure: errNoAnswer, left: true, gateway: true},
			func(c *contact) effects { return c.accepted(oneAndTwo, contactHold) },
			contact{meeting: true, weFound: true, informed: true, gateway: true, endpoints: endpointSet(1, 2)},
			effects{seen: endpointIDs(1, 2), holds: contactHold, report: true},
		}, {
			"accepted after its guess",
			contact{asking: true, guessed: true, gateway: true},
			func(c *contact) effects { return c.accepted(one, contactHold) },
			contact{meeting: true, foundUs: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: contactHold, report: true},
		}, {
			"accepted, of clients that it was told of before",
			contact{asking: true, gateway: true, endpoints: endpointSet(1, 2)},
			func(c *contact) effects { return c.accepted(one, contactHold) },
			contact{meeting: true, weFound: true, informed: true, gateway: true, endpoints: endpointSet(1)},
			effects{gone: endpointIDs(2), seen: endpointIDs(1), holds: contactHold, report: true},
		}, {
			"welcomed while it is asked",
			contact{asking: true, gateway: true},
			func(c *contact) effects { return c.welcomed(false, one, contactHold) },
			contact{asking: true, meeting: true, foundUs: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: contactHold, report: true},
		}, {
			"welcomed after our guess",
			contact{left: true, failure: errNoAnswer, gateway: true},
			func(c *contact) effects { return c.welcomed(true, one, contactHold) },
			contact{meeting: true, weFound: true, informed: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: contactHold, report: true},
		}, {
			"a gateway cannot have a native peer's endpoint",
			contact{gateway: true},
			func(c *contact) effects {
				return c.welcomed(false, wtproto.Endpoints{Endpoints: []wtproto.EndpointID{{}, endpoint(1)}}, contactHold)
			},
			contact{meeting: true, foundUs: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: contactHold, report: true},
		}, {
			"a native peer cannot have a client",
			contact{},
			func(c *contact) effects {
				return c.welcomed(false, wtproto.Endpoints{Endpoints: []wtproto.EndpointID{{}, endpoint(1)}}, contactHold)
			},
			contact{meeting: true, foundUs: true, endpoints: map[wtproto.EndpointID]bool{{}: true}},
			effects{seen: []wtproto.EndpointID{{}}, holds: contactHold, report: true},
		}, {
			"the same run",
			contact{run: wtproto.Run{1}, weFound: true, gateway: true, endpoints: endpointSet(1)},
			func(c *contact) effects { return c.renewed(wtproto.Run{1}, true) },
			contact{run: wtproto.Run{1}, weFound: true, gateway: true, endpoints: endpointSet(1)},
			effects{},
		}, {
			"another run",
			contact{run: wtproto.Run{1}, weFound: true, foundUs: true, gateway: true, endpoints: endpointSet(1), state: wtproto.EndpointsNeed},
			func(c *contact) effects { return c.renewed(wtproto.Run{2}, true) },
			contact{run: wtproto.Run{2}, gateway: true, endpoints: endpointSet()},
			effects{gone: endpointIDs(1)},
		}, {
			"started anew while apart",
			contact{weFound: true, foundUs: true, gateway: true, endpoints: endpointSet(1)},
			(*contact).reborn,
			contact{gateway: true, endpoints: endpointSet()},
			effects{gone: endpointIDs(1)},
		}, {
			"started anew while meeting",
			contact{meeting: true, weFound: true, gateway: true, endpoints: endpointSet(1)},
			(*contact).reborn,
			contact{meeting: true, weFound: true, gateway: true, endpoints: endpointSet(1)},
			effects{},
		}, {
			"one came and one left",
			contact{meeting: true, gateway: true, endpoints: endpointSet(1, 3)},
			func(c *contact) effects { return c.updated(oneAndTwo, contactHold) },
			contact{meeting: true, gateway: true, endpoints: endpointSet(1, 2)},
			effects{gone: endpointIDs(3), seen: endpointIDs(2), holds: contactHold},
		}, {
			"one is not listed, of more",
			contact{meeting: true, gateway: true, endpoints: endpointSet(1, 3), state: wtproto.EndpointsMore},
			func(c *contact) effects {
				return c.updated(endpointList(wtproto.EndpointsMore, 1, 2), contactHold)
			},
			contact{meeting: true, gateway: true, endpoints: endpointSet(1, 2), state: wtproto.EndpointsMore},
			effects{seen: endpointIDs(2), holds: contactHold},
		}, {
			"they are in need",
			contact{meeting: true, gateway: true, endpoints: endpointSet(1)},
			func(c *contact) effects {
				return c.updated(endpointList(wtproto.EndpointsNeed, 1), contactHold)
			},
			contact{meeting: true, gateway: true, endpoints: endpointSet(1), state: wtproto.EndpointsNeed},
			effects{seen: endpointIDs(1), holds: contactHold},
		}, {
			"left the topic",
			contact{meeting: true, weFound: true, foundUs: true, informed: true, asking: true, hadCircuit: true, gateway: true, endpoints: endpointSet(1)},
			parted(wtproto.CodeLeft),
			contact{left: true, gateway: true, endpoints: endpointSet()},
			effects{gone: endpointIDs(1), holds: lostHold, report: true},
		}, {
			"the link was lost",
			contact{meeting: true, weFound: true, informed: true, hadCircuit: true, gateway: true, endpoints: endpointSet(1)},
			parted(wtproto.CodePeerGone),
			contact{weFound: true, hadCircuit: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: lostHold, report: true},
		}, {
			"let go",
			contact{meeting: true, foundUs: true, gateway: true, endpoints: endpointSet(1)},
			parted(wtproto.CodeNone),
			contact{foundUs: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: lostHold, report: true},
		}, {
			"let go after a circuit",
			contact{meeting: true, foundUs: true, hadCircuit: true, gateway: true, endpoints: endpointSet(1)},
			parted(wtproto.CodeNone),
			contact{foundUs: true, hadCircuit: true, gateway: true, endpoints: endpointSet(1)},
			effects{seen: endpointIDs(1), holds: partedFor, report: true},
		}, {
			"a circuit",
			contact{},
			func(c *contact) effects { c.circuitOpened(); return effects{} },
			contact{hadCircuit: true},
			effects{},
		}, {
			"asked because we found it",
			contact{},
			func(c *contact) effects {
				if f := c.asked(false); f != 0 {
					t.Errorf("flags %v", f)
				}
				return effects{}
			},
			contact{asking: true},
			effects{},
		}, {
			"asked because it guessed",
			contact{},
			func(c *contact) effects {
				if f := c.asked(true); f != wtproto.MeetGuessed {
					t.Errorf("flags %v", f)
				}
				return effects{}
			},
			contact{asking: true, guessed: true},
			effects{},
		}, {
			"informed",
			contact{meeting: true, weFound: true},
			func(c *contact) effects {
				if !c.inform(now) || c.inform(now) {
					t.Error("it is to be informed once")
				}
				return effects{}
			},
			contact{meeting: true, weFound: true, informedAt: now},
			effects{},
		},
	} {
		got := tc.in
		got.endpoints = maps.Clone(tc.in.endpoints)
		do := tc.event(&got)
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: the contact is\n%+v, want\n%+v", tc.name, got, tc.want)
		}
		for _, ids := range [][]wtproto.EndpointID{do.gone, do.seen} {
			slices.SortFunc(ids, func(a, b wtproto.EndpointID) int { return slices.Compare(a[:], b[:]) })
		}
		if !reflect.DeepEqual(do, tc.do) {
			t.Errorf("%s: it leads to\n%+v, want\n%+v", tc.name, do, tc.do)
		}
	}
}

// What a MEET leads to that failed.
func TestContactFailed(t *testing.T) {
	now := contactStart
	for _, tc := range []struct {
		name  string
		in    contact
		err   error
		code  wtproto.Code
		quiet bool
		kind  failureKind
		want  contact
	}{
		{
			"during a meeting",
			contact{meeting: true, asking: true, guessed: true},
			errNoAnswer, wtproto.CodeLeft, false,
			failureIgnored,
			contact{meeting: true},
		}, {
			"it leaves",
			contact{asking: true},
			errNoAnswer, wtproto.CodeLeft, true,
			failureExpected,
			contact{left: true},
		}, {
			"it ends",
			contact{asking: true},
			errNoAnswer, wtproto.CodeShutdown, true,
			failureExpected,
			contact{left: true},
		}, {
			"it left before",
			contact{asking: true, left: true},
			errNoAnswer, wtproto.CodeForbidden, false,
			failureExpected,
			contact{left: true},
		}, {
			"it had guessed",
			contact{asking: true, guessed: true},
			errNoAnswer, wtproto.CodeForbidden, false,
			failureExpected,
			contact{},
		}, {
			"no room",
			contact{asking: true},
			errNoAnswer, wtproto.CodeBusy, true,
			failureFull,
			contact{failure: errNoAnswer, failedAt: now, full: true},
		}, {
			"no answer",
			contact{asking: true},
			errNoAnswer, wtproto.CodePeerUnreachable, false,
			failureNew,
			contact{failure: errNoAnswer, failedAt: now},
		}, {
			"no answer again",
			contact{asking: true, failure: errNoAnswer, full: true},
			errNoAnswer, wtproto.CodePeerUnreachable, false,
			failureRepeated,
			contact{failure: errNoAnswer, failedAt: now},
		}, {
			"another reason",
			contact{asking: true, failure: errNoAnswer},
			errors.ErrUnsupported, wtproto.CodePeerUnreachable, false,
			failureNew,
			contact{failure: errors.ErrUnsupported, failedAt: now},
		},
	} {
		got := tc.in
		if kind := got.failed(tc.err, tc.code, tc.quiet, now); kind != tc.kind || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v and\n%+v, want %v and\n%+v", tc.name, kind, got, tc.kind, tc.want)
		}
	}
}

// When a host is told that we found it, and when its GUESS is answered.
func TestContactAsks(t *testing.T) {
	now := contactStart
	for _, tc := range []struct {
		name           string
		in             contact
		inform, answer bool
	}{
		{"apart", contact{}, false, true},
		{"asking", contact{asking: true}, false, false},
		{"found, and met because it found us", contact{meeting: true, weFound: true, foundUs: true}, true, false},
		{"found us alone", contact{meeting: true, foundUs: true}, false, false},
		{"we found it alone", contact{meeting: true, weFound: true, informed: true}, false, true},
		{"asking during the meeting", contact{meeting: true, weFound: true, foundUs: true, asking: true}, false, false},
		{"told just now", contact{meeting: true, weFound: true, informedAt: now.Add(-settled + 1)}, false, true},
		{"told a while ago", contact{meeting: true, weFound: true, informedAt: now.Add(-settled)}, true, true},
	} {
		if got := tc.in.answersGuess(); got != tc.answer {
			t.Errorf("%s: answersGuess = %v", tc.name, got)
		}
		if got := tc.in.inform(now); got != tc.inform {
			t.Errorf("%s: inform = %v", tc.name, got)
		}
	}
}

// What holds in every state that any order of events leads to.
func TestContactStates(t *testing.T) {
	type flags struct {
		meeting, weFound, foundUs, asking, guessed, informed, left, hadCircuit, failed, gateway bool
		endpoints                                                                               int
	}
	key := func(c contact) flags {
		return flags{
			c.meeting, c.weFound, c.foundUs, c.asking, c.guessed, c.informed, c.left, c.hadCircuit,
			c.failure != nil, c.gateway, len(c.endpoints),
		}
	}
	events := []func(*contact){
		func(c *contact) { c.found(contactHold) },
		func(c *contact) { c.inform(contactStart) },
		func(c *contact) { c.asked(false) },
		func(c *contact) { c.asked(true) },
		func(c *contact) { c.failed(errNoAnswer, wtproto.CodePeerUnreachable, false, contactStart) },
		func(c *contact) { c.failed(errNoAnswer, wtproto.CodeLeft, true, contactStart) },
		func(c *contact) { c.circuitOpened() },
		func(c *contact) { c.reborn() },
	}
	for _, weFound := range []bool{false, true} {
		for run := range byte(2) {
			events = append(events, func(c *contact) {
				if c.meeting && c.run != (wtproto.Run{run}) {
					return // a new run has a new link, and the loss of the older one ends the meeting
				}
				c.renewed(wtproto.Run{run}, true)
				c.welcomed(weFound, endpointList(0, 1), contactHold)
			})
		}
	}
	events = append(events, func(c *contact) {
		if c.asking && (!c.meeting || c.run == wtproto.Run{1}) {
			c.renewed(wtproto.Run{1}, true)
			c.accepted(endpointList(0, 1), contactHold)
		}
	})
	for _, code := range []wtproto.Code{wtproto.CodeNone, wtproto.CodeLeft, wtproto.CodePeerGone} {
		events = append(events, func(c *contact) {
			if c.meeting {
				c.parted(code, contactHold)
			}
		})
	}
	seen := map[flags]bool{key(contact{}): true}
	for queue := []contact{{}}; len(queue) > 0; queue = queue[1:] {
		for i, event := range events {
			c := queue[0]
			c.endpoints = maps.Clone(c.endpoints)
			event(&c)
			switch k := key(c); {
			case k.meeting && !k.weFound && !k.foundUs:
				t.Errorf("event %d of %+v: nobody found anybody, and they meet", i, key(queue[0]))
			case k.informed && !(k.meeting && k.weFound):
				t.Errorf("event %d of %+v: informed of what is not so", i, key(queue[0]))
			case k.meeting && (k.failed || k.left):
				t.Errorf("event %d of %+v: it failed or left, and they meet", i, key(queue[0]))
			case c.needs() && !k.meeting:
				t.Errorf("event %d of %+v: needs a circuit after the meeting", i, key(queue[0]))
			case !seen[k]:
				seen[k] = true
				queue = append(queue, c)
			}
		}
	}
	if len(seen) < 100 { // nearly all combinations that the rules above allow
		t.Errorf("%d states were reached", len(seen))
	}
}
