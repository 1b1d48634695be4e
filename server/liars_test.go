package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A gateway that claimed to need a circuit got the last place of a client. It could do so with
// each client and under any number of names, and later also took the place of another gateway's
// circuit.
func TestNeedIsNotAlwaysBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet{apart: true}
		const liars, minutes = 60, 5
		cfg := Config{Idle: 100 * time.Hour}
		all := f.gateways(t, 3, cfg)
		for i, h := range f.hosts { // the liars are between the second and the greatest
			h.order = i * 1000
			h.id = fmt.Sprintf("gateway %06d", h.order)
		}
		victim := f.hosts[2]
		var clients []*fakeClient
		for _, g := range all {
			for range 4 {
				c := g.connect()
				c.join(announceAndLookUp, 4)
				clients = append(clients, c)
			}
		}
		f.meet()
		pass(15 * time.Minute)
		if sizes := parts(all...); len(sizes) != 1 {
			t.Fatalf("the mesh has parts of %v clients, want one", sizes)
		}
		var fakes []*fakeHost
		for i := range liars {
			p := discovery.NewPresence(discovery.State{Announce: true, LookUp: true, Need: true})
			order := 1001 + i
			fakes = append(fakes, &fakeHost{fleet: &f, id: fmt.Sprintf("gateway %06d", order), order: order, wake: make(chan struct{}, 1), presence: p})
		}
		plain := 0 // places that the victim's clients have beside their last ones: they are for anybody
		for _, top := range all[2].router.all() {
			top.inLoop(func() {
				for _, s := range top.subs {
					plain += max(0, s.places.left()-1)
				}
			})
		}
		given := 0
		for second := range minutes * 60 {
			for i, h := range fakes {
				c := clients[8+i%4]
				s, err := h.dial(t.Context(), victim, wtproto.EndpointID{1, byte(i)}, c.endpoint())
				if err == nil {
					given++
					defer s.Reset(wtproto.CodeNone)
				}
			}
			if most := plain + second/10 + 1; given > most {
				t.Fatalf("%d places given to liars after %d s, want at most %d", given, second, most)
			}
			pass(time.Second)
		}
		t.Logf("%d places given to liars in %d minutes", given, minutes)
		if sizes := parts(all...); sizes[0] != len(clients) {
			t.Errorf("the mesh has parts of %v, want one with all %d clients that do not lie", sizes, len(clients))
		}
	})
}
