package server

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// tally counts refusals by limit.
type tally struct {
	mu   sync.Mutex
	hits map[LimitName]int
}

func newTally() *tally { return &tally{hits: make(map[LimitName]int)} }

func (c *tally) observer() *Observer {
	return &Observer{Refused: func(l LimitName, code wtproto.Code) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hits[l]++
		if want := codeOfLimit(l); code != want {
			c.hits[LimitName(fmt.Sprintf("%s with %v, not %v", l, code, want))]++
		}
	}}
}

// topics joins the topics numbered from to to, and returns the codes of those that were refused.
func (c *fakeClient) topics(from, to int) (refused []wtproto.Code) {
	for i := from; i <= to; i++ {
		c.send(wtproto.Join{Topic: numbered(i), Flags: wtproto.JoinAnnounce})
		for answered := false; !answered; {
			switch m := c.next().(type) {
			case wtproto.Joined:
				answered = true
			case wtproto.Left:
				answered = true
				refused = append(refused, m.Code)
			}
		}
	}
	return refused
}

// want fails the test unless codes are those.
func wantCodes(t *testing.T, got []wtproto.Code, want ...wtproto.Code) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("refused with %v, want %v", got, want)
	}
}

// between returns both sides of a circuit between a client with a token and one without.
func between(g *bubble, token string) (x, y fakeCircuit) {
	a, _ := g.enter(token)
	b, _ := g.enter("")
	a.join(announceAndLookUp, 0)
	b.join(announceAndLookUp, 0)
	return a.circuit(), b.circuit()
}

// A client that reaches a limit gets its code, and operators see it once.
func TestEachLimitIsSeenOnce(t *testing.T) {
	refuseSession := func(code wtproto.Code) func(*testing.T, *bubble) {
		return func(_ *testing.T, g *bubble) {
			g.connect()
			c := g.dial()
			c.hello()
			c.ends(code)
		}
	}
	refuseTopic := func(code wtproto.Code) func(*testing.T, *bubble) {
		return func(t *testing.T, g *bubble) { wantCodes(t, g.connect().topics(1, 2), code) }
	}
	refuseCircuit := func(_ *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 0)
		g.lan.see(g.lan.peer("1").sighting())
		c.circuit()
		g.lan.see(g.lan.peer("2").sighting())
		synctest.Wait()
	}
	elsewhere := map[LimitName]string{ // these need real connections, or much around them
		LimitHTTP:             "cmd/server, doors_test.go",
		LimitHTTPAddress:      "cmd/server, doors_test.go",
		LimitHandshakes:       "test/gateway, TestHandshakesOfAnAddress",
		LimitVisits:           "test/gateway, TestVisitsHaveALimit",
		LimitVisitsAddress:    "test/gateway, TestVisitorsMakeRoom",
		LimitAnswers:          "the same as LimitAnswersAddress, of more addresses",
		LimitAnswersAddress:   "test/gateway, TestAnswersThatNobodyTakes",
		LimitUnread:           "TestMemoryShort",
		LimitFramesPrincipal:  "TestFramesOfPrincipalWait",
		LimitLogLines:         "TestLinesAboutSessions",
		LimitFailedDials:      "TestFailedDialsAreLimited",
		LimitFailedDialsTopic: "TestFailedDialsAreLimited",
	}
	tests := map[LimitName]struct {
		cfg  Config
		meet func(t *testing.T, g *bubble)
	}{
		LimitSessions:          {Config{MaxSessions: 1}, refuseSession(wtproto.CodeBusy)},
		LimitSessionsPrincipal: {Config{MaxSessionsPerPrincipal: 1}, refuseSession(wtproto.CodeRateLimited)},
		LimitAuthorizing: {Config{HelloTimeout: time.Minute, Authorizer: authorizer(func(ctx context.Context, _ auth.Request) (auth.Grant, error) {
			<-ctx.Done()
			return auth.Grant{}, ctx.Err()
		})}, func(_ *testing.T, g *bubble) {
			for range authorizingOfAddress {
				g.dial().hello()
			}
			synctest.Wait()
			c := g.dial()
			c.hello()
			c.ends(wtproto.CodeBusy)
		}},
		LimitTopicsSession:   {Config{MaxTopics: 1}, refuseTopic(wtproto.CodeTopicLimit)},
		LimitTopicsPrincipal: {Config{MaxTopicsPerPrincipal: 1}, refuseTopic(wtproto.CodeTopicLimit)},
		LimitTopics:          {Config{MaxTopicsTotal: 1}, refuseTopic(wtproto.CodeBusy)},
		LimitNewTopics: {Config{NewTopics: 1, MaxTopicsPerPrincipal: 2}, func(t *testing.T, g *bubble) {
			c := g.connect()
			wantCodes(t, c.topics(1, 2))
			c.send(wtproto.Leave{Topic: numbered(1)})
			expect[wtproto.Left](c)
			synctest.Wait()
			wantCodes(t, c.topics(3, 3), wtproto.CodeRateLimited)
		}},
		LimitCircuitsSession:   {Config{MaxCircuits: 1}, refuseCircuit},
		LimitCircuitsPrincipal: {Config{MaxCircuitsPerPrincipal: 1}, refuseCircuit},
		LimitCircuits:          {Config{MaxCircuitsTotal: 1}, refuseCircuit},
		LimitCircuitsPair: {Config{MaxPairCircuits: 1}, func(_ *testing.T, g *bubble) {
			c := g.connect()
			c.join(wtproto.JoinLookUp, 0)
			g.lan.see(g.lan.peer("1").sighting())
			first := c.circuit()
			c.further(first.Peer, "")
			c.ask(first.Peer, "")
		}},
		LimitNewCircuits: {Config{NewCircuits: 1}, func(t *testing.T, g *bubble) {
			c := g.connect()
			c.join(wtproto.JoinLookUp, 0)
			for i := range 10 {
				g.lan.see(g.lan.peer(strconv.Itoa(i)).sighting())
				c.circuit()
			}
			g.lan.see(g.lan.peer("10").sighting())
			synctest.Wait()
		}},
		LimitFrames: {Config{ControlRate: 1, ControlBurst: 1}, func(_ *testing.T, g *bubble) {
			c := g.connect()
			c.send(wtproto.Ping{}, wtproto.Ping{}, wtproto.Ping{})
			c.ends(wtproto.CodeRateLimited)
		}},
		LimitAllFrames: {Config{ControlRate: 1, ControlBurst: 1}, func(_ *testing.T, g *bubble) {
			c := g.connect()
			for range 2100 {
				if _, err := c.control.Write(wtproto.Pong{}.Append(nil)); err != nil {
					break
				}
			}
			c.ends(wtproto.CodeRateLimited)
		}},
		LimitControlUnread: {Config{}, func(_ *testing.T, g *bubble) {
			c := g.connect()
			frame := make([]byte, fakeWindow)
			c.session.send(frame)
			synctest.Wait() // the client's window is full
			c.session.send(frame[:10])
			synctest.Wait() // the writer has it, and waits
			for range 10 {
				c.session.send(frame)
			}
			c.ends(wtproto.CodeBusy)
		}},
		LimitDialsTarget: {Config{}, func(_ *testing.T, g *bubble) {
			c := g.connect()
			c.join(wtproto.JoinLookUp, 0)
			p := g.lan.peer("1")
			p.answers(func(context.Context) error {
				return wtproto.Errorf(wtproto.CodeRateLimited, "dialed in vain too often")
			})
			g.lan.see(p.sighting())
			synctest.Wait()
		}},
		LimitByteRate: {Config{Authorizer: grants{"slow": {Name: "slow", Limits: auth.Limits{BytesPerSecond: fakeWindow}}, "": {}}}, func(_ *testing.T, g *bubble) {
			x, y := between(g, "slow")
			pass(2 * time.Second) // so much may pass at once
			x.Write(make([]byte, fakeWindow))
			io.ReadFull(y, make([]byte, fakeWindow))
			x.Write([]byte("more"))
			synctest.Wait()
		}},
		LimitBytes: {Config{Authorizer: grants{"few": {Name: "few", Limits: auth.Limits{Bytes: 10}}, "": {}}}, func(_ *testing.T, g *bubble) {
			x, _ := between(g, "few")
			x.Write(make([]byte, 20))
			synctest.Wait()
		}},
		LimitMemory: {Config{Memory: testMemory}, func(_ *testing.T, g *bubble) {
			g.heap.set(0, func() int64 { return g.router.memory.budget.full })
			g.connect()
			pass(2 * memoryEvery)
			c := g.dial()
			c.hello()
			c.ends(wtproto.CodeBusy)
		}},
	}
	for _, l := range Limits() {
		test, ok := tests[l.Name]
		if where := elsewhere[l.Name]; ok == (where != "") {
			t.Errorf("%s is tested here: %v, elsewhere: %q; want one of the two", l.Name, ok, where)
		}
		if !ok {
			continue
		}
		t.Run(string(l.Name), func(t *testing.T) {
			seen := newTally()
			test.cfg.Observer = seen.observer()
			test.cfg.Idle = time.Hour
			inBubble(t, test.cfg, func(t *testing.T, g *bubble) {
				test.meet(t, g)
				synctest.Wait()
				seen.mu.Lock()
				defer seen.mu.Unlock()
				if want := map[LimitName]int{l.Name: 1}; !reflect.DeepEqual(seen.hits, want) {
					t.Errorf("met %v, want %v", seen.hits, want)
				}
			})
		})
	}
}
