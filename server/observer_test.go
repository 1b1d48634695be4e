package server

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// witness writes down what an Observer is told.
type witness struct {
	mu    sync.Mutex
	lines []string
}

func (w *witness) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// since returns the lines since the last call, once nothing more comes.
func (w *witness) since() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

func (w *witness) observer() *Observer {
	return &Observer{
		SessionStarted:  func(s SessionInfo) { w.note("started %s %s", s.Transport, s.Agent) },
		SessionEnded:    func(s SessionInfo, c wtproto.Code) { w.note("ended %s %s %v", s.Transport, s.Agent, c) },
		SessionRefused:  func(c wtproto.Code) { w.note("refused %v", c) },
		Authorized:      func(took time.Duration, c wtproto.Code) { w.note("authorized %v %v", took, c) },
		Joined:          func() { w.note("joined") },
		JoinRefused:     func(c wtproto.Code) { w.note("join refused %v", c) },
		ConnectAnswered: func(c wtproto.Code) { w.note("connect %v", c) },
		Left:            func(c wtproto.Code) { w.note("left %v", c) },
		Refused:         func(l LimitName, c wtproto.Code) { w.note("limit %s %v", l, c) },
		Dialed: func(network string, took time.Duration, c wtproto.Code) {
			w.note("dialed %s %v %v", network, took, c)
		},
		CircuitOpened: func(network string) { w.note("opened %s", network) },
		CircuitEnded: func(e CircuitEnd) {
			w.note("circuit %s %v %d %d %v", e.Network, e.Code, e.ToClient, e.ToPeer, e.Lasted)
		},
	}
}

func TestObserver(t *testing.T) {
	w := &witness{}
	inBubble(t, Config{Observer: w.observer()}, func(t *testing.T, g *bubble) {
		wants := func(lines ...string) {
			t.Helper()
			if got := w.since(); !slices.Equal(got, lines) {
				t.Errorf("observed %q, want %q", got, lines)
			}
		}
		g.dial().ends(wtproto.CodeIdle)
		wants("refused IDLE")
		c := g.connect()
		wants("started fake test")
		c.join(wtproto.JoinLookUp, 0)
		wants("joined")
		c.join(wtproto.JoinLookUp, 5)
		wants()
		p := g.lan.peer("1")
		release := p.waits()
		g.lan.see(p.sighting())
		pass(2 * time.Second)
		wants()
		release()
		wants("dialed lan 2s NONE", "opened lan")
		x, y := c.circuit(), p.circuit()
		io.WriteString(x, "12345")
		io.WriteString(y, "1234567")
		pass(3 * time.Second)
		reset(y, wtproto.CodeApplication)
		wants("circuit lan 0x100 7 5 3s")
		refuses := g.lan.peer("2")
		refuses.refuses(wtproto.CodeForbidden)
		g.lan.see(refuses.sighting())
		wants("dialed lan 0s FORBIDDEN")
		g.lan.see(refuses.gone())
		other := g.connect()
		other.join(wtproto.JoinAnnounce, 0)
		wants("started fake test", "joined", "opened client")
		x, z := c.circuit(), other.circuit()
		x.CloseWrite()
		z.CloseWrite()
		wants("circuit client NONE 0 0 0s")
		other.leave()
		other.join(wtproto.JoinAnnounce, 0)
		wants("left NONE", "joined", "opened client")
		other.link.end(nil)
		got := w.since() // the circuit ends by itself
		slices.Sort(got)
		if want := []string{"circuit client PEER_GONE 0 0 0s", "ended fake test NONE", "left NONE"}; !slices.Equal(got, want) {
			t.Errorf("observed %q, want %q", got, want)
		}
		c.send(wtproto.Welcome{})
		c.ends(wtproto.CodeProtocol)
		wants("left PROTOCOL", "ended fake test PROTOCOL")
	})
}

// Each CONNECT is told of once: by NONE if there is a circuit, else by what the client was told.
func TestObserverOfConnects(t *testing.T) {
	w := &witness{}
	inBubble(t, Config{Observer: w.observer()}, func(t *testing.T, g *bubble) {
		c, other, peer := g.connect(), g.connect(), g.lan.peer("1")
		c.join(announceAndLookUp, 0)
		g.lan.see(peer.sighting())
		first := c.circuit()
		peer.circuit()
		w.since()
		wants := func(lines ...string) {
			t.Helper()
			got := w.since() // the circuit and the answer are told of by two goroutines
			if slices.Sort(got); !slices.Equal(got, lines) {
				t.Errorf("observed %q, want %q", got, lines)
			}
		}
		c.further(first.Peer, "")
		peer.circuit()
		wants("connect NONE", "dialed lan 0s NONE", "opened lan")
		unknown := first.Peer
		unknown.ID = []byte("2")
		wantRefused(t, c.ask(unknown, ""), wtproto.CodePeerUnreachable)
		wants("connect PEER_UNREACHABLE")
		wantRefused(t, other.ask(first.Peer, ""), wtproto.CodeLeft)
		wants("connect LEFT")
		release := peer.waits()
		defer release()
		reset(c.ask(first.Peer, ""), 0x107)
		wants("connect WITHDRAWN")
	})
}

// An Authorizer may block, and refuse.
func TestObserverOfAuthorizations(t *testing.T) {
	w := &witness{}
	asked := slowAuthorizer{time.Second, wtproto.Errorf(wtproto.CodeUnauthorized, "no")}
	inBubble(t, Config{Observer: w.observer(), Authorizer: asked}, func(t *testing.T, g *bubble) {
		c := g.dial()
		c.hello()
		c.ends(wtproto.CodeUnauthorized)
		if got, want := w.since(), []string{"authorized 1s UNAUTHORIZED", "refused UNAUTHORIZED"}; !slices.Equal(got, want) {
			t.Errorf("observed %q, want %q", got, want)
		}
	})
	inBubble(t, Config{Observer: w.observer(), Authorizer: slowAuthorizer{after: 2 * time.Second}}, func(t *testing.T, g *bubble) {
		g.connect()
		if got, want := w.since(), []string{"authorized 2s NONE", "started fake test"}; !slices.Equal(got, want) {
			t.Errorf("observed %q, want %q", got, want)
		}
	})
}

// slowAuthorizer answers after a time.
type slowAuthorizer struct {
	after time.Duration
	err   error
}

func (a slowAuthorizer) Authorize(context.Context, auth.Request) (auth.Grant, error) {
	<-time.After(a.after)
	return auth.Grant{}, a.err
}

// Operators are told why nobody is found.
func TestTopicsReport(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, x, _, y := g.open("1")
		dead := g.lan.peer("2")
		dead.refuses(wtproto.CodePeerUnreachable)
		g.lan.see(dead.sighting())
		talk(t, x, y)
		w := ask(g.TopicsHandler(), "GET", "127.0.0.1", "")
		retry := dead.dialed()[0].at.Add(g.retryOf("2")).Format(time.RFC3339Nano)
		want := fmt.Sprintf(`{
  "topics": [
    {
      "topic": "%v",
      "subscribers": 1,
      "circuits": 1,
      "networks": [
        {
          "name": "lan",
          "state": "searching",
          "reason": "the endpoint is not there any more: it may join again: PEER_UNREACHABLE (remote)",
          "found": 2,
          "connecting": 0,
          "refused": 1,
          "last_code": "PEER_UNREACHABLE"
        }
      ],
      "peers": [
        {
          "id": "31",
          "network": "lan",
          "address": "tcp://192.0.2.7:1",
          "dialed": 1,
          "answered": true,
          "refused": false,
          "circuits": 1
        },
        {
          "id": "32",
          "network": "lan",
          "address": "tcp://192.0.2.7:2",
          "dialed": 1,
          "answered": false,
          "refused": true,
          "code": "PEER_UNREACHABLE",
          "reason": "the endpoint is not there any more: it may join again: PEER_UNREACHABLE (remote)",
          "circuits": 0,
          "retry_at": "%s"
        }
      ]
    }
  ]
}
`, wowcool, retry)
		if got := w.Body.String(); got != want {
			t.Errorf("reported\n%s\nwant\n%s", got, want)
		}
		c.lives()
	})
}

// retryOf returns how long after now a peer is dialed again.
func (g *bubble) retryOf(id string) time.Duration {
	return time.Until(g.router.all()[0].peers[id].retryAt)
}
