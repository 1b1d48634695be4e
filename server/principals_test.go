package server

import (
	"maps"
	"testing"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Operators are told who holds what, and who wants more than it may have.
func TestPrincipalsReport(t *testing.T) {
	inBubble(t, Config{Authorizer: grants{"a": {Name: "ann", Limits: auth.Limits{Sessions: 1}}, "": {}}}, func(t *testing.T, g *bubble) {
		ann, _ := g.enter("a")
		g.enter("")
		g.enter("")
		wantCodes(t, ann.topics(1, 1))
		again := g.dial()
		again.show("a")
		again.ends(wtproto.CodeRateLimited)
		const want = `{
  "principals": [
    {
      "addresses": "192.0.2.1/32",
      "sessions": 2,
      "topics": 0,
      "circuits": 0
    },
    {
      "name": "ann",
      "sessions": 1,
      "topics": 1,
      "circuits": 0,
      "at_limit": [
        "sessions"
      ]
    }
  ]
}
`
		if got := ask(g.PrincipalsHandler(), "GET", "127.0.0.1", "").Body.String(); got != want {
			t.Errorf("reported\n%s\nwant\n%s", got, want)
		}
	})
}

// Of a balancer there is told what all behind it hold together, and each of its connections.
func TestPrincipalsBehindABalancer(t *testing.T) {
	l := testLedger(-1, -1)
	l.take(through("198.51.100.1:5000"), resourceSessions, 1)
	l.take(through("198.51.100.1:5001"), resourceSessions, 1)
	sessions := make(map[string]int64)
	for _, p := range l.principals() {
		sessions[p.Addresses] = p.Sessions
	}
	if want := map[string]int64{"198.51.100.1:5000": 1, "198.51.100.1:5001": 1, "198.51.100.1/32": 2}; !maps.Equal(sessions, want) {
		t.Errorf("sessions %v, want %v", sessions, want)
	}
	if c := l.census(); c.principals != 2 {
		t.Errorf("%d principals, want 2", c.principals)
	}
}

// One that was refused at a limit that is new was told to operators as "".
func TestResourcesHaveNames(t *testing.T) {
	for i, name := range resourceNames {
		if name == "" {
			t.Errorf("resource %d has no name", i)
		}
	}
}
