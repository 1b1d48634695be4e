package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// codeName returns the name of the first code of err, or its text where there is none.
func codeName(err error) string {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e.Code.String()
	}
	return fmt.Sprint(err)
}

// describe returns an event as traces do.
func describe(e Event) string {
	switch e := e.(type) {
	case Connected:
		return "connected " + e.Gateway
	case Disconnected:
		return "disconnected " + codeName(e.Err)
	case Reconnecting:
		return fmt.Sprintf("reconnecting %d %d %s", e.Attempt, e.Delay.Milliseconds(), codeName(e.Err))
	}
	return "unknown"
}

// machineTrace is one of wtproto/testdata/machines, whose README says what it means.
type machineTrace struct {
	Name, Gateways string
	Renews         bool
	Steps          []machineStep
}

type machineStep struct {
	At     int64
	Do     string
	Tries  string
	Next   *int64
	Told   []string
	Closed string
}

// remoteError is an end by a gateway.
func remoteError(code wtproto.Code) error { return &wtproto.Error{Code: code, Remote: true} }

// errorNamed returns the error of a gateway that ends something with a code.
func errorNamed(t *testing.T, name string) error {
	for code := wtproto.CodeNone; code < wtproto.CodeApplication; code++ {
		if code.String() == name {
			return remoteError(code)
		}
	}
	t.Fatalf("no code is named %s", name)
	return nil
}

// duration reads a number of milliseconds.
func duration(t *testing.T, text string) time.Duration {
	ms, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms) * time.Millisecond
}

// do takes a step of a trace.
func (m *machine) do(t *testing.T, now time.Time, step string) {
	what, rest, _ := strings.Cut(step, " ")
	first, second, _ := strings.Cut(rest, " ")
	gateway := slices.IndexFunc(m.gateways, func(g gatewayState) bool { return g.name == first })
	switch what {
	case "start":
		m.start(now)
	case "welcome":
		m.welcomed(now, gateway, wtproto.SessionID{})
	case "fail":
		m.failed(now, gateway, errorNamed(t, second))
	case "lost":
		m.lost(now, errorNamed(t, first))
	case "goaway":
		m.goneAway(now, duration(t, first))
	case "rest":
		m.rest(now, gateway, duration(t, second))
	case "silent":
		m.silent(now)
	case "heard":
		m.heard(now)
	case "tick":
		m.tick(now)
	default:
		t.Fatalf("nothing is named %s", step)
	}
}

// state returns where a machine is after a step, and forgets its events.
func (m *machine) state(step machineStep) machineStep {
	now := machineStep{At: step.At, Do: step.Do}
	for _, g := range m.gateways {
		if g.trying {
			now.Tries += g.name
		}
	}
	if d := m.deadline(); !d.IsZero() {
		ms := d.Sub(epoch).Milliseconds()
		now.Next = &ms
	}
	for _, e := range m.events {
		now.Told = append(now.Told, describe(e))
	}
	m.events = nil
	if m.err != nil {
		now.Closed = codeName(m.err)
	}
	return now
}

// What the state machine of the document does, which that of the web client does too.
func TestMachineTraces(t *testing.T) {
	b, err := os.ReadFile("../wtproto/testdata/machines/reconnect.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Traces []machineTrace }
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil || len(file.Traces) == 0 {
		t.Fatalf("%d traces, %v", len(file.Traces), err)
	}
	for _, tt := range file.Traces {
		t.Run(tt.Name, func(t *testing.T) {
			m := newMachine(10*time.Second, false, strings.Split(tt.Gateways, "")...)
			m.delays.Int64N = func(int64) int64 { return 0 }
			m.renews = tt.Renews
			for _, want := range tt.Steps {
				m.do(t, epoch.Add(time.Duration(want.At)*time.Millisecond), want.Do)
				if got := m.state(want); !reflect.DeepEqual(got, want) {
					t.Errorf("got %s\nwant %s", asJSON(t, got), asJSON(t, want))
				}
			}
		})
	}
}

func asJSON(t *testing.T, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// With NoReconnect the first session is the last one.
func TestMachineOnce(t *testing.T) {
	m := newMachine(10*time.Second, true, "a", "b")
	m.start(epoch)
	m.tick(epoch.Add(headStart))
	m.welcomed(epoch.Add(time.Second), 1, wtproto.SessionID{})
	m.goneAway(epoch.Add(2*time.Second), time.Second)
	m.silent(epoch.Add(3 * time.Second))
	if m.trying() || !m.deadline().IsZero() || m.err != nil {
		t.Errorf("it looks for another session: trying %v until %v, error %v", m.trying(), m.deadline(), m.err)
	}
	m.lost(epoch.Add(4*time.Second), remoteError(wtproto.CodeShutdown))
	if codeName(m.err) != "SHUTDOWN" || !m.deadline().IsZero() {
		t.Errorf("after its end: error %v, deadline %v", m.err, m.deadline())
	}
}

// An attempt that failed says what every gateway said, and first what will not change.
func TestMachineError(t *testing.T) {
	m := newMachine(10*time.Second, false, "a", "b", "c")
	m.start(epoch)
	m.failed(epoch, 0, errors.New("refused"))
	m.tick(epoch.Add(headStart))
	m.failed(epoch.Add(time.Second), 1, remoteError(wtproto.CodeForbidden))
	m.tick(epoch.Add(10 * time.Second))
	if want := "b: FORBIDDEN (remote); a: refused; c: PEER_UNREACHABLE: no answer in 10s"; m.err == nil || m.err.Error() != want {
		t.Errorf("error %v, want %s", m.err, want)
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

// Whatever happens, in any order: a machine tries somebody or waits unless it has a session or is
// over, never tries the gateway of its session, and its events make sense.
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
			for g := range m.gateways {
				if m.gateways[g].trying {
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
			if m.at != nowhere && m.gateways[m.at].trying {
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
