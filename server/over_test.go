package server

import (
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A copy clears its deadline in the moment in which the circuit's end sets one: the wake-up was
// lost, and the circuit stayed.
func TestWaitsEndForGood(t *testing.T) {
	for name, steps := range map[string]func(w *waits, end func()){
		"while it waits":                  func(w *waits, end func()) { end() },
		"before it waits":                 func(w *waits, end func()) { end() },
		"a deadline set afterwards":       func(w *waits, end func()) { end(); w.setRead(time.Now().Add(time.Hour)) },
		"a deadline cleared afterwards":   func(w *waits, end func()) { end(); w.setRead(time.Time{}); w.setWrite(time.Time{}) },
		"a deadline cleared by itself":    func(w *waits, end func()) { w.setRead(time.Now().Add(time.Second)); end(); w.setRead(time.Time{}) },
		"the stream comes after the end":  func(w *waits, end func()) { s := w.stream; w.stream = nil; end(); w.in(s) },
		"the end comes twice, late again": func(w *waits, end func()) { end(); end(); w.setRead(time.Time{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, _ := newStream()
				w := &waits{over: newOver()}
				w.over.atEnd(w.expire)
				w.in(near)
				steps(w, func() { w.over.end(errOver); synctest.Wait() })
				began := time.Now()
				if _, err := near.Read(make([]byte, 1)); err != os.ErrDeadlineExceeded || time.Since(began) != 0 {
					t.Errorf("Read = %v after %v, want the deadline at once", err, time.Since(began))
				}
				if _, err := near.Write(make([]byte, 2*fakeWindow)); err != os.ErrDeadlineExceeded || time.Since(began) != 0 {
					t.Errorf("Write = %v after %v, want the deadline at once", err, time.Since(began))
				}
			})
		})
	}
}

// The first cause is that of the end, and a regular end has none.
func TestOver(t *testing.T) {
	first, second := wtproto.Errorf(wtproto.CodeLeft, "first"), wtproto.Errorf(wtproto.CodeBusy, "second")
	o := newOver()
	if err := o.cause(); err != nil {
		t.Errorf("before its end: %v", err)
	}
	o.end(first)
	o.end(second)
	o.end(nil)
	if err := o.cause(); err != first {
		t.Errorf("cause = %v, want %v", err, first)
	}
	o = newOver()
	o.end(nil)
	o.end(second)
	if err := o.cause(); err != nil {
		t.Errorf("after a regular end: %v", err)
	}
	<-o.Done()
}

func newOver() *over { return new(over) }

// The client of a WebTransport session may take 6 s to hear of its end. Until then its mates held
// dead circuits, after REPLACED beside new ones of the same client.
func TestOthersLearnOfTheEndFirst(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.link.closeTakes = 6 * time.Second
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		x, y := a.circuit(), b.circuit()
		again := g.dial()
		again.secret = a.secret
		began := time.Now()
		again.hello()
		expect[wtproto.Welcome](again)
		again.join(announceAndLookUp, 0)
		talk(t, again.circuit(), b.circuit())
		wantReset(t, y.fakeStream, wtproto.CodePeerGone)
		if took := time.Since(began); took != 0 {
			t.Errorf("the newer session took over in %v, want at once", took)
		}
		if err := x.failure(); err != nil {
			t.Errorf("a stream of the older session failed with %v before its end", err)
		}
		a.ends(wtproto.CodeReplaced)
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("the older session ended after %v, want 6s", took)
		}
	})
}

// A page sends DECLINE with a code that its reset cannot carry, and the reset overtakes it: the
// other end was told PEER_RESET in all of 40 cases. A reset without a usable code waits a second
// for what explains it.
func TestResetIsExplained(t *testing.T) {
	const mine = wtproto.CodeApplication + 777
	for _, tt := range []struct {
		name  string
		loses bool // as in a WebTransport session
		reset wtproto.Code
		then  func(c *fakeClient, circuit wtproto.CircuitID)
		want  wtproto.Code
		after time.Duration
	}{
		{"DECLINE at once", true, wtproto.CodePeerReset, func(c *fakeClient, id wtproto.CircuitID) {
			c.send(wtproto.Decline{Circuit: id, Code: mine})
		}, mine, 0},
		{"DECLINE a little later", true, wtproto.CodePeerReset, func(c *fakeClient, id wtproto.CircuitID) {
			pass(900 * time.Millisecond)
			c.send(wtproto.Decline{Circuit: id, Code: mine})
		}, mine, 900 * time.Millisecond},
		{"the end of the session", true, wtproto.CodePeerReset, func(c *fakeClient, id wtproto.CircuitID) {
			pass(500 * time.Millisecond)
			c.link.end(nil)
		}, wtproto.CodePeerGone, 500 * time.Millisecond},
		{"nothing", true, wtproto.CodePeerReset, nil, wtproto.CodePeerReset, time.Second},
		{"a code", true, mine, nil, mine, 0},
		{"raw QUIC", false, wtproto.CodePeerReset, nil, wtproto.CodePeerReset, 0},
	} {
		for how, end := range map[string]func(*fakeStream, wtproto.Code){
			"both": func(s *fakeStream, code wtproto.Code) { reset(s, code) },
			"stop": (*fakeStream).CancelRead, "reset": (*fakeStream).CancelWrite,
		} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				inBubble(t, Config{}, func(t *testing.T, g *bubble) {
					c, x, _, y := g.open("1")
					c.link.loses = tt.loses
					talk(t, x, y)
					began := time.Now()
					end(x.fakeStream, tt.reset)
					synctest.Wait()
					if tt.then != nil {
						tt.then(c, x.Circuit)
					}
					_, err := io.Copy(io.Discard, y)
					var late time.Duration
					if how == "stop" {
						late = restEvery // until somebody looks
					}
					if took := time.Since(began); codeOf(err) != tt.want || took < tt.after || took > tt.after+late {
						t.Errorf("the peer saw %v after %v, want %v after %v to %v", err, took, tt.want, tt.after, tt.after+late)
					}
				})
			})
		}
	}
}
