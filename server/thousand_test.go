package server

import (
	"slices"
	"testing"
	"time"
)

// A topic with a thousand clients on one gateway is one mesh. At rest the gateway makes, loses and
// looks for nothing.
func TestThousandClients(t *testing.T) {
	inBubble(t, Config{Idle: 100 * time.Hour, MaxTopicsPerPrincipal: -1, MaxCircuitsPerPrincipal: -1}, func(t *testing.T, g *bubble) {
		var cs []*fakeClient
		for range 1000 {
			c := g.connect()
			c.join(announceAndLookUp, 8)
			cs = append(cs, c)
		}
		loop := g.router.all()[0]
		state := func() (looks, circuits int) {
			loop.inLoop(func() { looks, circuits = loop.looks, loop.circuits })
			return looks, circuits
		}
		settled := func(what string) {
			t.Helper()
			pass(2 * surveyAfter)
			if sizes := parts(g); len(sizes) != 1 {
				t.Errorf("%s: parts of %v clients, want one", what, sizes)
			}
			looks, circuits := state()
			before := given(cs)
			pass(10 * time.Minute)
			after, made := state()
			t.Logf("%s: %d circuits, %d looks at candidates so far", what, circuits, looks)
			if after != looks || made != circuits || !slices.Equal(given(cs), before) {
				t.Errorf("%s: in ten minutes of rest there were %d looks, and %d circuits of %d are left, want no change", what, after-looks, made, circuits)
			}
		}
		settled("all joined")
		awake(cs...)
		for _, c := range cs[:100] {
			c.link.end(nil)
		}
		cs = cs[100:]
		settled("a tenth lost")
	})
}
