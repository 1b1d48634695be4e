package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// describe returns an event in a word or three.
func describe(e Event) string {
	code := func(err error) string {
		if e, ok := errors.AsType[*wtproto.Error](err); ok {
			return e.Code.String()
		}
		return fmt.Sprint(err)
	}
	switch e := e.(type) {
	case Connected:
		return "connected " + e.Gateway
	case Disconnected:
		return "disconnected " + code(e.Err)
	case Reconnecting:
		return fmt.Sprintf("reconnecting %d %v %s", e.Attempt, e.Delay, code(e.Err))
	}
	return "unknown"
}

// A move is what happens to a machine at a time.
type move struct {
	at     time.Duration
	what   func(m *machine, now time.Time)
	trying string        // the gateways, after it
	next   time.Duration // the deadline; 0 for none
	events []string
	err    string // in that of the machine
}

// remoteError is an end by a gateway.
func remoteError(code wtproto.Code) error { return &wtproto.Error{Code: code, Remote: true} }

func TestMachine(t *testing.T) {
	const (
		s  = time.Second
		ms = time.Millisecond
	)
	tick := func(m *machine, now time.Time) { m.tick(now) }
	welcomed := func(g int) func(*machine, time.Time) {
		return func(m *machine, now time.Time) { m.welcomed(now, g, wtproto.SessionID{}) }
	}
	failed := func(g int, err error) func(*machine, time.Time) {
		return func(m *machine, now time.Time) { m.failed(now, g, err) }
	}
	lost := func(code wtproto.Code) func(*machine, time.Time) {
		return func(m *machine, now time.Time) { m.lost(now, remoteError(code)) }
	}
	goaway := func(retry time.Duration) func(*machine, time.Time) {
		return func(m *machine, now time.Time) { m.goneAway(now, retry) }
	}
	refused := errors.New("refused")
	start := (*machine).start
	on := func(at time.Duration, g int, name string) move {
		return move{at: at, what: welcomed(g), events: []string{"connected " + name}}
	}
	for _, tt := range []struct {
		name     string
		gateways string
		once     bool
		moves    []move
	}{
		{"one gateway, which comes back", "a", false, []move{
			{at: 0, what: start, trying: "a", next: 10 * s},
			on(1*s, 0, "a"),
			{at: 2 * s, what: lost(wtproto.CodeBusy), next: 2250 * ms, events: []string{"disconnected BUSY", "reconnecting 1 250ms BUSY"}},
			{at: 2249 * ms, what: tick, next: 2250 * ms},
			{at: 2250 * ms, what: tick, trying: "a", next: 12250 * ms},
			on(3*s, 0, "a"),
		}},
		{"delays grow up to 30 s, whatever ends the attempt", "a", false, []move{
			{at: 0, what: start, trying: "a", next: 10 * s},
			on(1*s, 0, "a"),
			{at: 100 * s, what: lost(wtproto.CodeIdle), next: 100250 * ms, events: []string{"disconnected IDLE", "reconnecting 1 250ms IDLE"}},
			{at: 101 * s, what: tick, trying: "a", next: 111 * s},
			{at: 101 * s, what: failed(0, refused), next: 101500 * ms, events: []string{"reconnecting 2 500ms a: refused"}},
			{at: 102 * s, what: tick, trying: "a", next: 112 * s},
			{at: 112 * s, what: tick, next: 113 * s, events: []string{"reconnecting 3 1s PEER_UNREACHABLE"}},
			{at: 113 * s, what: tick, trying: "a", next: 123 * s},
			{at: 113 * s, what: failed(0, refused), next: 115 * s, events: []string{"reconnecting 4 2s a: refused"}},
			{at: 115 * s, what: tick, trying: "a", next: 125 * s},
			{at: 115 * s, what: failed(0, refused), next: 119 * s, events: []string{"reconnecting 5 4s a: refused"}},
			{at: 119 * s, what: tick, trying: "a", next: 129 * s},
			{at: 119 * s, what: failed(0, refused), next: 127 * s, events: []string{"reconnecting 6 8s a: refused"}},
			{at: 127 * s, what: tick, trying: "a", next: 137 * s},
			{at: 127 * s, what: failed(0, refused), next: 142 * s, events: []string{"reconnecting 7 15s a: refused"}},
			{at: 142 * s, what: tick, trying: "a", next: 152 * s},
			{at: 142 * s, what: failed(0, refused), next: 157 * s, events: []string{"reconnecting 8 15s a: refused"}},
			{at: 157 * s, what: tick, trying: "a", next: 167 * s},
			on(158*s, 0, "a"),
			// It did not live for 30 s: the row goes on, and attempts count from 1.
			{at: 187*s + 999*ms, what: lost(wtproto.CodeNone), next: 202*s + 999*ms, events: []string{"disconnected NONE", "reconnecting 1 15s NONE"}},
			{at: 203 * s, what: tick, trying: "a", next: 213 * s},
			on(204*s, 0, "a"),
			{at: 234 * s, what: lost(wtproto.CodeNone), next: 234250 * ms, events: []string{"disconnected NONE", "reconnecting 1 250ms NONE"}},
		}},
		{"the first race decides", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			{at: 100 * ms, what: failed(0, refused), trying: "b", next: 10 * s},
			{at: 200 * ms, what: failed(1, refused), err: "a: refused\nb: refused"},
		}},
		{"the first race takes too long", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			{at: 500 * ms, what: tick, trying: "ab", next: 10 * s},
			{at: 5 * s, what: failed(1, refused), trying: "a", next: 10 * s},
			{at: 10 * s, what: tick, err: "b: refused\na: PEER_UNREACHABLE: no answer in 10s"},
		}},
		{"the first that answers wins, and is first from then on", "abc", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			{at: 499 * ms, what: tick, trying: "a", next: 500 * ms},
			{at: 500 * ms, what: tick, trying: "ab", next: 1000 * ms},
			on(600*ms, 1, "b"),
			{at: 1 * s, what: tick},
			{at: 60 * s, what: lost(wtproto.CodePeerGone), next: 60250 * ms, events: []string{"disconnected PEER_GONE", "reconnecting 1 250ms PEER_GONE"}},
			{at: 60250 * ms, what: tick, trying: "b", next: 60750 * ms},
			{at: 60300 * ms, what: failed(1, refused), trying: "a", next: 60800 * ms},
			{at: 60800 * ms, what: tick, trying: "ac", next: 70250 * ms},
			{at: 61 * s, what: failed(0, refused), trying: "c", next: 70250 * ms},
			on(62*s, 2, "c"),
		}},
		{"a code that will not change, of the session", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 1 * s, what: lost(wtproto.CodeTokenExpired), err: "TOKEN_EXPIRED (remote)"},
			{at: 2 * s, what: tick, err: "TOKEN_EXPIRED (remote)"},
		}},
		{"a code that will not change, of a gateway beside another that does not answer", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 1 * s, what: lost(wtproto.CodeNone), next: 1250 * ms, events: []string{"disconnected NONE", "reconnecting 1 250ms NONE"}},
			{at: 1250 * ms, what: tick, trying: "a", next: 1750 * ms},
			{at: 1750 * ms, what: tick, trying: "ab", next: 11250 * ms},
			{at: 2 * s, what: failed(1, remoteError(wtproto.CodeUnauthorized)), trying: "a", next: 11250 * ms},
			{at: 11250 * ms, what: tick, err: "b: UNAUTHORIZED (remote)\na: PEER_UNREACHABLE: no answer in 10s"},
		}},
		{"one session only", "ab", true, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			{at: 500 * ms, what: tick, trying: "ab", next: 10 * s},
			on(1*s, 1, "b"),
			{at: 2 * s, what: goaway(s)},
			{at: 3 * s, what: (*machine).silent},
			{at: 4 * s, what: (*machine).heard},
			{at: 5 * s, what: lost(wtproto.CodeShutdown), err: "SHUTDOWN (remote)"},
		}},
		{"GOAWAY of the only gateway", "a", false, []move{
			{at: 0, what: start, trying: "a", next: 10 * s},
			on(0, 0, "a"),
			{at: 1 * s, what: goaway(5 * s)},
			{at: 2 * s, what: lost(wtproto.CodeShutdown), next: 6 * s, events: []string{"disconnected SHUTDOWN", "reconnecting 1 4s SHUTDOWN"}},
			{at: 6 * s, what: tick, trying: "a", next: 16 * s},
			on(7*s, 0, "a"),
			{at: 8 * s, what: goaway(s)}, // over before the session ends
			{at: 20 * s, what: lost(wtproto.CodeShutdown), next: 20500 * ms, events: []string{"disconnected SHUTDOWN", "reconnecting 1 500ms SHUTDOWN"}},
		}},
		{"GOAWAY with another gateway", "abc", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 1 * s, what: goaway(5 * s), trying: "b", next: 1500 * ms},
			{at: 1100 * ms, what: goaway(6 * s), trying: "b", next: 1500 * ms},
			{at: 1200 * ms, what: (*machine).silent, trying: "b", next: 1500 * ms},
			{at: 1300 * ms, what: (*machine).heard, trying: "b", next: 1500 * ms},
			{at: 1500 * ms, what: tick, trying: "bc", next: 11 * s},
			on(2*s, 2, "c"),
			// What is to be left alone is tried last, and not before its time.
			{at: 3 * s, what: lost(wtproto.CodeNone), next: 3250 * ms, events: []string{"disconnected NONE", "reconnecting 1 250ms NONE"}},
			{at: 3250 * ms, what: tick, trying: "c", next: 3750 * ms},
			{at: 3750 * ms, what: tick, trying: "bc", next: 7100 * ms},
			{at: 7100 * ms, what: tick, trying: "abc", next: 13250 * ms},
			{at: 8 * s, what: failed(2, refused), trying: "ab", next: 13250 * ms},
			on(9*s, 0, "a"),
		}},
		{"only gateways that want to be left alone", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 1 * s, what: goaway(9 * s), trying: "b", next: 11 * s},
			on(2*s, 1, "b"),
			{at: 3 * s, what: goaway(9 * s), next: 10 * s}, // a has to wait until then, and so has b
			{at: 4 * s, what: lost(wtproto.CodeShutdown), next: 10 * s, events: []string{"disconnected SHUTDOWN", "reconnecting 1 6s SHUTDOWN"}},
			{at: 10 * s, what: tick, trying: "a", next: 12 * s},
			{at: 10500 * ms, what: failed(0, refused), next: 11500 * ms, events: []string{"reconnecting 2 1s a: refused"}},
			{at: 11500 * ms, what: tick, trying: "a", next: 12 * s},
			{at: 12 * s, what: tick, trying: "ab", next: 21500 * ms},
		}},
		{"GOAWAY, and nobody else answers", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 40 * s, what: goaway(60 * s), trying: "b", next: 50 * s},
			{at: 41 * s, what: failed(1, remoteError(wtproto.CodeUnauthorized)), next: 41250 * ms}, // no reason to end what there is
			{at: 41250 * ms, what: tick, trying: "b", next: 51250 * ms},
			{at: 42 * s, what: lost(wtproto.CodeShutdown), trying: "b", next: 51250 * ms, events: []string{"disconnected SHUTDOWN", "reconnecting 1 0s SHUTDOWN"}},
			{at: 43 * s, what: failed(1, refused), next: 43250 * ms, events: []string{"reconnecting 2 250ms b: refused"}},
			{at: 43250 * ms, what: tick, trying: "b", next: 53250 * ms},
			{at: 44 * s, what: failed(1, remoteError(wtproto.CodeVersion)), err: "b: VERSION (remote)"},
		}},
		{"silence, and a sign of life before the other gateway answers", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 5 * s, what: (*machine).silent, trying: "b", next: 15 * s},
			{at: 6 * s, what: (*machine).heard},
			{at: 10 * s, what: (*machine).silent, trying: "b", next: 20 * s},
			{at: 11 * s, what: failed(1, refused), next: 11250 * ms}, // tried again as long as it is silent
			{at: 11250 * ms, what: tick, trying: "b", next: 21250 * ms},
			{at: 12 * s, what: failed(1, refused), next: 12500 * ms},
			{at: 12100 * ms, what: (*machine).heard},
		}},
		{"silence, and the other gateway answers", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 5 * s, what: (*machine).silent, trying: "b", next: 15 * s},
			on(6*s, 1, "b"),
			{at: 7 * s, what: lost(wtproto.CodeNone), next: 7250 * ms, events: []string{"disconnected NONE", "reconnecting 1 250ms NONE"}},
			{at: 7250 * ms, what: tick, trying: "b", next: 7750 * ms},
			{at: 7750 * ms, what: tick, trying: "ab", next: 17250 * ms},
		}},
		{"silence of the only gateway", "a", false, []move{
			{at: 0, what: start, trying: "a", next: 10 * s},
			on(0, 0, "a"),
			{at: 5 * s, what: (*machine).silent},
			{at: 25 * s, what: lost(wtproto.CodeIdle), next: 25250 * ms, events: []string{"disconnected IDLE", "reconnecting 1 250ms IDLE"}},
		}},
		{"lost while another one is tried, and while that is waited for", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 5 * s, what: (*machine).silent, trying: "b", next: 15 * s},
			{at: 6 * s, what: lost(wtproto.CodeIdle), trying: "b", next: 15 * s, events: []string{"disconnected IDLE", "reconnecting 1 0s IDLE"}},
			on(7*s, 1, "b"),
			{at: 20 * s, what: (*machine).silent, trying: "a", next: 30 * s},
			{at: 21 * s, what: failed(0, refused), next: 21250 * ms},
			{at: 21100 * ms, what: lost(wtproto.CodeIdle), next: 21600 * ms, events: []string{"disconnected IDLE", "reconnecting 1 500ms IDLE"}},
		}},
		{"two names of one gateway", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			{at: 500 * ms, what: tick, trying: "ab", next: 10 * s},
			on(600*ms, 0, "a"),
			{at: 700 * ms, what: lost(wtproto.CodeReplaced), next: 950 * ms, events: []string{"disconnected REPLACED", "reconnecting 1 250ms REPLACED"}},
			{at: 950 * ms, what: tick, trying: "a", next: 1450 * ms},
			on(1*s, 0, "a"),
			{at: 10500 * ms, what: lost(wtproto.CodeReplaced), err: "REPLACED (remote)"}, // by somebody else
		}},
		{"a program that did not run", "ab", false, []move{
			{at: 0, what: start, trying: "a", next: 500 * ms},
			on(0, 0, "a"),
			{at: 1 * s, what: lost(wtproto.CodeNone), next: 1250 * ms, events: []string{"disconnected NONE", "reconnecting 1 250ms NONE"}},
			{at: 60 * s, what: tick, trying: "a", next: 60500 * ms},
			{at: 70 * s, what: tick, trying: "ab", next: 80 * s},
			{at: 81*s + 1, what: tick, trying: "ab", next: 91*s + 1},
			{at: 92*s + 1, what: tick, next: 92*s + 500*ms + 1, events: []string{"reconnecting 2 500ms PEER_UNREACHABLE"}}, // 1 s late
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(10*time.Second, tt.once, strings.Split(tt.gateways, "")...)
			m.delays.Int64N = func(int64) int64 { return 0 }
			for i, v := range tt.moves {
				v.what(&m, epoch.Add(v.at))
				var trying string
				for _, g := range m.gates {
					if g.trying {
						trying += g.name
					}
				}
				var events []string
				for _, e := range m.events {
					events = append(events, describe(e))
				}
				m.events = nil
				var next time.Duration
				if d := m.deadline(); !d.IsZero() {
					next = d.Sub(epoch)
				}
				if trying != v.trying || next != v.next || !slices.Equal(events, v.events) {
					t.Errorf("move %d, at %v: trying %q until %v, events %q, want %q, %v, %q", i, v.at, trying, next, events, v.trying, v.next, v.events)
				}
				if (m.err != nil) != (v.err != "") || m.err != nil && !strings.Contains(m.err.Error(), v.err) {
					t.Errorf("move %d, at %v: error %v, want %q", i, v.at, m.err, v.err)
				}
			}
		})
	}
}

// The permanent ones are those of the document, whoever decided.
func TestPermanentCodes(t *testing.T) {
	permanent := []wtproto.Code{
		wtproto.CodeProtocol, wtproto.CodeTooLarge, wtproto.CodeVersion, wtproto.CodeUnauthorized, wtproto.CodeForbidden,
		wtproto.CodeTokenExpired, wtproto.CodeReplaced,
	}
	var m machine
	for code := wtproto.CodeNone; code <= wtproto.CodeApplication; code++ {
		for _, err := range []error{remoteError(code), fmt.Errorf("a: %w", wtproto.Errorf(code, "here"))} {
			if got, want := m.permanent(epoch, err), slices.Contains(permanent, code); got != want {
				t.Errorf("permanent(%v) = %v, want %v", err, got, want)
			}
		}
	}
	for _, err := range []error{net.ErrClosed, context.DeadlineExceeded} {
		if m.permanent(epoch, err) {
			t.Errorf("permanent(%v)", err)
		}
	}
}

// The delays are those of the document.
func TestReconnectDelays(t *testing.T) {
	for round := range 100 {
		m := newMachine(10*time.Second, false, "a")
		now := epoch
		m.start(now)
		m.welcomed(now, 0, wtproto.SessionID{})
		m.lost(now, remoteError(wtproto.CodeNone))
		for n := range 12 {
			whole := min(30*time.Second, 500*time.Millisecond<<n)
			got := m.deadline().Sub(now)
			if got < whole/2 || got > whole {
				t.Fatalf("round %d: delay %d = %v, want %v to %v", round, n, got, whole/2, whole)
			}
			now = m.deadline()
			m.tick(now)
			m.failed(now, 0, net.ErrClosed)
		}
	}
}

// Whatever happens, in any order: a machine tries somebody or waits unless it has a session or is over, never tries the gateway of
// its session, and its events make sense.
func TestMachineInvariants(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	codes := []wtproto.Code{wtproto.CodeNone, wtproto.CodeBusy, wtproto.CodeShutdown, wtproto.CodeIdle, wtproto.CodeReplaced, wtproto.CodeForbidden}
	weighted := func() wtproto.Code { return codes[min(random.IntN(40), len(codes)-1-random.IntN(3))] }
	ended := 0
	for round := range 2000 {
		gateways := 1 + round%4
		m := newMachine(10*time.Second, round%10 == 0, strings.Split("abcd"[:gateways], "")...)
		now := epoch
		m.start(now)
		connected, attempt := false, 0
		for range 60 {
			var tried []int
			for g := range m.gates {
				if m.gates[g].trying {
					tried = append(tried, g)
				}
			}
			switch what := random.IntN(8); {
			case what == 0 && len(tried) > 0:
				m.welcomed(now, tried[random.IntN(len(tried))], wtproto.SessionID{})
			case what <= 2 && len(tried) > 0:
				m.failed(now, tried[random.IntN(len(tried))], remoteError(weighted()))
			case what == 3 && m.at != nowhere:
				m.lost(now, remoteError(weighted()))
			case what == 4 && m.at != nowhere:
				m.goneAway(now, time.Duration(random.IntN(60))*time.Second)
			case what == 5 && m.at != nowhere:
				m.silent(now)
			case what == 6 && m.at != nowhere:
				m.heard(now)
			case !m.deadline().IsZero():
				now = m.deadline().Add(time.Duration(random.IntN(3)) * 600 * time.Millisecond)
				m.tick(now)
			default:
				now = now.Add(time.Duration(random.IntN(40)) * time.Second)
			}
			for _, e := range m.events {
				switch e := e.(type) {
				case Connected:
					connected, attempt = true, 0
				case Disconnected:
					if !connected {
						t.Fatalf("round %d: %s without a session", round, describe(e))
					}
					connected = false
				case Reconnecting:
					attempt++
					if connected || e.Attempt != attempt || e.Delay < 0 || e.Err == nil {
						t.Fatalf("round %d: %s, with a session %v, want attempt %d", round, describe(e), connected, attempt)
					}
				}
			}
			m.events = nil
			if m.err != nil {
				ended++
				if m.trying() || !m.deadline().IsZero() {
					t.Fatalf("round %d: it goes on after %v", round, m.err)
				}
				break
			}
			if connected != (m.at != nowhere) {
				t.Fatalf("round %d: events say %v, there is a session at %d", round, connected, m.at)
			}
			if m.at == nowhere && m.deadline().IsZero() {
				t.Fatalf("round %d: nothing will happen", round)
			}
			if m.at != nowhere && m.gates[m.at].trying {
				t.Fatalf("round %d: it tries the gateway that it has a session with", round)
			}
			if m.phase == racing != m.trying() {
				t.Fatalf("round %d: phase %d, trying %v", round, m.phase, m.trying())
			}
		}
	}
	if ended == 0 || ended == 2000 {
		t.Errorf("%d of 2000 have ended", ended)
	}
}
