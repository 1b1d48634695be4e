package server

import (
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

// One that was refused at a limit that is new was told to operators as "".
func TestResourcesHaveNames(t *testing.T) {
	for i, name := range resourceNames {
		if name == "" {
			t.Errorf("resource %d has no name", i)
		}
	}
}
