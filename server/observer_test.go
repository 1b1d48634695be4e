package server

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
		SessionStarted: func(s SessionInfo) { w.note("started %s %s", s.Transport, s.Agent) },
		SessionEnded:   func(s SessionInfo, c wtproto.Code) { w.note("ended %s %s %v", s.Transport, s.Agent, c) },
		SessionRefused: func(c wtproto.Code) { w.note("refused %v", c) },
		Refused:        func(l LimitName, c wtproto.Code) { w.note("limit %s %v", l, c) },
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
		wants("started fake test", "opened client")
		x, z := c.circuit(), other.circuit()
		x.CloseWrite()
		z.CloseWrite()
		wants("circuit client NONE 0 0 0s")
		other.link.end(nil)
		wants("ended fake test NONE")
		c.send(wtproto.Welcome{})
		c.ends(wtproto.CodeProtocol)
		wants("ended fake test PROTOCOL")
	})
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
