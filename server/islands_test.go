package server

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

var islands = flag.Int("islands", 0, "how many seeds of the long simulation of many gateways to run")

// model runs one simulation: all come at once, then a time of coming and going if churn says so.
// The mesh has to be one after settle seconds, each time.
func model(t *testing.T, seed uint64, gateways, clients, maxPeers, contacts, churn, settle int) {
	t.Helper()
	name := fmt.Sprintf("%d gateways with %d clients, max peers %d, %d contacts, seed %d", gateways, clients, maxPeers, contacts, seed)
	m := newMeshModel(seed, gateways, clients, maxPeers, contacts)
	until := func(what string) {
		t.Helper()
		for n := range settle {
			m.step()
			if n%10 != 0 && n < settle-1 && n > 10 {
				continue
			}
			if len(m.components()) == 1 {
				t.Logf("%s: one after %d s of %s; %d dials, %d refused, %d circuits made, %d ended for others", name, n+1, what, m.dials, m.refused, m.made, m.swapped)
				return
			}
		}
		sizes := m.components()
		t.Errorf("%s: %d components %v %d s after %s, want one", name, len(sizes), sizes[:min(len(sizes), 8)], settle, what)
	}
	until("the start")
	if churn == 0 {
		return
	}
	worst := 1.0
	for n := range churn {
		m.churn()
		m.step()
		if n%30 == 0 {
			sizes := m.components()
			all := 0
			for _, n := range sizes {
				all += n
			}
			worst = min(worst, float64(sizes[0])/float64(all))
		}
	}
	t.Logf("%s: while they come and go %.0f %% or more are one", name, 100*worst)
	until("the last change")
}

// Six gateways with eight clients each and max peers 6 stayed three components for as long as
// one looked: clients of the same gateway had all places before the first meeting. With the
// default of 64 that began at 65 clients a gateway.
func TestIslands(t *testing.T) {
	for i, test := range []struct{ gateways, clients, maxPeers, contacts, churn int }{
		{2, 1, 3, 16, 0},
		{2, 200, 3, 16, 60},
		{6, 8, 6, 16, 120},
		{6, 8, 3, 16, 120},
		{6, 70, 64, 16, 60},
		{30, 3, 3, 16, 120},
		{30, 1, 4, 16, 120},
		{12, 1, 3, 16, 120},
		{2, 3, 2, 16, 120},
		{6, 1, 2, 16, 120},
		{6, 8, 2, 16, 120},
		{16, 1, 2, 16, 120},
		{100, 1, 3, 16, 120},
		{1000, 1, 3, 16, 0}, // was [996 4] while nobody made sure that it knew the next greater gateway
		{60, 8, 8, 16, 60},
		{300, 1, 2, 16, 120}, // was [281 19] for over half an hour
	} {
		model(t, uint64(i), test.gateways, test.clients, test.maxPeers, test.contacts, test.churn, settleOf(test.gateways, test.clients, test.maxPeers)/2)
	}
}

// settleOf returns in how many seconds the mesh must be one in the long form. With max peers 2 it
// is a chain in the order of the gateways, each of which has to find the next one, and there the
// client that has a place.
func settleOf(gateways, clients, maxPeers int) int {
	switch {
	case maxPeers > 2 || gateways < 20:
		return 600
	case gateways > 300 || clients > 1:
		return 3600
	}
	return 1800
}

// TestManyIslands is the long form, for -islands. With max peers 2 it has no more clients than
// become one mesh in an hour.
func TestManyIslands(t *testing.T) {
	for seed := range uint64(*islands) {
		for _, maxPeers := range []int{2, 3, 4, 6, 8, 16, 64} {
			for _, gateways := range []int{2, 3, 6, 16, 20, 100, 300, 1000} {
				for _, clients := range []int{1, 2, 8, 50, 200} {
					contacts := 16 << (2 * (seed % 2))
					if gateways*clients > 20_000 || gateways*clients*maxPeers > 400_000 || maxPeers == 2 && (clients > 8 || gateways*clients > 1000) {
						continue
					}
					model(t, seed, gateways, clients, maxPeers, contacts, 180, settleOf(gateways, clients, maxPeers))
				}
			}
		}
	}
}

// The same with the real router.
func TestGatewaysAreOneMesh(t *testing.T) {
	for _, test := range []struct{ gateways, clients, maxPeers int }{
		{6, 8, 6}, {3, 4, 8}, {2, 20, 3}, {12, 1, 3}, {12, 1, 4}, {8, 4, 4}, {4, 1, 2}, {4, 3, 2}, {12, 1, 2}, {60, 1, 2},
	} {
		t.Run(fmt.Sprintf("%d with %d, max peers %d", test.gateways, test.clients, test.maxPeers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := fakeFleet{apart: true}
				all := f.gateways(t, test.gateways, Config{Idle: 100 * time.Hour})
				var clients []*fakeClient
				for _, g := range all {
					for range test.clients {
						c := g.connect()
						c.join(announceAndLookUp, uint64(test.maxPeers))
						clients = append(clients, c)
					}
				}
				f.meet()
				start, one := time.Now(), time.Duration(0)
				for one == 0 && time.Since(start) < 5*time.Minute {
					pass(time.Second)
					if len(parts(all...)) == 1 {
						one = time.Since(start)
					}
				}
				if sizes := parts(all...); len(sizes) != 1 {
					t.Fatalf("the mesh has parts of %v clients after five minutes, want one", sizes)
				}
				t.Logf("one after %v", one)
				// A fourth of the clients go, the others are one again.
				for i, c := range clients {
					if i%4 == 0 {
						c.link.end(nil)
					}
				}
				pass(5 * time.Minute)
				if sizes := parts(all...); len(sizes) != 1 {
					t.Errorf("the mesh has parts of %v clients five minutes after a loss, want one", sizes)
				}
				// At rest, nothing is made and nothing is lost.
				pass(5 * time.Minute)
				before, dials := given(clients), f.dialed()
				pass(10 * time.Minute)
				if after := given(clients); !slices.Equal(before, after) {
					t.Errorf("circuits were made while nobody came or went")
				}
				t.Logf("at rest %d dials in ten minutes", f.dialed()-dials)
			})
		})
	}
}

// The mesh was looked at when clients came and went, and not when other gateways became known.
// Clients that had taken their places long before the gateways met stayed islands.
func TestGatewaysMeetLater(t *testing.T) {
	for _, clients := range []int{1, 3, 8} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := fakeFleet{apart: true}
				all := f.gateways(t, 3, Config{Idle: 100 * time.Hour})
				for _, g := range all {
					for range clients {
						g.connect().join(announceAndLookUp, 3)
					}
				}
				pass(time.Minute)
				f.meet()
				pass(time.Minute)
				if sizes := parts(all...); len(sizes) != 1 {
					t.Errorf("the mesh has parts of %v clients a minute after the meeting, want one", sizes)
				}
			})
		})
	}
}

// A gateway whose clients nobody of another gateway had called for a minute did not tell its need
// any more, and they stayed an island: those that could have opened a circuit had given their
// places to others meanwhile.
func TestNeedIsToldUntilItIsMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fakeFleet
		g := f.gateways(t, 1, Config{Idle: 100 * time.Hour})[0]
		g.connect().join(announceAndLookUp, 3)
		pass(time.Second)
		h := f.hosts[0]
		need := func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			s, _ := h.presence.State()
			return s.Need
		}
		f.mu.Lock()
		h.pushLocked(discovery.Sighting{Peer: (&fakeHost{fleet: &f, id: "gateway 999"}).peer(wtproto.Secret{9}.Endpoint()), Holds: -1})
		f.mu.Unlock()
		for _, wait := range []time.Duration{10 * time.Second, 2 * time.Minute, time.Hour} {
			if pass(wait); !need() {
				t.Errorf("%v later its need is not told", wait)
			}
		}
	})
}

// A gateway that no greater one knew of, and whose clients had taken all places but the last among
// themselves, refused in that last place the circuit that it lacked: who opened it did not need
// one itself.
func TestLastPlaceIsForWhomItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet{strangers: [2]string{"gateway 001", "gateway 002"}}
		all := f.gateways(t, 3, Config{Idle: 100 * time.Hour})
		away := func(gone bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.hosts[2].gone = gone
		}
		away(true)
		for _, g := range all {
			for range 3 {
				g.connect().join(announceAndLookUp, 3)
			}
		}
		pass(10 * time.Minute)
		if sizes := parts(all...); !slices.Equal(sizes, []int{6, 3}) {
			t.Fatalf("the mesh has parts of %v clients while one gateway cannot be reached, want 6 and 3", sizes)
		}
		away(false)
		pass(10 * time.Minute)
		if sizes := parts(all...); len(sizes) != 1 {
			t.Errorf("the mesh has parts of %v clients, want one", sizes)
		}
	})
}
